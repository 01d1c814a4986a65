"""The layers all families share, with the field's usual settings in one place."""

import math

import keras
import numpy as np
from keras import layers, ops


def num_replicas() -> int:
    """Replicas of the TensorFlow distribution strategy in whose scope this is called; 1 elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


@keras.saving.register_keras_serializable("kdzoo")
class HeNormal(keras.initializers.HeNormal):
    """Normal weights of variance 2 / fan-in: He et al., ICCV 2015 (arXiv:1502.01852), and PyTorch's `kaiming_normal_`.

    Drawn by NumPy's frozen generator, so that a seed means the same network on every backend and in every version;
    Keras's own draws by the backend's generator, from a normal truncated at two standard deviations.
    """

    def __call__(self, shape, dtype=None):
        values = np.random.RandomState(self.seed).standard_normal(shape) * math.sqrt(2 / math.prod(shape[:-1]))
        return ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())


def conv(x, filters: int, kernel_size: int, *, stride: int = 1, name: str):
    """Bias-free convolution, padded alike on all sides as PyTorch does it, with He normal weights (fan-in).

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
    """Keras's BatchNormalization of the last axis of images, computed on TensorFlow by its one fused operation.

    The same numbers, up to rounding, with a training step 1.2 to 1.6 times as fast on CPU (benchmarks/README.md): Keras
    composes it from a dozen operations that each read and write the whole activation.
    """

    def call(self, inputs, training=None, mask=None):
        fusable = keras.backend.backend() == "tensorflow" and self.variable_dtype == "float32" and mask is None
        if not fusable or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        if not (training and self.trainable):
            statistics = {"mean": self.moving_mean, "variance": self.moving_variance, "is_training": False}
            return self._fused(tf, inputs, **statistics)[0]
        outputs, mean, variance = self._fused(tf, inputs, is_training=True)
        examples = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
        variance *= 1 - 1 / examples  # the operation's is the unbiased one, Keras keeps the biased
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs

    def _fused(self, tf, inputs, **statistics):
        return tf.compat.v1.nn.fused_batch_norm(inputs, self.gamma, self.beta, epsilon=self.epsilon, **statistics)


def batch_norm(x, *, name: str):
    """BatchNorm with the paper's field's momentum and epsilon (PyTorch's 0.1 and 1e-5).

    Built under several replicas it is synchronised: otherwise moving statistics drift apart and replica 0's are saved.
    """
    return BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=num_replicas() > 1, name=name)(x)


def batch_norm_relu(x, *, name: str):
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, name=f"{name}_bn"))


def head(x, num_classes: int):
    """Global average pooling and the logits, which stay in the variables' precision under a mixed policy."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    dtype = keras.config.dtype_policy().variable_dtype
    return layers.Dense(num_classes, kernel_initializer=HeNormal(), dtype=dtype, name="logits")(x)
