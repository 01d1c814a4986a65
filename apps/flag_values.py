"""Flags that several commands have, and whose values are checked as they are parsed: numbers, paths, a network.

A float of absl's may be nan or infinite, and `--workdir=` names the directory that the command runs in.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from kdzoo import files
from kdzoo.ranges import Range
from kdzoo.runs.settings import RANGES

flags.disclaim_key_flags()  # the flags are those of the modules that call these functions


def define_number(name: str, default: float | None, description: str, accepted: Range | None = None) -> None:
    """Defines a flag of one number.

    Args:
        name: of the flag.
        default: its value if it is not given.
        description: its help, one or more sentences; the range is added.
        accepted: the range; None: that of the setting of this name, see `kdzoo.runs.settings`.
    """
    accepted = accepted or RANGES[name]
    serializer: Any = flags.ArgumentSerializer()
    flags.DEFINE(_Number(name, accepted), name, default, f"{description} It must be {accepted}.", serializer=serializer)


def define_numbers(
    name: str,
    default: Sequence[float] | None,
    description: str,
    accepted: Range | None = None,
    *,
    required: bool = False,
    words: Sequence[str] = (),
) -> None:
    """Defines a flag of one or more numbers, separated by commas: see `define_number`. `words` may stand instead."""
    accepted = accepted or RANGES[name]
    help_text = f"{description} Each must be {accepted}."
    flags.DEFINE(
        _Numbers(name, accepted, words), name, default, help_text, serializer=_NumbersSerializer(), required=required
    )


def define_directory(
    name: str, default: str | None, description: str, *, required: bool = False, exists: bool = False
) -> None:
    """Defines a flag of one directory, which must exist if `exists` is set."""
    parser = _Path(functools.partial(files.check_directory, name=name, exists=exists))
    serializer: Any = flags.ArgumentSerializer()
    flags.DEFINE(parser, name, default, description, serializer=serializer, required=required)


def define_output(name: str, description: str, *, suffix: str) -> None:
    """Defines a flag of one file to write, whose name ends in `suffix`: see `kdzoo.files.check_output`."""
    parser = _Path(functools.partial(files.check_output, name=name, suffix=suffix))
    serializer: Any = flags.ArgumentSerializer()
    flags.DEFINE(parser, name, None, description, serializer=serializer)


def define_trained_model() -> None:
    """Defines the flag of one trained network."""
    flags.DEFINE_string(
        "model",
        None,
        "Directory of a finished run, or a published model: its name, https://HOST/FOLDER/NAME or hf://OWNER/REPO/NAME."
        " Example: wrn16-2_10-35. Required.",
        required=True,
    )


class _Number(flags.ArgumentParser):
    """Parses a number of this range."""

    def __init__(self, name: str, accepted: Range):
        super().__init__()
        self._name, self._accepted = name, accepted
        self.syntactic_help = f"a{'n integer' if accepted.whole else ' number'}"

    def parse(self, argument: Any) -> Any:
        """Returns the number. Raises InputError if it is outside the range. A default is a number already."""
        if isinstance(argument, str):
            return self._accepted.parse(self._name, argument)
        self._accepted.check(self._name, argument)
        return argument

    def flag_type(self) -> str:
        """Returns the type that the documentation names."""
        return "int" if self._accepted.whole else "float"


class _Numbers(_Number):
    """Parses one or more numbers of this range, separated by commas, or one of the words alone."""

    def __init__(self, name: str, accepted: Range, words: Sequence[str]):
        super().__init__(name, accepted)
        self._words = words
        self.syntactic_help = "a comma separated list"

    def parse(self, argument: Any) -> Any:
        """Returns the list of numbers. Raises InputError if it is empty, or one of them is outside the range."""
        words = argument.split(",") if isinstance(argument, str) else argument
        if len(words) == 1 and words[0] in self._words:
            return list(words)
        return [super(_Numbers, self).parse(word) for word in words]

    def flag_type(self) -> str:
        """Returns the type that the documentation names."""
        return "list"


class _NumbersSerializer(flags.ArgumentSerializer):
    """Joins numbers with commas."""

    def serialize(self, value: Any) -> str:
        """Returns the flag's text."""
        return ",".join(map(str, value))


class _Path(flags.ArgumentParser):
    """Parses a path.

    Args:
        check: raises InputError for a path that must not be given.
    """

    def __init__(self, check: Callable[[Any], None]):
        super().__init__()
        self._check = check

    def parse(self, argument: Any) -> Any:
        """Returns the path, checked."""
        self._check(argument)
        return argument
