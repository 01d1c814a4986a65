"""A small SavedModel whose outputs are exact, and which takes as long as it is made to."""

import pathlib

import numpy as np
import tensorflow as tf

from kdzoo.serving.batching import Batching
from kdzoo.serving.models import ServedModel, load_version

NAME = "small"
SHAPE = (4, 4, 1)


def write(directory: pathlib.Path, version: int = 2, *, seconds: float = 0.0, factor: int = 1) -> pathlib.Path:
    """Writes a version of the model: the logits of an image are its sum, its first and its last pixel, times `factor`.

    Each call, of however many images, takes so many seconds.
    """
    spec = tf.TensorSpec([None, *SHAPE], tf.uint8, name="images")

    @tf.function(input_signature=[spec])
    def serving_default(images):
        end = tf.timestamp() + seconds
        now = tf.while_loop(lambda now: now < end, lambda now: [tf.timestamp()], [tf.constant(0.0, tf.float64)])[0]
        with tf.control_dependencies([now]):
            pixels = tf.cast(tf.reshape(images, [-1, int(np.prod(SHAPE))]), tf.float32)
        return {"logits": factor * tf.stack([tf.reduce_sum(pixels, 1), pixels[:, 0], pixels[:, -1]], 1)}

    module = tf.Module()
    tf.saved_model.save(module, str(directory / str(version)), signatures={"serving_default": serving_default})
    return directory / str(version)


def logits(images: np.ndarray, factor: int = 1) -> np.ndarray:
    """What the model returns, exactly."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    return factor * np.stack([pixels.sum(1), pixels[:, 0], pixels[:, -1]], 1)


def load(directory: pathlib.Path, version: int = 2, **batching) -> ServedModel:
    """Loads a version of the model."""
    return load_version({"name": NAME}, directory, version, Batching(**batching))


def draw(count: int, seed: int = 0) -> np.ndarray:
    """Draws images uint8 [count, 4, 4, 1]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
