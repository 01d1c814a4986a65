"""One teacher of a run whose images are mixed: no table holds its outputs, for each step has images of its own."""

import functools
from collections.abc import Callable

import numpy as np

from kdzoo.data.dataset import Dataset
from kdzoo.runs.config import RunConfig
from kdzoo.teachers.base import Teacher
from kdzoo.teachers.cached_teacher import CachedTeacher

_STEPS = 4  # whose images are held: calls for one of them may follow each other


class MixedTeacher(CachedTeacher):
    """One teacher without tables. Its rows are the images of all steps: `step * batch_size + place in the batch`.

    The test images have negative rows.

    Args:
        teacher: checked against the data set.
        dataset: of the run.
        config: the run's.
        read: returns the uint8 images of a step, counted over all epochs.
    """

    def __init__(self, teacher: Teacher, dataset: Dataset, config: RunConfig, read: Callable[[int], np.ndarray]):
        super().__init__(teacher, dataset, config)
        self._batch_size, self._read = config.batch_size, functools.lru_cache(maxsize=_STEPS)(read)

    @property
    def test_rows(self) -> np.ndarray:
        return np.arange(-len(self._dataset.test), 0)

    def _images(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), *self._dataset.image_shape), np.uint8)
        images[rows < 0] = self._dataset.test.read(rows[rows < 0] + len(self._dataset.test))
        steps, places = np.divmod(rows, self._batch_size)
        for step in np.unique(steps[rows >= 0]).tolist():
            images[steps == step] = self._read(step)[places[steps == step]]
        return images
