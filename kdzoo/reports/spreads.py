"""Mean and sample standard deviation of a few values."""

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1; None for one value) of n values."""

    n: int
    mean: float
    std: float | None


def spread(values: Iterable[float | None]) -> Spread | None:
    """Returns the spread of the values that are not None, in float64; None if all are."""
    array = np.array([value for value in values if value is not None], np.float64)
    if not len(array):
        return None
    return Spread(len(array), float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None)
