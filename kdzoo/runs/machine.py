"""The machine and the library versions of a run."""

import json
import os
import platform
import sys
from typing import Any

from kdzoo.version import __version__
from zoo import InputError

BACKENDS = ("tensorflow", "jax")  # the first is Keras's own default


def check_backend() -> None:
    """Raises InputError unless Keras computes, or will compute once it is imported, with a backend that runs here.

    Keras takes the backend from $KERAS_BACKEND, else from its configuration file.
    """
    name = os.environ.get("KERAS_BACKEND") or _configured_backend()
    if "keras" in sys.modules:
        name = sys.modules["keras"].backend.backend()
    if name not in BACKENDS:
        raise InputError(f"KERAS_BACKEND must be {' or '.join(BACKENDS)}, for example {BACKENDS[0]}. Received: {name}")


def _configured_backend() -> str:
    """The backend in Keras's configuration file, $KERAS_HOME/keras.json; without one, Keras's default."""
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    try:
        with open(os.path.join(home, "keras.json")) as file:
            return str(json.load(file).get("backend", BACKENDS[0]))
    except (OSError, ValueError, AttributeError):
        return BACKENDS[0]


def versions() -> dict[str, str]:
    """Returns the versions of kdzoo, Python, Keras, NumPy and the backend, and the backend's name."""
    import keras
    import numpy as np

    backend = keras.backend.backend()
    modules = {"keras": keras, "numpy": np, backend: sys.modules[backend]}
    return {
        "kdzoo": __version__,
        "python": platform.python_version(),
        "backend": backend,
        **{name: module.__version__ for name, module in modules.items()},
    }


def hardware() -> dict[str, Any]:
    """Returns the processor, the number of cores that this process may use, and the accelerators."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            processor = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": processor, "cores": cores, "accelerators": _accelerators()}


def _accelerators() -> list[str]:
    """Returns the device names of the backend's accelerators."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
