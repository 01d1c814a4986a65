"""A network from raw pictures to logits: its standardisation inside, and none of kdzoo's own classes if need be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kdzoo.data import augmentation

if TYPE_CHECKING:
    import keras

INPUT, OUTPUT = "images", "logits"


def from_pixels(network: "keras.Model", *, mean: Sequence[float], std: Sequence[float]) -> "keras.Model":
    """Returns the network with `kdzoo.data.standardise` before it: from uint8 [n, h, w, c] to logits [n, classes].

    Args:
        network: from standardised images to logits.
        mean, std: of the images it was trained on, a number a channel.
    """
    import keras

    factors, offsets = (values.tolist() for values in augmentation.coefficients(mean, std))
    images = keras.Input(network.input_shape[1:], dtype="uint8", name=INPUT)
    # x + (-offset) is x - offset to the bit.
    standardise = keras.layers.Rescaling(factors, [-offset for offset in offsets], dtype="float32", name="standardise")
    model = keras.Model(images, network(standardise(images)), name="pictures")
    model(np.zeros((1, *network.input_shape[1:]), np.uint8))  # Keras exports no model that was never called
    return model


def with_plain_layers(network: "keras.Model") -> "keras.Model":
    """Returns the network with Keras's own layers in place of the zoo's, which compute the same up to rounding.

    So `keras.saving.load_model` needs no kdzoo.
    """
    import keras

    from zoo.layers import BatchNormalization

    def plain(layer: Any) -> Any:
        config = layer.get_config()
        initializer = config.get("kernel_initializer")
        if isinstance(initializer, dict) and str(initializer.get("registered_name")).startswith("kdzoo>"):
            config["kernel_initializer"] = "he_normal"
        kind = keras.layers.BatchNormalization if type(layer) is BatchNormalization else type(layer)
        return kind.from_config(config)

    if not any(type(layer) is BatchNormalization for layer in network.layers):
        return network
    copy = keras.models.clone_model(network, clone_function=plain)
    copy.set_weights(network.get_weights())
    return copy
