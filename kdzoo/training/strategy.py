"""The devices of a run: one, the replicas of TensorFlow's MirroredStrategy, or all of JAX's in data parallel."""

import contextlib
import functools
from typing import Any

import keras

from kdzoo.runs import machine
from kdzoo.runs.config import RunConfig
from kdzoo.training.processes import ALONE, here
from zoo import InputError

_BACKENDS = {"mirrored": ("tensorflow", "TensorFlow"), "data_parallel": ("jax", "JAX")}


def check_backend(strategy: str) -> None:
    """Raises InputError if the backend in use has no such strategy."""
    backend, name = _BACKENDS.get(strategy, ("", ""))
    if backend and keras.backend.backend() != backend:
        raise InputError(f"strategy={strategy} needs the {name} backend. Received: {keras.backend.backend()}")


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
    if config.batch_size % (replicas := count_replicas(config)):
        raise InputError(f"batch_size must be a multiple of the {replicas} replicas. Received: {config.batch_size}")
    strategy = mirrored_strategy() if config.strategy == "mirrored" else data_parallel()
    replica_scope: contextlib.AbstractContextManager[Any] = strategy.scope()
    return replica_scope


def count_replicas(config: RunConfig) -> int:
    """The number of devices that take a share of each batch."""
    if config.strategy == "mirrored":
        return mirrored_strategy().num_replicas_in_sync
    return data_parallel().num_model_replicas if config.strategy == "data_parallel" else 1


@functools.cache
def mirrored_strategy() -> Any:
    """`tf.distribute.MirroredStrategy` over all GPUs or, without one, all logical CPUs.

    One a process: two of them would number their collective operations alike and disturb each other.

    Raises:
        InputError: if TensorFlow is not the backend.
    """
    check_backend("mirrored")
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@functools.cache
def data_parallel() -> Any:
    """`keras.distribution.DataParallel` over all devices of all processes, those of one process beside each other.

    Raises:
        InputError: if JAX is not the backend.
    """
    check_backend("data_parallel")
    import jax

    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return keras.distribution.DataParallel(devices=[f"{device.platform}:{device.id}" for device in devices])


def share(config: RunConfig) -> slice | None:
    """The places in each batch whose images this process reads; None: all."""
    if config.strategy != "data_parallel":
        return None
    processes = here()
    size = config.batch_size // processes.count
    return None if processes == ALONE else slice(processes.index * size, (processes.index + 1) * size)


def make_deterministic() -> None:
    """Makes TensorFlow compute the same numbers in each process. Call it before TensorFlow computes anything."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # TensorFlow's determinism refuses random operations without a seed. Weights are drawn by NumPy.
        tf.random.set_seed(0)
        tf.config.experimental.enable_op_determinism()
