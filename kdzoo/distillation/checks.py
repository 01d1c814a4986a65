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


def check_weights(*, num_teachers: int, **weights: float) -> None:
    """Raises InputError if a weight is negative or infinite, all are 0, or a term needs a teacher and there is none.

    Args:
        num_teachers: number of teachers.
        **weights: weight of each term; all terms but `ce_weight`'s need a teacher.
    """
    received = ", ".join(f"{name} {weight}" for name, weight in weights.items())
    if not all(0 <= weight < float("inf") for weight in weights.values()) or not any(weights.values()):
        raise InputError(
            f"Loss weights must be at least 0, one above it, for example 0.1, 0.9, 0. Received: {received}"
        )
    of_teachers = {name: weight for name, weight in weights.items() if name != "ce_weight"}
    if any(of_teachers.values()) and not num_teachers:
        raise InputError(f"{' and '.join(of_teachers)} must be 0 without a teacher. Received: {received}")
