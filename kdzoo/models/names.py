"""Model names, `<family><depth>[-<width>][_<schedule>]`: usable as file names and in URIs."""

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from kdzoo.distillation import schedules
from kdzoo.ranges import Range
from zoo import InputError
from zoo.families import FAMILIES

if TYPE_CHECKING:
    import keras

*_FIRST, _LAST = (f"{name}<depth>" + (f"-<{kind.width}>" if kind.width else "") for name, kind in FAMILIES.items())
RULE = (
    f"A model must be named {', '.join(_FIRST)} or {_LAST}, with _<schedule> for a trained one,"
    " for example wrn16-2, dn40-12, resnet34, wrn16-8_20-65"
)
_SIZE = Range(least=1, whole=True, example=10)


@dataclasses.dataclass(frozen=True)
class ModelName:
    """An architecture and, for a trained model, its schedule. `str` returns the name.

    A model that is no zoo model has a name for a family, and neither depth nor width.
    """

    family: str
    depth: int | None
    width: int | None = None
    schedule: schedules.Schedule | None = None

    def __str__(self) -> str:
        return self.architecture + (f"_{self.schedule}" if self.schedule else "")

    @property
    def architecture(self) -> str:
        """The name without the schedule."""
        depth = "" if self.depth is None else self.depth
        return f"{self.family}{depth}" + (f"-{self.width}" if self.width is not None else "")


def parse(name: str) -> ModelName:
    """Parses a name such as `wrn16-8_20-65`, `dn100-12` or `resnet34_50`.

    Raises:
        InputError: if the family, its depth or the schedule is unknown, or a number is missing or superfluous.
    """
    match = re.fullmatch(r"([a-z]+)([1-9][0-9]{0,3})(?:-([1-9][0-9]{0,3}))?(?:_(.+))?", name)
    if not match or match[1] not in FAMILIES or (match[3] is None) != (FAMILIES[match[1]].width is None):
        raise InputError(f"{RULE}. Received: {name or 'nothing'}")
    family, depth, width, schedule = match.groups()
    FAMILIES[family].check_depth(int(depth))
    return ModelName(family, int(depth), int(width) if width else None, schedules.parse(schedule) if schedule else None)


def parse_trained(name: str) -> ModelName:
    """Parses the name of a trained model: a zoo model's, or any other's with a schedule, mobilenetv3small_10-35.

    Raises:
        InputError: see `parse`.
    """
    match = re.fullmatch(r"([a-z][a-z0-9.-]*)_([^_]+)", name)
    is_zoo = match and (family := re.match("[a-z]+", name)) and family[0] in FAMILIES
    if not match or is_zoo:
        return parse(name)
    return ModelName(match[1], None, schedule=schedules.parse(match[2]))


def build(
    name: str, *, num_classes: int = 10, input_shape: tuple[int, int, int] = (32, 32, 3), **options: Any
) -> "keras.Model":
    """Builds a newly initialised network by the name of its architecture.

    Args:
        name: an architecture such as `wrn16-8`, without a schedule.
        num_classes: number of logits.
        input_shape: (height, width, channels) of the standardised images.
        **options: further arguments of the family's builder (`stem=` for ResNets).

    Raises:
        InputError: if the name is not an architecture's, no such depth or width exists, or a size is no whole number
            of at least 1.
    """
    parsed = parse(name)
    if parsed.schedule:
        raise InputError(
            f"build makes an untrained network: give the architecture, for example {parsed.architecture}."
            f" Received: {name}"
        )
    _SIZE.check("num_classes", num_classes)
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 3 or any(n not in _SIZE for n in input_shape):
        raise InputError(
            "input_shape must be (height, width, channels), each a whole number at least 1, for example (32, 32, 3)."
            f" Received: {repr(input_shape)[:100]}"
        )
    builder = FAMILIES[parsed.family].builder()
    return builder(parsed.depth, parsed.width, num_classes=num_classes, input_shape=tuple(input_shape), **options)


def natural_key(text: str) -> list[int | str]:
    """Returns a sort key that compares numbers as numbers: wrn16-2 before wrn16-11, 10-35 before 60-200."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]
