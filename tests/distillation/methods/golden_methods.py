"""Compares losses and their gradients with golden numbers, in float64, on the current backend."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from keras import ops

from conftest import ROOT
from draws import draw, draw_labels

CLASSES = 10
# Inputs of all logit losses, as `make_methods.py` draws them.
LOGITS = {
    name: draw(name, (6, CLASSES), scale=3.0)
    for name in ("student_logits", "teacher_logits", "strong_student_logits", "strong_teacher_logits")
}
LABELS = draw_labels("labels", 6, CLASSES)

# Each example runs a loss eagerly; the same ones are drawn in each run.
few = settings(max_examples=20, deadline=None, derandomize=True, database=None)


def load_golden(file: str) -> dict[str, dict]:
    """Loads the losses of a file in `tests/golden`, for example methods.json."""
    return json.loads((ROOT / "tests/golden" / file).read_text())["losses"]


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Makes JAX compute in float64 within the block: also build layers in it."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def value_and_gradients(
    loss: Callable[..., Any], tensors: dict[str, np.ndarray], variables: Sequence[keras.Variable] = ()
) -> tuple[np.ndarray, dict[str, np.ndarray], list[np.ndarray]]:
    """Computes a loss, and the gradients of its mean.

    Args:
        loss: from the tensors, by name, to values of any shape.
        tensors: arrays. The loss is differentiated by those of floating point.
        variables: weights that the loss uses, to differentiate by as well.

    Returns:
        The loss; the gradients by name, and those by variable: 0 where the loss does not depend on an input.
    """
    floats = {name: array for name, array in tensors.items() if np.issubdtype(array.dtype, np.floating)}
    others = {name: array for name, array in tensors.items() if name not in floats}
    with float64():
        compute = _with_tensorflow if keras.backend.backend() == "tensorflow" else _with_jax
        value, gradients, by_variable = compute(
            lambda **given: loss(**given, **others),
            {name: ops.convert_to_tensor(array) for name, array in floats.items()},
            list(variables),
        )
        return np.asarray(value), {k: np.asarray(v) for k, v in gradients.items()}, [*map(np.asarray, by_variable)]


def _with_tensorflow(loss, tensors, variables):
    import tensorflow as tf

    values = [variable.value for variable in variables]
    with tf.GradientTape() as tape:
        tape.watch([*tensors.values(), *values])
        value = loss(**tensors)
        mean = tf.reduce_mean(value)
    zero = tf.UnconnectedGradients.ZERO
    gradients, by_variable = tape.gradient(mean, (tensors, values), unconnected_gradients=zero)
    return value, gradients, by_variable


def _with_jax(loss, tensors, variables):
    import jax

    def compute(tensors, values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            value = loss(**tensors)
        return value.mean(), value

    differentiate = jax.grad(compute, argnums=(0, 1), has_aux=True)
    (gradients, by_variable), value = differentiate(tensors, [variable.value for variable in variables])
    return value, gradients, by_variable


def assert_golden(golden: dict, loss: Callable[..., Any], tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Fails unless the mean of a loss and its gradients are the golden ones, to 1e-5; returns the loss.

    Inputs without a golden gradient, such as the teacher's, must have gradient 0.
    """
    value, gradients, _ = value_and_gradients(loss, tensors)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value.mean(), golden["loss"], rtol=1e-5)
    for name, gradient in gradients.items():
        if name in golden["gradients"]:
            assert_gradients_close(gradient, golden["gradients"][name])
        else:
            assert not gradient.any(), f"a gradient by {name}"
    assert set(golden["gradients"]) <= set(gradients)
    return value


def assert_gradients_close(received: Any, golden: Any) -> None:
    """Fails unless gradients are equal to 1e-5 of the largest."""
    np.testing.assert_allclose(received, golden, rtol=1e-5, atol=1e-5 * np.abs(golden).max())


def logits(examples: int = 4, classes: int = 5) -> st.SearchStrategy[np.ndarray]:
    """Draws logits, float64 [examples, classes], from -20 to 20."""
    return st_numpy.arrays(np.float64, (examples, classes), elements=st.floats(-20, 20, width=32))


def compute(loss: Callable[..., Any], **arguments: Any) -> np.ndarray:
    """Computes a loss in float64."""
    with float64():
        return np.asarray(loss(**arguments))
