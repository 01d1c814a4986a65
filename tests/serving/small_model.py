"""A small SavedModel whose outputs are exact, and whose calls wait until a test lets them pass."""

import pathlib
import threading

import numpy as np
import tensorflow as tf

from kdzoo.serving.batching import Batching, gather
from kdzoo.serving.models import ServedModel, load_version
from kdzoo.teachers.signature import Signature

NAME = "small"
SHAPE = (4, 4, 1)


def write(directory: pathlib.Path, version: int = 2, *, factor: int = 1) -> None:
    """Writes a version of the model: an image's logits are its sum, its first and its last pixel, times `factor`."""

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8, name="images")])
    def serving_default(images):
        return {"logits": factor * _compute(images)}

    tf.saved_model.save(tf.Module(), str(directory / str(version)), signatures={"serving_default": serving_default})


def _compute(images):
    pixels = tf.cast(tf.reshape(images, [-1, int(np.prod(SHAPE))]), tf.float32)
    return tf.stack([tf.reduce_sum(pixels, 1), pixels[:, 0], pixels[:, -1]], 1)


def logits(images: np.ndarray, factor: int = 1) -> np.ndarray:
    """What the model returns, exactly."""
    pixels = images.reshape(len(images), -1).astype(np.float32)
    return factor * np.stack([pixels.sum(1), pixels[:, 0], pixels[:, -1]], 1)


def load(directory: pathlib.Path, version: int = 2, **batching) -> ServedModel:
    """Loads a version of the model."""
    return load_version({"name": NAME}, directory, version, Batching(**batching))


def gated(gate: threading.Event, **batching) -> ServedModel:
    """The model, not saved, whose calls wait for the gate."""
    signature = Signature("serving_default", "images", "uint8", SHAPE, {"logits": (3,)})

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8)])
    def function(images):
        with tf.control_dependencies([tf.numpy_function(lambda: gate.wait(60), [], tf.bool)]):
            return {"logits": _compute(images)}

    def call(wanted: Signature, images: np.ndarray, of=function) -> dict[str, np.ndarray]:
        outputs = of(images=tf.constant(images))
        return {key: outputs[key].numpy() for key in wanted.outputs}

    options = Batching(**batching)
    gathered = {signature.name: gather(function, signature, options)}
    signatures = {signature.name: signature}
    return ServedModel({"name": NAME}, pathlib.Path(), 2, {}, signatures, call, gathered, options)


def draw(count: int, seed: int = 0) -> np.ndarray:
    """Draws images uint8 [count, 4, 4, 1]."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
