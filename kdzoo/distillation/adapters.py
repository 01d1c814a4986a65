"""Layers of the adapters that some methods train beside the student, initialised as PyTorch initialises its own.

An adapter is a functional Keras model from features [n, h, w, channels] or [n, channels] to what the loss compares.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable("kdzoo")
class TorchUniform(keras.initializers.RandomUniform):
    """Uniform weights within gain / sqrt(fan-in); a gain of 1 is PyTorch's default for linear and convolutional layers.

    NumPy's frozen generator draws them, see `zoo.layers.HeNormal`.

    Args:
        fan_in: for a bias, the inputs of each output; None, for a kernel: read off its shape.
        gain: above 0.
        seed: of the generator; None: drawn by Python's `random`, as in all Keras layers.
    """

    def __init__(self, fan_in: int | None = None, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.fan_in, self.gain = fan_in, gain

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        bound = self.gain / math.sqrt(self.fan_in or math.prod(shape[:-1]))
        values = np.random.RandomState(self.seed).uniform(-bound, bound, shape)
        return ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"fan_in": self.fan_in, "gain": self.gain, "seed": self.seed}


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
