"""The training steps of the backend in use."""

import keras

from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation.distiller import Distiller
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.outputs import TeacherOutputs
from kdzoo.training.data_parallel import DataParallelSteps
from kdzoo.training.jax_steps import JaxSteps
from kdzoo.training.steps import Steps
from kdzoo.training.tensorflow_steps import TensorFlowSteps

_STEPS: dict[str, type[Steps]] = {"tensorflow": TensorFlowSteps, "jax": JaxSteps}


def make(
    model: Distiller,
    dataset: Dataset,
    train: Split,
    config: RunConfig,
    teacher_outputs: TeacherOutputs | None = None,
) -> Steps:
    """The training steps of a compiled model: see `Steps`."""
    steps = DataParallelSteps if config.strategy == "data_parallel" else _STEPS[keras.backend.backend()]
    return steps(model, dataset, train, config, teacher_outputs)
