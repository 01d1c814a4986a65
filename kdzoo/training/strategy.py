"""The devices of a run: one, or the replicas of TensorFlow's MirroredStrategy."""

import contextlib
import functools
from typing import Any

import keras

from kdzoo.runs import machine
from kdzoo.runs.config import RunConfig
from zoo import InputError


def is_accelerated(config: RunConfig) -> bool:
    """Whether training steps run on accelerators or replicas."""
    return config.strategy != "none" or bool(machine.hardware()["accelerators"])


def scope(config: RunConfig) -> contextlib.AbstractContextManager[Any]:
    """The context in which the networks of a run are built.

    Raises:
        InputError: if the batch size is no multiple of the number of replicas.
    """
    if config.strategy == "none":
        return contextlib.nullcontext()
    strategy = mirrored_strategy()
    if config.batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"batch_size must be a multiple of the {strategy.num_replicas_in_sync} replicas."
            f" Received: {config.batch_size}"
        )
    replica_scope: contextlib.AbstractContextManager[Any] = strategy.scope()
    return replica_scope


@functools.cache
def mirrored_strategy() -> Any:
    """`tf.distribute.MirroredStrategy` over all GPUs or, without one, all logical CPUs.

    One a process: two of them would number their collective operations alike and disturb each other.

    Raises:
        InputError: if TensorFlow is not the backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"strategy=mirrored needs the TensorFlow backend. Received: {keras.backend.backend()}")
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def make_deterministic() -> None:
    """Makes TensorFlow compute the same numbers in each process. Call it before TensorFlow computes anything."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # TensorFlow's determinism refuses random operations without a seed. Weights are drawn by NumPy.
        tf.random.set_seed(0)
        tf.config.experimental.enable_op_determinism()
