"""Checks of temperature, attention mode and loss weights. Imports no backend."""

from zoo import InputError

AT_MODES = ("code", "paper")


def check_temperature(temperature: float) -> None:
    """Raises InputError unless the temperature is a positive, finite number."""
    if not 0 < temperature < float("inf"):
        raise InputError(f"temperature must be above 0, for example 4. Received: {temperature}")


def check_at_mode(mode: str) -> None:
    """Raises InputError unless the mode is one of `AT_MODES`."""
    if mode not in AT_MODES:
        raise InputError(f"at_mode must be one of {', '.join(AT_MODES)}. Received: {mode}")


def check_weights(*, ce_weight: float, kd_weight: float, at_weight: float, num_teachers: int) -> None:
    """Raises InputError if a weight is negative or infinite, all are 0, or KD or AT has a weight but no teacher."""
    weights = f"ce_weight {ce_weight}, kd_weight {kd_weight}, at_weight {at_weight}"
    if (
        not all(0 <= w < float("inf") for w in (ce_weight, kd_weight, at_weight))
        or ce_weight + kd_weight + at_weight == 0
    ):
        raise InputError(f"Loss weights must be at least 0, one above it, for example 0.1, 0.9, 0. Received: {weights}")
    if (kd_weight or at_weight) and not num_teachers:
        raise InputError(f"kd_weight and at_weight must be 0 without a teacher. Received: {weights}")
