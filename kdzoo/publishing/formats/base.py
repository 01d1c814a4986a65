"""The interface of a format of exported networks."""

import abc
import dataclasses
import importlib.metadata
import importlib.util
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from zoo import InputError

if TYPE_CHECKING:
    import keras

QUANTIZE = ("none", "float16", "int8")
Run = Callable[[np.ndarray], np.ndarray]  # uint8 [batch, h, w, c] -> logits float32 [batch, classes]


@dataclasses.dataclass(frozen=True)
class Source:
    """What a file is made of.

    Attributes:
        model: from uint8 pictures [n, h, w, c] to logits [n, classes].
        network: from standardised images to logits.
        record: of the run, or a published model's card.
        class_names: in the order of the logits.
        calibration: training pictures, uint8 [n, h, w, c]; None if nothing is calibrated.
    """

    model: "keras.Model"
    network: "keras.Model"
    record: Mapping[str, Any]
    class_names: Sequence[str]
    calibration: np.ndarray | None = None


class Format(abc.ABC):
    """A format. Nothing is imported before its methods are called.

    Attributes:
        name: the flag's value.
        suffix: that the file's name ends in; "" for a directory.
        extra: of kdzoo, which installs the packages; "" if kdzoo needs them itself.
        packages: quantisation -> the packages that it needs, by the names they are imported by. The first one runs
            the file.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    extra: ClassVar[str] = ""
    packages: ClassVar[Mapping[str, tuple[str, ...]]]

    def check(self, quantize: str) -> None:
        """Raises InputError unless the format has this quantisation, and its packages are installed."""
        if quantize not in self.packages:
            raise InputError(
                f"quantize must be one of {', '.join(self.packages)} for format={self.name}, for example"
                f" {list(self.packages)[-1]}. Received: {quantize}"
            )
        missing = [name for name in self.packages[quantize] if importlib.util.find_spec(name) is None]
        if missing:
            flags = f"format={self.name}" + (f" with quantize={quantize}" if quantize != "none" else "")
            raise InputError(
                f"{flags} needs the extra {self.extra}: pip install 'kdzoo[{self.extra}]'."
                f" Received: no package {', '.join(missing)}"
            )

    def versions(self, quantize: str) -> dict[str, str]:
        """Returns the versions of the packages, by their names on PyPI."""
        distributions = importlib.metadata.packages_distributions()
        names = {distributions[name][0] for name in self.packages[quantize] if name in distributions}
        return {name: importlib.metadata.version(name) for name in sorted(names)}

    def files(self, path: pathlib.Path) -> list[pathlib.Path]:
        """Returns the paths that make up the file, the one that is opened last."""
        return [path]

    @abc.abstractmethod
    def write(self, source: Source, path: pathlib.Path) -> None:
        """Writes the network in float32. Called with Keras on TensorFlow."""

    def quantize(self, kind: str, source: Source, exact: pathlib.Path, path: pathlib.Path) -> None:
        """Quantises what `write` wrote.

        Args:
            kind: float16 or int8.
            source: of the file.
            exact: path of the file in float32.
            path: to write to.
        """
        raise NotImplementedError

    def describe(self, source: Source, path: pathlib.Path) -> None:  # noqa: B027  most formats have no metadata
        """Writes the class names into the file's metadata, if the format has any."""

    @abc.abstractmethod
    def load(self, path: pathlib.Path, *, batch: int, threads: int) -> Run:
        """Opens a file in the format's own runtime.

        Args:
            path: of the file.
            batch: pictures in each call.
            threads: that the runtime may use.
        """
