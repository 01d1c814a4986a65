"""What losses on features share: tensors of any Keras backend, channels last."""

import math
from typing import Any

from keras import ops

from kdzoo.distillation.tensors import as_float, check_equal_shapes, without_gradient


def pair(student: Any, teacher: Any) -> tuple[Any, Any]:
    """Casts both to float32 or more, and stops gradients to the teacher."""
    return as_float(student), without_gradient(teacher)


def flatten(x: Any) -> Any:
    """Reshapes [n, ...] to [n, values]."""
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))


def mean_per_example(x: Any) -> Any:
    """Averages [n, ...] over all axes but the first: [n]."""
    return ops.sum(flatten(x), axis=1) / math.prod(x.shape[1:])


def unit_vectors(x: Any, axis: int = -1) -> Any:
    """Divides by the L2 norm along an axis; zeros stay zeros, with gradient 0."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    positive = squares > 0
    return ops.where(positive, x * ops.rsqrt(ops.where(positive, squares, 1.0)), 0.0)


def equal_size(student: Any, teacher: Any) -> tuple[Any, Any]:
    """Average-pools the larger of two features [n, h, w, channels] to the other's size."""
    return shrink(student, teacher.shape[1:3]), shrink(teacher, student.shape[1:3])


def mean_square(student: Any, teacher: Any) -> Any:
    """Computes the mean square of the difference of stages [n, h, w, channels], the larger one average-pooled: [n].

    Raises:
        InputError: if the channels differ.
    """
    student, teacher = equal_size(*pair(student, teacher))
    check_equal_shapes("stages", student, teacher)
    return mean_per_example(ops.square(student - teacher))


def shrink(x: Any, size: tuple[int, int]) -> Any:
    """Average-pools [n, h, w, channels] to (height, width) where it is larger, as PyTorch's adaptive pooling does."""
    for axis in (1, 2):
        if x.shape[axis] > size[axis - 1]:
            x = _pool(x, axis, size[axis - 1])
    return x


def _pool(x: Any, axis: int, size: int) -> Any:
    """Averages `size` windows along an axis. They overlap if the length is no multiple."""
    length = x.shape[axis]
    if length % size == 0:
        shape = (-1, *x.shape[1:axis], size, length // size, *x.shape[axis + 1 :])
        return ops.sum(ops.reshape(x, shape), axis=axis + 1) / (length // size)
    windows = [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]
    crops = {window: x[:, slice(*window)] if axis == 1 else x[:, :, slice(*window)] for window in windows}
    means = [ops.sum(crop, axis=axis) / (stop - start) for (start, stop), crop in crops.items()]
    return ops.stack(means, axis=axis)
