"""A network from raw pictures to logits: its standardisation inside."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kdzoo.data import augmentation

if TYPE_CHECKING:
    import keras

INPUT, OUTPUT = "images", "logits"


def from_pixels(
    network: "keras.Model", image_shape: Sequence[int], *, mean: Sequence[float], std: Sequence[float]
) -> "keras.Model":
    """Returns the network with `kdzoo.data.standardise` before it: from uint8 [n, h, w, c] to logits [n, classes].

    Args:
        network: from standardised images to logits.
        image_shape: (height, width, channels) of its images.
        mean, std: of the images it was trained on, a number a channel.
    """
    import keras

    factors, offsets = (values.tolist() for values in augmentation.coefficients(mean, std))
    images = keras.Input(image_shape, dtype="uint8", name=INPUT)
    # x + (-offset) is x - offset to the bit.
    standardise = keras.layers.Rescaling(factors, [-offset for offset in offsets], dtype="float32", name="standardise")
    model = keras.Model(images, network(standardise(images)), name="pictures")
    model(np.zeros((1, *image_shape), np.uint8))  # Keras exports no model that was never called
    return model
