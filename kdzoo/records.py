"""What a run leaves behind: its record and its weights."""

import json
import math
import os
import pathlib
import platform
import sys
from typing import TYPE_CHECKING, Any

import kdzoo
from kdzoo import names
from kdzoo.files import write_atomically
from zoo import InputError

if TYPE_CHECKING:
    import keras

RECORD = "record.json"
WEIGHTS = "model.weights.h5"
TIMING = ("started", "sessions", "wall_seconds", "images_per_second", "time")


def read(workdir: str | os.PathLike) -> dict[str, Any]:
    """The record of a finished run.

    Raises:
        InputError: if there is none.
    """
    path = pathlib.Path(workdir) / RECORD
    try:
        record = json.loads(path.read_text())
        if {"config", "dataset", "test_error_last"} <= record.keys():
            return record
        reason = "not a run's record"
    except (OSError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
    raise InputError(f"A trained model is the directory of a finished run. Received: {path}: {reason}")


def load_model(workdir: str | os.PathLike) -> "keras.Model":
    """Builds the network of a finished run and loads its weights.

    Raises:
        InputError: if the run is not there, or its weights are not those of its network.
    """
    model = build(read(workdir))
    path = pathlib.Path(workdir) / WEIGHTS
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"A finished run must hold its weights. Received: {path}: {reason}") from None
    return model


def build(record: dict[str, Any]) -> "keras.Model":
    """The network a record describes, untrained."""
    dataset = record["dataset"]
    shape = tuple(dataset["image_shape"])
    return names.build(record["config"]["model"], num_classes=dataset["num_classes"], input_shape=shape)


def save_weights(workdir: pathlib.Path, model: "keras.Model") -> None:
    """Writes the weights, whole or not at all."""
    partial = workdir / f"partial.{WEIGHTS}"
    model.save_weights(partial)
    os.replace(partial, workdir / WEIGHTS)


def write(workdir: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes the record, whole or not at all: a run is finished once it has one."""
    text = json.dumps(_finite(record), indent=1, allow_nan=False)
    write_atomically(workdir / RECORD, f"{text}\n".encode())


def result(record: dict[str, Any]) -> dict[str, Any]:
    """The record without what tells of the clock: what an interrupted run has in common with an undisturbed one."""
    record = {key: value for key, value in record.items() if key not in TIMING}
    return record | {"history": [{k: v for k, v in row.items() if k not in TIMING} for row in record["history"]]}


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number: a cross-entropy that overflowed must not cost the record."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def count_parameters(model: "keras.Model") -> int:
    """Trainable parameters, as papers count them: BatchNorm's moving statistics are none."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    import keras
    import numpy as np

    backend = keras.backend.backend()
    modules = {"keras": keras, "numpy": np, backend: sys.modules[backend]}
    return {
        "kdzoo": kdzoo.__version__,
        "python": platform.python_version(),
        "backend": backend,
        **{name: module.__version__ for name, module in modules.items()},
    }


def hardware() -> dict[str, Any]:
    """What computes: processor, cores this process may use, accelerators."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            processor = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cores": cores, "accelerators": _accelerators()}


def _accelerators() -> list[str]:
    """Their makers' names for them."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
