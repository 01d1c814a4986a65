"""A small SavedModel whose outputs are exact, and whose calls wait until a test lets them pass."""

import pathlib

import numpy as np
import tensorflow as tf

from kdzoo.serving.batching import Batching
from kdzoo.serving.models import ServedModel, load_version

NAME = "small"
SHAPE = (4, 4, 1)


class Gate:
    """What calls of a model wait for. Closed at first; must be in the process of the model."""

    def __init__(self, name: str):
        self.name, self.is_open = name, False

    def open(self) -> None:
        self.is_open = True
        tf.raw_ops.QueueEnqueueV2(handle=_queue(self.name), components=[True])

    def close(self) -> None:
        self.is_open = False
        tf.raw_ops.QueueDequeueV2(handle=_queue(self.name), component_types=[tf.bool])


def _queue(name: str):
    return tf.raw_ops.FIFOQueueV2(component_types=[tf.bool], shared_name=name)


def write(directory: pathlib.Path, version: int = 2, *, factor: int = 1, gate: Gate | None = None) -> None:
    """Writes a version of the model: the logits of an image are its sum, its first and its last pixel, times `factor`.

    Args:
        directory: of the model.
        version: number of the folder.
        factor: of the logits.
        gate: that every call waits for; None: there is none.
    """

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8, name="images")])
    def serving_default(images):
        passed = []
        if gate is not None:  # the queue holds one element, which each call takes out and brings back
            queue = _queue(gate.name)
            taken = tf.raw_ops.QueueDequeueV2(handle=queue, component_types=[tf.bool])
            passed = [tf.raw_ops.QueueEnqueueV2(handle=queue, components=taken)]
        with tf.control_dependencies(passed):
            pixels = tf.cast(tf.reshape(images, [-1, int(np.prod(SHAPE))]), tf.float32)
        return {"logits": factor * tf.stack([tf.reduce_sum(pixels, 1), pixels[:, 0], pixels[:, -1]], 1)}

    tf.saved_model.save(tf.Module(), str(directory / str(version)), signatures={"serving_default": serving_default})


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
