"""Model names: `<family><depth>[-<width>][_<schedule>]`, matched whole, usable as a file name and in a URI."""

import dataclasses
import importlib
import re
from typing import TYPE_CHECKING

from kdzoo.distillation import schedules
from zoo import InputError

if TYPE_CHECKING:
    import keras

# family -> (builder's module, what its second number is; None: it has only a depth)
FAMILIES = {"wrn": ("zoo.wrn", "width"), "dn": ("zoo.densenet", "growth"), "resnet": ("zoo.resnet", None)}
RULE = (
    "A model must be named wrn<depth>-<width>, dn<depth>-<growth> or resnet<depth>, with _<schedule> for a trained one,"
    " for example wrn16-2, dn40-12, resnet34, wrn16-8_20-65"
)


@dataclasses.dataclass(frozen=True)
class ModelName:
    """An architecture and, for a trained model, the schedule it was trained on. Prints as its name."""

    family: str
    depth: int
    width: int | None = None
    schedule: schedules.Schedule | None = None

    def __str__(self) -> str:
        return self.architecture + (f"_{self.schedule}" if self.schedule else "")

    @property
    def architecture(self) -> str:
        """The name without the schedule."""
        return f"{self.family}{self.depth}" + (f"-{self.width}" if self.width is not None else "")


def parse(name: str) -> ModelName:
    """Takes a name such as `wrn16-8_20-65`, `dn100-12` or `resnet34_50` apart.

    Raises:
        InputError: if it is not a name: an unknown family, a number missing or too many, no such schedule.
    """
    match = re.fullmatch(r"([a-z]+)([1-9][0-9]{0,3})(?:-([1-9][0-9]{0,3}))?(?:_(.+))?", name)
    if not match or match[1] not in FAMILIES or (match[3] is None) != (FAMILIES[match[1]][1] is None):
        raise InputError(f"{RULE}. Received: {name}")
    family, depth, width, schedule = match.groups()
    return ModelName(family, int(depth), int(width) if width else None, schedules.parse(schedule) if schedule else None)


def build(
    name: str, *, num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3), **options
) -> "keras.Model":
    """Builds a freshly initialised network by its architecture's name.

    Args:
        name: an architecture such as `wrn16-8`; a schedule in it is refused, since an untrained network has none.
        num_classes: number of logits.
        input_shape: (height, width, channels) of the standardised images.
        **options: what else the family's builder takes (`stem=` for ResNets).

    Raises:
        InputError: if the name is none, or its depth or width is impossible.
    """
    parsed = parse(name)
    if parsed.schedule:
        raise InputError(
            f"build makes an untrained network: give the architecture, for example {parsed.architecture}."
            f" Received: {name}"
        )
    builder = importlib.import_module(FAMILIES[parsed.family][0]).build
    return builder(parsed.depth, parsed.width, num_classes=num_classes, input_shape=tuple(input_shape), **options)
