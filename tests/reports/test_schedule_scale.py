"""The share to which schedules are scaled."""

from fractions import Fraction

import pytest

from kdzoo.distillation import schedules
from kdzoo.reports.schedule_scale import scale, unscaled


@pytest.mark.parametrize(
    ("text", "share", "full"),
    [
        ("60-200", 1, "60-200"),
        ("60-200x0.25", Fraction(1, 4), "60-200"),
        ("60-200@65", 1, "60-200@65"),
        ("60-200x0.25@16", Fraction(1, 4), "60-200@64"),
    ],
)
def test_scale_and_full_schedule(text, share, full):
    schedule = schedules.parse(text)
    assert scale(schedule) == share
    assert str(unscaled(schedule)) == full
