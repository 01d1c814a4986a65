"""How teacher outputs reach a training step: several ways with one interface, chosen in one place (`choose_delivery`).

* `InStep`: the teacher is part of the step as a Keras model, on accelerators and replicas.
* `InStepProgram`: the step calls the teacher's compiled program, for a small teacher on a processor.
* `ComputedAhead`: the teacher runs before the step that needs its outputs; they come beside the labels.
* `FromCache`: the same, and each output is read from a table on disk if an earlier epoch or run computed it.

On one machine all of them give the same numbers, to the bit on a processor, so the choice is a matter of speed alone.
"""

import abc
import logging
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation.distiller import Distiller
from kdzoo.distillation.method import Shapes
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.cached_teacher import CALL_IMAGES
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.outputs import TeacherOutputs
from kdzoo.teachers.zoo_teacher import ZooTeacher
from kdzoo.training import data_parallel, strategy
from kdzoo.training.inputs import RunInputs
from kdzoo.training.steps import predict
from zoo import InputError

_log = logging.getLogger(__name__)

# Activations for one image. A larger teacher's take much memory beside the student's, and its operations leave no core
# idle that the student's could use.
IN_STEP_ACTIVATIONS = 2_000_000
Predict = Callable[[keras.Model, Split, Dataset], np.ndarray]


class Delivery(abc.ABC):
    """How teacher outputs reach a training step.

    Attributes:
        models: teachers to build as Keras models inside the `Distiller`.
        outputs_given, teacher_shapes: the `Distiller`'s arguments of these names.
        step_outputs: the outputs that `Steps` puts beside the labels of each step; None where the step has its own.
        cache_folder: folder or store of the tables, "off" without.
    """

    models: Sequence[ZooTeacher] = ()
    outputs_given: bool | Callable[[Any], dict[str, Any]] = False
    teacher_shapes: Shapes | None = None
    step_outputs: TeacherOutputs | None = None
    cache_folder = "off"

    @abc.abstractmethod
    def test_logits(self, model: Distiller, dataset: Dataset) -> np.ndarray | None:
        """The teachers' mean logits [n, classes] for the test images; None without teachers."""

    @property
    def rows(self) -> dict[str, int] | None:
        """Teacher outputs that the steps needed so far, and those of them that were computed; None if not counted."""
        return None

    @abc.abstractmethod
    def close(self) -> None:
        """Ends computations under way and closes the tables."""


class InStep(Delivery):
    """Teachers are part of the step.

    Args:
        models: teachers to build inside the `Distiller`; none for a run without teachers.
        predict: computes the logits of one of them for the images of a split.
    """

    def __init__(self, models: Sequence[ZooTeacher], predict: Predict):
        self.models, self._predict = models, predict

    def test_logits(self, model: Distiller, dataset: Dataset) -> np.ndarray | None:
        logits = [self._predict(teacher, dataset.test, dataset) for teacher in model.teachers]
        return np.mean(logits, axis=0) if logits else None

    def close(self) -> None:
        """Nothing is open."""


class InStepProgram(Delivery):
    """One small teacher's compiled program is part of the step: its forward fills gaps that the student's leaves.

    Args:
        outputs: of the run's only teacher, a zoo model.
    """

    def __init__(self, outputs: TeacherOutputs):
        self._outputs, self.outputs_given, self.teacher_shapes = outputs, outputs.program(), outputs.shapes

    def test_logits(self, model: Distiller, dataset: Dataset) -> np.ndarray:
        return self._outputs.test_logits()

    def close(self) -> None:
        self._outputs.close()


class ComputedAhead(Delivery):
    """Teachers run before the step that needs their outputs.

    Args:
        outputs: of the run's teachers.
    """

    outputs_given = True

    def __init__(self, outputs: TeacherOutputs):
        self.step_outputs = self._outputs = outputs
        self.teacher_shapes = outputs.shapes

    def test_logits(self, model: Distiller, dataset: Dataset) -> np.ndarray:
        return self._outputs.test_logits()

    @property
    def rows(self) -> dict[str, int]:
        return self._outputs.rows

    def close(self) -> None:
        self._outputs.close()


class FromCache(ComputedAhead):
    """Teacher outputs are read from tables; what the tables lack is computed ahead of the steps and written there.

    Args:
        outputs: of the run's teachers.
        cache: that holds the tables.
    """

    def __init__(self, outputs: TeacherOutputs, cache: Cache):
        super().__init__(outputs)
        self.cache_folder = cache.name


def choose_delivery(inputs: RunInputs, cache: Cache | None) -> Delivery:
    """The way for a run: in the step where that is fastest and nothing is kept, else ahead, from the cache if any."""
    config, ensemble = inputs.config, inputs.ensemble
    if config.mixes and ensemble.teachers and cache:
        _log.warning("Teacher outputs are computed live, without the cache: each step has mixed images of its own")
        cache = None
    accelerated = strategy.is_accelerated(config)
    kept_whole = config.teacher_store == "float32"  # a model inside the step rounds no outputs
    statistics = {"mean": inputs.dataset.mean, "std": inputs.dataset.std}
    same_images = all(teacher.statistics == statistics and not teacher.image_size for teacher in ensemble.teachers)
    fits = not ensemble.has_external and kept_whole and same_images
    live = bool(config.own_method and config.own_method.required) and not config.teacher_features
    if live and not fits:
        raise InputError(
            f"{config.distillation_method} needs zoo models as teachers, of the student's standardisation and image"
            f" size, and teacher_store=float32. Received: {', '.join(config.teachers)}"
        )
    if config.teacher_features and ensemble.has_external:
        rule = f"{config.distillation_method} needs zoo models as teachers"
        raise InputError(f"{rule}. Received: {', '.join(config.teachers)}")
    if live and cache:
        _log.warning(
            "Teacher outputs are computed live, without the cache: %s compares more than logits and features",
            config.distillation_method,
        )
    if not ensemble.teachers or (accelerated and not cache and fits) or live:
        models = [teacher for teacher in ensemble.teachers if isinstance(teacher, ZooTeacher)]
        return InStep(models, data_parallel.predict if config.strategy == "data_parallel" else predict)
    share = strategy.share(config)
    if config.mixes and share:
        raise InputError(
            "mixup_alpha and cutmix_alpha in several processes need zoo models as teachers, of the student's"
            " standardisation and image size, and teacher_store=float32: a mixture may need images of other processes."
            f" Received: {', '.join(config.teachers)}, teacher_store {config.teacher_store}"
        )
    outputs = TeacherOutputs(ensemble, inputs.dataset, inputs.splits["train"], config, cache, share)
    if not accelerated and same_images and fits_in_step(outputs, config):
        return InStepProgram(outputs)
    return FromCache(outputs, cache) if cache else ComputedAhead(outputs)


def fits_in_step(outputs: TeacherOutputs, config: RunConfig) -> bool:
    """Whether a processor runs the teacher fastest as part of the step: a single small zoo model without tables.

    Only TensorFlow keeps its program, and so its last bits, the same inside a step; and only for a batch of as many
    images as a call has.
    """
    (first, *others) = outputs.teachers
    return (
        not others
        and not first.tables
        and isinstance(first.teacher, ZooTeacher)
        and config.batch_size == CALL_IMAGES
        and keras.backend.backend() == "tensorflow"
        and first.teacher.activations <= IN_STEP_ACTIVATIONS
    )
