"""The registry of families: the form of their names and the modules of their builders. Imports no backend."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        module: the module with the family's `build(depth, width, *, num_classes, input_shape)`.
        width: the paper's word for the number after the dash; None if names have only a depth.
    """

    module: str
    width: str | None = None

    def builder(self) -> "Callable[..., keras.Model]":
        """Imports the family's module, and Keras with it, and returns its `build`."""
        return importlib.import_module(self.module).build


# The prefix of a model's name -> its family.
FAMILIES = {
    "wrn": Family("zoo.wrn", width="width"),
    "dn": Family("zoo.densenet", width="growth"),
    "resnet": Family("zoo.resnet"),
}
