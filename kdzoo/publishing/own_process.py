"""Parts of a publication that need a process of their own, with TensorFlow's graph numbers starting at 0."""

import os
import pathlib

from kdzoo import parent_process


def environment() -> dict[str, str]:
    """Returns the environment of such a process: Keras on TensorFlow, no GPU, and it ends when this one does."""
    found = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    found["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(pathlib.Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
    )
    found |= {"CI": "true", "NNCF_CI": "1"}  # so that OpenVINO and NNCF send nothing to their makers
    return found | parent_process.environment()
