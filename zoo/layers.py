"""Layers that all families share, with the usual settings of the literature."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops


def num_replicas() -> int:
    """Returns the number of replicas of the current TensorFlow distribution strategy; 1 on other backends."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


@keras.saving.register_keras_serializable("kdzoo")
class HeNormal(keras.initializers.HeNormal):
    """Normal weights of variance 2 / fan-in: He et al., ICCV 2015 (arXiv:1502.01852), and PyTorch's `kaiming_normal_`.

    NumPy's frozen generator draws them, so that a seed gives the same network on every backend and in every version.
    Keras's own initializer uses the backend's generator and truncates the normal at two standard deviations.
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        values = np.random.RandomState(self.seed).standard_normal(shape) * math.sqrt(2 / math.prod(shape[:-1]))
        return ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())


@keras.saving.register_keras_serializable("kdzoo")
class TorchUniform(keras.initializers.RandomUniform):
    """Uniform weights within gain / sqrt(fan-in); a gain of 1 is PyTorch's default for linear and convolutional layers.

    NumPy's frozen generator draws them, see `HeNormal`.

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


def conv(x: Any, filters: int, kernel_size: int, *, stride: int = 1, name: str) -> Any:
    """Applies a bias-free convolution with He normal weights (fan-in), padded equally on all sides as in PyTorch.

    TensorFlow's "same" pads a strided 3x3 only on the right and below, one pixel off the 1x1 shortcut beside it.
    """
    padding = "same"
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding=padding,
        use_bias=False,
        kernel_initializer=HeNormal(),
        name=name,
    )(x)


@keras.saving.register_keras_serializable("kdzoo")
class BatchNormalization(layers.BatchNormalization):
    """Keras's BatchNormalization over the last axis of images; on TensorFlow, one fused operation computes it.

    The results are equal up to rounding, and a training step is 1.2 to 1.6 times as fast on CPU (benchmarks/README.md):
    Keras composes the layer from a dozen operations that each read and write the whole activation.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        fusable = keras.backend.backend() == "tensorflow" and self.variable_dtype == "float32" and mask is None
        if not fusable or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        if not (training and self.trainable):
            statistics = {"mean": self.moving_mean, "variance": self.moving_variance, "is_training": False}
            return self._fused(tf, inputs, **statistics)[0]
        outputs, mean, variance = self._fused(tf, inputs, is_training=True)
        examples = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
        variance *= 1 - 1 / examples  # the operation returns the unbiased variance, Keras keeps the biased one
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs

    def _fused(self, tf: Any, inputs: Any, **statistics: Any) -> Any:
        return tf.compat.v1.nn.fused_batch_norm(inputs, self.gamma, self.beta, epsilon=self.epsilon, **statistics)


def batch_norm(x: Any, *, name: str) -> Any:
    """Applies BatchNorm with PyTorch's default momentum and epsilon (0.1 and 1e-5; Keras counts momentum as 0.9).

    With several replicas it is synchronised: otherwise their moving statistics drift apart, and only replica 0's are
    saved.
    """
    return BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=num_replicas() > 1, name=name)(x)


def batch_norm_relu(x: Any, *, name: str) -> Any:
    """Applies BatchNorm, then ReLU."""
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, name=f"{name}_bn"))


def head(x: Any, num_classes: int) -> Any:
    """Applies global average pooling and the logits layer, which computes in float32 under a mixed policy."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    dtype = keras.config.dtype_policy().variable_dtype
    return layers.Dense(num_classes, kernel_initializer=HeNormal(), dtype=dtype, name="logits")(x)
