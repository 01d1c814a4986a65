"""Layers of the adapters that some methods train beside the student, initialised as PyTorch initialises its own.

An adapter is a functional Keras model from features [n, h, w, channels] or [n, channels] to what the loss compares.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from kdzoo.ranges import Range
from zoo.layers import TorchUniform

SIZES = Range(least=1, most=2**16, whole=True, example=128)  # of embeddings


def features(shape: Sequence[int], *, batch_size: int | None = None, name: str = "student") -> Any:
    """Returns the input of an adapter, in the compute type of the dtype policy: nothing is rounded on the way in."""
    dtype = keras.config.dtype_policy().compute_dtype
    return keras.Input(tuple(shape), batch_size=batch_size, dtype=dtype, name=name)


def conv(
    x: Any,
    filters: int,
    kernel_size: int | tuple[int, int],
    *,
    padding: str = "same",
    bias: bool = False,
    gain: float = 1.0,
    name: str,
) -> Any:
    """Applies a convolution of stride 1."""
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    return layers.Conv2D(
        filters,
        (height, width),
        padding=padding,
        use_bias=bias,
        kernel_initializer=TorchUniform(gain=gain),
        bias_initializer=TorchUniform(height * width * x.shape[-1]),
        name=name,
    )(x)


def dense(x: Any, units: int, *, name: str) -> Any:
    """Applies a linear layer with bias."""
    return layers.Dense(
        units, kernel_initializer=TorchUniform(), bias_initializer=TorchUniform(x.shape[-1]), name=name
    )(x)
