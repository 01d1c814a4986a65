"""The outputs of all teachers of a run, for each training step and for the test set."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdzoo.data.batches import Batches
from kdzoo.data.dataset import Dataset, Split
from kdzoo.distillation.method import Shapes
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.cached_teacher import CachedTeacher
from kdzoo.teachers.mixed_teacher import MixedTeacher
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.prefetch import LOOK_AHEAD, OutputPrefetcher, Step
from kdzoo.teachers.resolve import Ensemble
from kdzoo.teachers.zoo_teacher import ZooTeacher


class TeacherOutputs:
    """The outputs of all teachers of a run: for its steps, from any step on, and for the test set.

    If the images of a batch are mixed, the teachers see the mixed images, and there are no tables.

    Args:
        ensemble: checked against the data set.
        dataset: of the run.
        train: the split from which the student learns.
        config: the run's, its augmentation and precision resolved.
        cache: holds the tables of outputs; None: no tables.
        share: places of each batch whose outputs are computed, for one of several processes; None: all. Images must
            not be mixed then.

    Attributes:
        teachers: each with its tables.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        dataset: Dataset,
        train: Split,
        config: RunConfig,
        cache: Cache | None = None,
        share: slice | None = None,
    ):
        def epoch_batches(epoch: int) -> Batches:
            return Batches(train, dataset, epoch=epoch, share=share, **config.batch_options)

        self._epoch = functools.lru_cache(maxsize=2)(epoch_batches)
        self._per_epoch = len(train) // config.labelled_per_batch
        self._epochs = config.kd_epochs
        self._attention, self._classes = bool(config.at_weight), dataset.num_classes
        self._features = config.teacher_features
        self.teachers: Sequence[CachedTeacher]
        if config.mixes:
            self.teachers = [MixedTeacher(teacher, dataset, config, self._read) for teacher in ensemble.teachers]
        else:
            self.teachers = [CachedTeacher(teacher, dataset, config, cache) for teacher in ensemble.teachers]
        self._batch_size, self._mixes = config.batch_size, config.mixes
        steps = LOOK_AHEAD if train.streamed is None else train.streamed.views_ahead // config.batch_size
        self._prefetchers = [
            OutputPrefetcher(teacher, self.rows_of, self._following, steps=max(1, steps)) for teacher in self.teachers
        ]
        self._store = config.teacher_store

    def __call__(self, step: Step) -> dict[str, Any]:
        """The outputs for (epoch, step), as a `Distiller` with `outputs_given` takes them beside the labels.

        "teacher_logits" float32 [batch, classes], the mean over the teachers; with attention transfer "teacher_stages",
        for each teacher a list of maps [batch, height, width]; with a method that compares them "teacher_features",
        for each teacher [batch, channels].
        """
        outputs = [prefetcher(step) for prefetcher in self._prefetchers]
        given: dict[str, Any] = {"teacher_logits": _mean([one["logits"] for one in outputs])}
        if self._attention:
            pairs = zip(self.teachers, outputs, strict=True)
            given["teacher_stages"] = [teacher.maps(one["maps"]) for teacher, one in pairs]
        if self._features:
            given["teacher_features"] = [one["features"].astype(np.float32, copy=False) for one in outputs]
        return given

    @property
    def shapes(self) -> Shapes | None:
        """The shapes of these outputs, for a method that compares features."""
        first = self.teachers[0].teacher
        if not self._features or not isinstance(first, ZooTeacher):
            return None
        return Shapes(self._classes, channels=first.channels)

    def program(self) -> Callable[[Any], dict[str, Any]]:
        """A function that computes, inside a step, the outputs of a single zoo model for the step's images.

        Its outputs are the same to the bit as those of a call. TensorFlow only.
        """
        from keras import ops

        (cached,) = self.teachers
        assert isinstance(cached.teacher, ZooTeacher)
        program = cached.teacher.program  # built before the step is traced: in a trace it could not read its weights

        def compute(images: Any) -> dict[str, Any]:
            outputs = program(images)
            kept = {kind: outputs[kind] for kind in ("logits", "features") if kind in outputs}
            if self._store != "float32":
                kept = {kind: ops.cast(ops.cast(values, self._store), "float32") for kind, values in kept.items()}
            given: dict[str, Any] = {"teacher_logits": kept["logits"]}
            given |= {"teacher_stages": [outputs["maps"]]} if self._attention else {}
            return given | ({"teacher_features": [kept["features"]]} if self._features else {})

        return compute

    @property
    def rows(self) -> dict[str, int]:
        """How many rows the steps so far needed, and how many of them were computed because no table held them."""
        return {
            "needed": sum(prefetcher.needed for prefetcher in self._prefetchers),
            "asked": sum(prefetcher.computed for prefetcher in self._prefetchers),
        }

    def rows_of(self, step: Step) -> np.ndarray:
        """Row numbers [batch] that (epoch, step) needs."""
        if self._mixes:
            first = (step[0] * self._per_epoch + step[1]) * self._batch_size
            return np.arange(first, first + self._batch_size)
        return self.teachers[0].rows_of(*self._epoch(step[0]).seen(step[1]))

    def preload(self) -> tuple[np.ndarray, np.ndarray]:
        """The teachers' mean logits [rows, classes] from the tables, and which rows are present, bool [rows].

        The logits of missing rows are 0.
        """
        rows = self.teachers[0].training_rows
        tables, all_present = [], []
        for first in range(0, len(rows), 2**16):
            part = np.array(rows[first : first + 2**16])
            outputs, missing = zip(*(teacher.look_up(part) for teacher in self.teachers), strict=True)
            present = ~np.logical_or.reduce(missing)
            logits = np.zeros((len(present), self._classes), "f4")
            if all(outputs):
                logits = _mean([one["logits"] for one in outputs])
            tables.append(np.where(present[:, None], logits, np.float32(0)))
            all_present.append(present)
        return np.concatenate(tables), np.concatenate(all_present)

    @property
    def bytes(self) -> int:
        """Size of the logits that `preload` returns."""
        return 4 * self._classes * len(self.teachers[0].training_rows)

    def test_logits(self) -> np.ndarray:
        """The teachers' mean logits [n, classes] of the test images."""
        return _mean([teacher.test_logits() for teacher in self.teachers])

    def close(self) -> None:
        """Ends the calls under way and closes the tables."""
        for prefetcher in self._prefetchers:
            prefetcher.close()
        for teacher in self.teachers:
            teacher.close()

    def _read(self, step: int) -> np.ndarray:
        """The images of a step, counted over all epochs: uint8 [batch, h, w, c]."""
        epoch, number = divmod(step, self._per_epoch)
        return self._epoch(epoch).read(number)[0]

    def _following(self, step: Step) -> Step | None:
        epoch, number = step
        if number + 1 < self._per_epoch:
            return epoch, number + 1
        return (epoch + 1, 0) if epoch + 1 < self._epochs else None


def _mean(logits: Sequence[np.ndarray]) -> np.ndarray:
    total: Any = sum(one.astype(np.float32, copy=False) for one in logits)
    return total / np.float32(len(logits))
