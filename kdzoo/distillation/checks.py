"""Checks of temperature, modes, loss weights and stages. Imports no backend."""

from collections.abc import Collection, Sequence
from typing import Any

from kdzoo.ranges import Range
from zoo import InputError

AT_MODES = ("code", "paper")
# Within it the KD loss of a batch and its gradient in float32 are within 1 % of those in float64, for logits of teacher
# and student that are 1 apart (test_losses.py). Above, the terms of the sum cancel: at 1000 the loss is 3 % off, at
# 10000 200 %. Below, a softmax has one class, whatever T is, until T^2 and logits / T leave the range of float32.
TEMPERATURE = Range(least=0.001, most=100, example=4)
# Above, the square of the loss is beyond float32, so the run counts as diverged whatever its learning rate is.
WEIGHT = Range(least=0, most=1e18, example=0.9)


def check_temperature(temperature: float) -> None:
    """Raises InputError unless the temperature is in the range that is numerically sound in float32."""
    TEMPERATURE.check("temperature", temperature)


def check_at_mode(mode: str) -> None:
    """Raises InputError unless the mode is one of `AT_MODES`."""
    if mode not in AT_MODES:
        raise InputError(f"at_mode must be one of {', '.join(AT_MODES)}. Received: {mode}")


def check_mode(mode: str) -> None:
    """Raises InputError unless the mode of a method is "code" or "paper"."""
    if mode not in AT_MODES:
        raise InputError(f"mode must be one of {', '.join(AT_MODES)}. Received: {mode}")


def check_weights(*, num_teachers: int, of_labels: Collection[str] = ("ce_weight",), **weights: float) -> None:
    """Raises InputError if a weight is outside its range, all are 0, or a term lacks the teacher that it needs.

    Args:
        num_teachers: number of teachers.
        of_labels: weights of the terms that need no teacher.
        **weights: weight of each term.
    """
    for name, weight in weights.items():
        WEIGHT.check(name, weight)
    received = ", ".join(f"{name} {weight}" for name, weight in weights.items())
    if not any(weights.values()):
        raise InputError(f"Loss weights must not all be 0, for example 0.1, 0.9, 0. Received: {received}")
    of_teachers = {name: weight for name, weight in weights.items() if name not in of_labels}
    if any(of_teachers.values()) and not num_teachers:
        raise InputError(f"{' and '.join(of_teachers)} must be 0 without a teacher. Received: {received}")


def check_stages(method: str, student_stages: Sequence[Any], teacher_stages: Sequence[Any]) -> None:
    """Raises InputError unless student and teacher have equally many stages."""
    if len(student_stages) != len(teacher_stages):
        raise InputError(
            f"{method} needs as many stages in the student as in the teacher, for example wrn16-1 and wrn28-4."
            f" Received: {len(student_stages)} and {len(teacher_stages)}"
        )
