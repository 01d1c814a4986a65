"""The machine and the versions of the libraries that a run uses."""

import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import kdzoo

if TYPE_CHECKING:
    pass


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
