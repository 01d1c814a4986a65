"""Runs a command: parses its flags, calls its `main`, and ends every input error in one line and exit code 2."""

import io
import logging as standard_logging
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from apps import tensorflow_log
from zoo import InputError

FLAGS = flags.FLAGS


def run(main: Callable[[], int | None]) -> None:
    """Parses the flags and calls `main`, which may return the exit code; None is 0."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be no text: printing it must not end the command
    tensorflow_log.drop_startup_lines()
    app.run(lambda _: _call(main), flags_parser=_parse)


def _call(main: Callable[[], int | None]) -> int | None:
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    standard_logging.getLogger("urllib3").setLevel(standard_logging.ERROR)  # its retries are no news to a user
    try:
        return main()
    except InputError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        rest: list[str] = FLAGS(argv)
    except SystemExit:
        sys.exit(0)  # only the flags that print help exit here, and absl's exit code of them is 1
    except UnicodeDecodeError as error:
        _fail(f"A file of flags must be a text in UTF-8. Received: {error}")
    except (flags.Error, ValueError) as error:
        _fail(error)
    if len(rest) > 1:
        _fail(f"Arguments must be flags, for example --seed=1. Received: {' '.join(rest[1:])}")
    return rest


def _fail(error: object) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2)
