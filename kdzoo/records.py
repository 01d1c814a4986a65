"""What a run leaves behind: public names of `kdzoo.runs.records`, `kdzoo.runs.weights` and `kdzoo.runs.machine`."""

from kdzoo.runs.machine import hardware, versions
from kdzoo.runs.records import RECORD, TIMING, read, result, write
from kdzoo.runs.weights import WEIGHTS, build, count_parameters, load_model, save_weights

__all__ = [
    "RECORD",
    "TIMING",
    "WEIGHTS",
    "build",
    "count_parameters",
    "hardware",
    "load_model",
    "read",
    "result",
    "save_weights",
    "versions",
    "write",
]
