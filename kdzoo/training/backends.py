"""The training steps of the backend in use."""

from collections.abc import Callable
from typing import Any

import keras

from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation.distiller import Distiller
from kdzoo.runs.config import RunConfig
from kdzoo.training.jax_steps import JaxSteps
from kdzoo.training.steps import Steps
from kdzoo.training.tensorflow_steps import TensorFlowSteps


def make(
    model: Distiller,
    dataset: Dataset,
    train: Split,
    config: RunConfig,
    answers: Callable[[tuple[int, int]], dict[str, Any]] | None = None,
) -> "Steps":
    """What runs this compiled model's steps on the backend in use.

    `answers` tells of a step, (epoch, step), what a model of `outputs_given` takes beside the labels.
    """
    kinds = {"tensorflow": TensorFlowSteps, "jax": JaxSteps}
    return kinds[keras.backend.backend()](model, dataset, train, config, answers)
