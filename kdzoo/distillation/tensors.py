"""What the losses share: casts, checks of shapes, masks of classes, and functions whose gradients stay finite.

All take tensors of any Keras backend or NumPy arrays.
"""

from typing import Any

import keras
from keras import ops

from zoo import InputError

_FAR_BELOW = -1e30  # a logit whose probability is 0 in float32 and float64, without the NaN of 0 * infinity


def as_float(tensor: Any) -> Any:
    """Casts to float32, the least precision that losses compute in; float64 stays float64."""
    tensor = ops.convert_to_tensor(tensor)
    return tensor if keras.backend.standardize_dtype(tensor.dtype) == "float64" else ops.cast(tensor, "float32")


def without_gradient(tensor: Any) -> Any:
    """Casts as `as_float` does, and stops the gradient: what a teacher computed is a constant."""
    return ops.stop_gradient(as_float(tensor))


def check_equal_shapes(what: str, student: Any, teacher: Any) -> None:
    """Raises InputError if shapes differ, since they would be broadcast. What a graph leaves open is not compared."""
    if any(getattr(tensor.shape, "rank", 0) is None for tensor in (student, teacher)):
        return
    shapes = [tuple(tensor.shape) for tensor in (student, teacher)]
    if len(shapes[0]) != len(shapes[1]) or any(a != b for a, b in zip(*shapes, strict=True) if None not in (a, b)):
        raise InputError(
            f"The {what} of student and teacher must have equal shapes. Received: {shapes[0]} and {shapes[1]}"
        )


def logit_pair(student_logits: Any, teacher_logits: Any, temperature: float = 1.0) -> tuple[Any, Any]:
    """Returns both logits [n, classes] in at least float32, over the temperature; the teacher's without gradient.

    Raises:
        InputError: if their shapes differ.
    """
    student, teacher = as_float(student_logits) / temperature, without_gradient(teacher_logits) / temperature
    check_equal_shapes("logits", student, teacher)
    return student, teacher


def mean(x: Any, axis: int | None = None) -> Any:
    """Computes a mean in the precision of its input. Keras's own computes that of float64 in float32 on JAX."""
    return ops.sum(x, axis=axis) / ops.sum(ops.ones_like(x), axis=axis)


def kl_divergence(*, student: Any, teacher: Any) -> Any:
    """Computes `KL(teacher || student)` of log-probabilities [n, classes]: [n], in nats, summed over classes."""
    return ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)


def label_mask(labels: Any, logits: Any) -> Any:
    """Marks the class of each example.

    Args:
        labels: integers [n] or [n, 1], or probabilities [n, classes], of which the likeliest class counts.
        logits: [n, classes].

    Returns:
        bool [n, classes]. No class is marked for a label that is none, such as -1.
    """
    classes = logits.shape[-1]
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 2 and labels.shape[-1] == classes > 1:
        labels = ops.argmax(labels, axis=-1)
    return ops.equal(ops.cast(ops.reshape(labels, (-1, 1)), "int32"), ops.arange(classes, dtype="int32"))


def without_classes(logits: Any, mask: Any) -> Any:
    """Replaces the logits of the masked classes, so that a softmax gives them probability 0 and no gradient."""
    return ops.where(mask, _FAR_BELOW, logits)


def safe_sqrt(x: Any) -> Any:
    """Computes a square root with gradient 0 instead of infinity at 0, so that two equal tensors do not yield NaN."""
    positive = x > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, x, 1.0)), 0.0)
