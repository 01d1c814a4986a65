"""A second, strongly augmented view of each image, for methods that learn from two views."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

OPERATIONS, STRENGTH = 2, 0.5  # of RandAugment, its defaults


class StrongView(keras.layers.Layer):
    """Augments standardised images [n, h, w, c] further, by Keras's RandAugment on their pixels.

    Args:
        mean, std: per channel, of images in [0, 1], by which they are standardised.
        seed: of the draws.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, seed: int) -> None:
        super().__init__(name="strong_view", dtype="float32")
        self._mean, self._std = (np.asarray(values, np.float32) for values in (mean, std))
        options = {"value_range": (0, 1), "num_ops": OPERATIONS, "factor": STRENGTH, "seed": seed, "dtype": "float32"}
        self.augment = keras.layers.RandAugment(**options)

    def call(self, images: Any) -> Any:
        """Returns the views, without gradient."""
        pixels = ops.clip(ops.cast(images, "float32") * self._std + self._mean, 0.0, 1.0)
        return ops.stop_gradient((self.augment(pixels, training=True) - self._mean) / self._std)
