"""The time that a network takes for one image on this machine."""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kdzoo.runs import machine

CALLS = 50  # at most
SECONDS = 0.5  # of measuring, without compilation; then no further call begins, after the first three
_WARM_UP = 2
_measured: dict[Any, dict[str, Any]] = {}


def measure_once(model: keras.Model, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Returns what `measure` returned for the first such network in this process: many runs may have the same.

    Networks are the same if their weights have the same paths, shapes and precision.
    """
    network = tuple((weight.path, tuple(weight.shape)) for weight in model.weights)
    key = (network, tuple(image_shape), model.dtype_policy.name)
    if key not in _measured:
        _measured[key] = measure(model, image_shape)
    return dict(_measured[key])


def measure(model: keras.Model, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Times the compiled forward pass of a network for one image, from host memory to logits in host memory.

    Args:
        model: the network, in the precision in which it computes.
        image_shape: (height, width, channels) of its images.

    Returns:
        `median` and `p95` in milliseconds, over `calls` calls after a warm-up; `batch`, 1; and `threads`, of which the
        backend may use so many on the processor.
    """
    image = np.random.default_rng(0).standard_normal((1, *image_shape), np.float32)
    forward = _compile(model, image.shape)
    for _ in range(_WARM_UP):
        forward(image)
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 3 or (len(taken) < CALLS and time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        forward(image)
        taken.append(1000 * (time.perf_counter() - start))
    median, p95 = np.percentile(taken, (50, 95)).tolist()
    return {"median": median, "p95": p95, "calls": len(taken), "batch": 1, "threads": _threads()}


def _compile(model: keras.Model, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """The forward pass as a program of its own: an evaluation's is made for its batches."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        spec = tf.TensorSpec(shape, tf.float32)
        program = tf.function(lambda image: model(image, training=False), autograph=False).get_concrete_function(spec)
        return lambda image: program(tf.constant(image)).numpy()
    import jax

    groups = [
        [jax.device_put(np.asarray(variable), jax.local_devices()[0]) for variable in group]
        for group in (model.trainable_variables, model.non_trainable_variables)
    ]
    call = jax.jit(lambda groups, image: model.stateless_call(*groups, image, training=False)[0])
    return lambda image: np.asarray(call(groups, image))


def _threads() -> int:
    """Threads of one operation: as many as the process has cores, unless TensorFlow was given a number."""
    cores: int = machine.hardware()["cores"]
    if keras.backend.backend() != "tensorflow":
        return cores
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or cores
