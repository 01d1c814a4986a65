"""Divergence of a training run: numbers from which no later step can recover."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo import InputError

# float32 cannot hold the square of a larger number, so variances and norms overflow even where the number itself is
# still finite: TensorFlow and JAX then differ in what they make of it.
LARGEST = float(np.sqrt(np.finfo(np.float32).max))


def check(numbers: Mapping[str, Any], *, epoch: int, lr: float) -> None:
    """Raises InputError if a number is NaN, infinite or, in size, above `LARGEST`.

    With mixed_float16 the loss scaling skips steps whose gradients are not finite. Such a step leaves loss and weights
    finite, so it is no divergence.

    Args:
        numbers: arrays or single numbers, by what the largest of them is called in the message.
        epoch: of the numbers, from 1.
        lr: initial learning rate of the run.
    """
    for name, values in numbers.items():
        largest = np.max(np.abs(values), initial=0)
        if not largest <= LARGEST:
            raise InputError(
                f"Training diverged in epoch {epoch}: {name} is {largest:g}; a lower lr may pass, for example"
                f" {min(0.1, lr / 10):g}. Received: lr {lr:g}"
            )


def check_weights(state: Mapping[str, np.ndarray], *, epoch: int, lr: float) -> None:
    """Applies `check` to the student's weights and BatchNorm statistics in a state of `kdzoo.training.steps.Steps`."""
    student = [key.split("/", 2) for key in state if key.startswith("student/")]
    weights = {f"the largest value of {path}": state[f"{group}/{i}/{path}"] for group, i, path in student}
    check(weights, epoch=epoch, lr=lr)
