"""The registry of families: the form of their names and the modules of their builders. Imports no backend."""

import dataclasses
import importlib
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from zoo import InputError

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        module: the module with the family's `build(depth, width, *, num_classes, input_shape)`.
        depths: the depths that exist.
        rule: which depths those are, for messages.
        width: the paper's word for the number after the dash; None if names have only a depth.
    """

    module: str
    depths: Container[int]
    rule: str
    width: str | None = None

    def builder(self) -> "Callable[..., keras.Model]":
        """Imports the family's module, and Keras with it, and returns its `build`."""
        return importlib.import_module(self.module).build

    def check_depth(self, depth: int) -> None:
        """Raises InputError if the family has no network of this depth."""
        if depth not in self.depths:
            raise InputError(f"{self.rule}. Received: depth {depth}")


_SIX_N_PLUS_4 = range(10, 10_000, 6)
_RESNETS = (18, 34, 50, 101, 152)
# The prefix of a model's name -> its family.
FAMILIES = {
    "wrn": Family(
        "zoo.wrn",
        depths=_SIX_N_PLUS_4,
        rule="A WRN's depth must be 6N + 4, for example wrn16-2 or wrn28-10",
        width="width",
    ),
    "dn": Family(
        "zoo.densenet",
        depths=_SIX_N_PLUS_4,
        rule="A DenseNet-BC's depth must be 6N + 4, for example dn40-12",
        width="growth",
    ),
    "resnet": Family(
        "zoo.resnet",
        depths=_RESNETS,
        rule=f"A ResNet must be one of {', '.join(f'resnet{depth}' for depth in _RESNETS)}",
    ),
}
