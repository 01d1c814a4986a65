"""Knowledge distillation in Keras 3: small image classifiers taught by big ones, and by which, trained for how long.

What is named here is imported when first used, so that `import kdzoo` costs nothing and needs no backend.
"""

import importlib
import os

__version__ = "0.4.0"

# TensorFlow leaves oneDNN off on x86 processors without AVX512-VNNI. Without it training takes more than twice as long,
# and a network's answer to an image depends in its last bits on the image's place in the batch (benchmarks/README.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_HOMES = {
    "Distiller": "kdzoo.distiller",
    "InputError": "zoo",
    "ModelName": "kdzoo.names",
    "RunConfig": "kdzoo.config",
    "build": "kdzoo.names",
    "list_models": "kdzoo.hub",
    "load": "kdzoo.hub",
}
_MODULES = (
    "answers",
    "batches",
    "checkpoints",
    "config",
    "data",
    "distiller",
    "files",
    "hub",
    "losses",
    "metrics",
    "names",
    "optimizers",
    "paper",
    "plots",
    "precision",
    "progress",
    "publish",
    "records",
    "remote",
    "report",
    "schedules",
    "serving",
    "statistics",
    "steps",
    "sweep",
    "teacher_cache",
    "teachers",
    "training",
    "tune",
    "tuner",
)

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"kdzoo.{name}")
    raise AttributeError(f"module 'kdzoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
