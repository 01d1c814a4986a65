"""The share of its length to which a schedule is scaled: 0.25 for 20-65x0.25, 1 for 20-65."""

from fractions import Fraction

from kdzoo.distillation.schedules import CutSchedule, ScaledSchedule, Schedule


def scale(schedule: Schedule) -> Fraction:
    """Returns the share to which the schedule is scaled, above 0; 1 for a full schedule."""
    full = schedule.full if isinstance(schedule, CutSchedule) else schedule
    return full.scale if isinstance(full, ScaledSchedule) else Fraction(1)


def unscaled(schedule: Schedule) -> Schedule:
    """Returns the full schedule that this one scales, or the schedule itself."""
    if isinstance(schedule, CutSchedule) and isinstance(schedule.full, ScaledSchedule):
        return CutSchedule(schedule.full.full, max(1, round(schedule.epochs / schedule.full.scale)))
    return schedule.full if isinstance(schedule, ScaledSchedule) else schedule
