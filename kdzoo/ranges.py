"""Ranges of numbers: one rule for a setting, whether it comes from a flag, a grid or a call."""

import dataclasses
import math
import numbers
from typing import Any

from zoo import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers that a setting may have. They are finite, and no booleans.

    `str` returns the rule as a message or a flag's help names it: "above 0 and at most 1, for example 0.5".

    Attributes:
        example: a number of the range, for messages.
        above, least: the lower bound, without and with the bound itself; one of them is given.
        below, most: the upper bound, without and with the bound itself; at most one of them is given.
        whole: whether only whole numbers count. 12.0 is none: its type is that of a measured quantity.
    """

    example: float
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    whole: bool = False

    def __str__(self) -> str:
        low = f"at least {self.least}" if self.above is None else f"above {self.above}"
        high = f"at most {self.most}" if self.below is None else f"below {self.below}"
        if self.most is None and self.below is None:
            high = "" if self.whole else "finite"
        bounds = " and ".join(bound for bound in (low, high) if bound)
        return f"{'a whole number ' if self.whole else ''}{bounds}, for example {self.example}"

    def __contains__(self, value: Any) -> bool:
        kind: Any = numbers.Integral if self.whole else numbers.Real
        return (
            isinstance(value, kind)
            and not isinstance(value, bool)
            and _is_finite(value)
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def check(self, name: str, value: Any) -> None:
        """Raises InputError, which names the setting and the range, unless the value is in the range."""
        if value not in self:
            raise InputError(f"{name} must be {self}. Received: {repr(value)[:100]}")

    def parse(self, name: str, text: str) -> Any:
        """Returns the number that a text holds, an int if the range is of whole numbers.

        Raises:
            InputError: if it holds none, or one outside the range.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            raise InputError(f"{name} must be {self}. Received: {text[:100] or 'nothing'}") from None
        if value not in self:
            raise InputError(f"{name} must be {self}. Received: {text[:100]}")
        return value


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # of an int larger than any float
        return False
