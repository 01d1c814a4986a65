"""A teacher that sleeps its measured time, and what a process of Ray does to fill shards of a table with its outputs.

All but the network is as in `apps.precompute --ray`: images in their views, calls of 128, shards that are written,
checksummed and committed in a folder. TensorFlow is not imported: 64 workers on one machine have no time for that.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence

import numpy as np

from kdzoo.data import sources
from kdzoo.data.dataset import Dataset
from kdzoo.runs.config import RunConfig
from kdzoo.stores import open_store
from kdzoo.teachers.base import Teacher
from kdzoo.teachers.cached_teacher import CachedTeacher
from kdzoo.teachers.row_format import RowType
from kdzoo.teachers.shard_filling import ShardFiller
from kdzoo.teachers.shards import ShardedTable, create_table

CLASSES, TEST_IMAGES = 10, 10


class SleepingTeacher(Teacher):
    """Its outputs are sums of pixels, and take so many seconds for a call."""

    spec, digest = "sleeping", "0" * 64

    def __init__(self, seconds: float):
        self.record, self._seconds = {}, seconds

    def check(self, dataset: Dataset) -> None:
        """It fits any data set."""

    def compute(self, images: np.ndarray) -> dict:
        """The outputs: see `Teacher.compute`."""
        time.sleep(self._seconds)
        sums = images.sum(axis=(1, 2, 3), dtype=np.int64)
        return {"logits": (sums[:, None] % (np.arange(CLASSES) + 2)).astype(np.float32), "maps": []}


@dataclasses.dataclass(frozen=True)
class Work:
    """A table to fill.

    Attributes:
        folder: holds the images and the table.
        seconds: of a call of the teacher.
    """

    folder: str
    seconds: float


def write_images(folder: pathlib.Path, number: int) -> None:
    """Writes a data set of so many training images."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (number + TEST_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % CLASSES
    train, test = slice(0, number), slice(number, None)
    np.savez(
        folder / "images.npz", x_train=images[train], y_train=labels[train], x_test=images[test], y_test=labels[test]
    )


def fill(work: Work, shards: Sequence[int]) -> tuple[int, int, tuple[str, ...]]:
    """Fills shards: see `kdzoo.experiments.on_ray.shard_tasks.Fill`."""
    teacher, table = open_teacher(work)
    filler = ShardFiller(teacher, {"logits": table}, progress=lambda done: None, stopping=lambda: False)
    for shard in shards:
        filler.fill(shard, table.rows_of(shard))
    filler.finish()
    return filler.present, filler.added, (work.folder,)


@functools.lru_cache(maxsize=1)
def open_teacher(work: Work) -> tuple[CachedTeacher, ShardedTable]:
    """The teacher and the table; once for all tasks of a process."""
    config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{work.folder}/images.npz", augment="crop_flip")
    dataset = sources.load(config.data)
    teacher = CachedTeacher(SleepingTeacher(work.seconds), dataset, config)
    store = open_store(f"{work.folder}/table")
    table = create_table(store, {"teacher": "sleeping"}, teacher.rows, lambda: RowType((CLASSES,), "float32"))
    return teacher, table
