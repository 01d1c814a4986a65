"""One teacher and the tables of its outputs.

A teacher always computes `CALL_IMAGES` images in a call; a call for fewer repeats some of them. On a CPU the last bits
of a network's outputs depend on the number of images in the call and on the program, but not on the other images. So
whatever the student's batch size is, and however much of a step the tables hold, the outputs are the same to the bit.
"""

import functools
from typing import Any

import numpy as np

from kdzoo.data import augmentation
from kdzoo.data.dataset import Dataset
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import output_cache
from kdzoo.teachers.base import Teacher
from kdzoo.teachers.layered_table import OutputTable
from kdzoo.teachers.row_format import RowType

CALL_IMAGES = 128


class CachedTeacher:
    """One teacher and the tables of its outputs for a data set, with a row for each image and view.

    Training images come first, in row `index * views + view`, labelled before unlabelled ones; the test images follow.

    Args:
        teacher: checked against the data set.
        dataset: of the run.
        config: the run's, its augmentation and precision resolved.
        cache: holds the tables; None: no tables.

    Attributes:
        rows: number of rows of a full table.
        tables: the open tables: "logits" [classes], float32 or `teacher_store`; with attention transfer "maps" float16,
            all stages flat; for a method that compares them "features" [channels], in the type of the logits.
    """

    def __init__(
        self,
        teacher: Teacher,
        dataset: Dataset,
        config: RunConfig,
        cache: output_cache.Cache | None = None,
    ):
        self.teacher, self._dataset, self._views = teacher, dataset, config.num_views
        self._store = config.teacher_store
        self.rows = count_rows(dataset, config)
        self.tables: dict[str, OutputTable] = {}
        self._map_sizes: list[tuple[int, int]] = []  # (height, width) of each stage
        if not cache or self._views == augmentation.ENDLESS:
            return
        for kind, key in table_keys(teacher, dataset, config).items():
            table = cache.open(key, rows=self.rows, describe=functools.partial(self.describe, kind))
            if table is None:  # without one table the teacher must run anyway
                self.close()
                break
            self.tables[kind] = table
            self._map_sizes = table.row.metadata

    def rows_of(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Row numbers [n] of training images [n] in these views [n]."""
        return indices * self._views + (views if self._views > 1 else 0)

    @property
    def training_rows(self) -> range:
        """Row numbers of the training images in all their views."""
        return range(self.rows - len(self._dataset.test))

    @property
    def test_rows(self) -> np.ndarray:
        """Row numbers of the test images."""
        return np.arange(self.rows - len(self._dataset.test), self.rows)

    def look_up(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The content of each table for these rows [n], and which rows are missing, bool [n]."""
        outputs, missing = {}, np.full(len(rows), not self.tables)
        for kind, table in self.tables.items():
            values, present = table.read(rows)
            outputs[kind], missing = values, missing | ~present
        return outputs, missing

    def compute(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the teacher on these rows [n], at most `CALL_IMAGES`, and writes its outputs to the tables."""
        images = self._images(np.resize(rows, CALL_IMAGES))
        outputs = self._flat(self.teacher.compute(images))
        outputs = {kind: values[: len(rows)] for kind, values in outputs.items()}
        for kind, table in self.tables.items():
            table.write(rows, outputs[kind])
        return outputs

    def test_logits(self) -> np.ndarray:
        """Logits [n, classes] of the test images."""
        if self.teacher.test_logits is not None:
            return self.teacher.test_logits.astype(self._store).astype(np.float32)
        parts = []
        for first in range(0, len(self.test_rows), CALL_IMAGES):
            rows = self.test_rows[first : first + CALL_IMAGES]
            outputs, missing = self.look_up(rows)
            parts.append(self.compute(rows)["logits"] if missing.any() else outputs["logits"])
        return np.concatenate(parts).astype(np.float32, copy=False)

    def maps(self, flat: np.ndarray) -> list[np.ndarray]:
        """The maps of all stages, [n, height, width] each, from the flat maps [n, values] of a table."""
        ends = np.cumsum([height * width for height, width in self._map_sizes])[:-1]
        parts = np.split(flat, ends, axis=1)
        return [part.reshape(-1, *size) for part, size in zip(parts, self._map_sizes, strict=True)]

    def close(self) -> None:
        """Closes the tables."""
        for table in self.tables.values():
            table.close()
        self.tables = {}

    def _images(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [n, h, w, c]."""
        dataset = self._dataset
        of_test = rows - (self.rows - len(dataset.test))
        images = np.empty((len(rows), *dataset.image_shape), np.uint8)
        index, view = np.divmod(rows[of_test < 0], self._views)
        view = view if self._views > 1 else view + augmentation.CENTRE
        labelled = index < len(dataset.train)
        trained = np.empty((len(index), *dataset.image_shape), np.uint8)
        trained[labelled] = dataset.train.read(index[labelled], view[labelled])
        if dataset.unlabelled:
            more = index[~labelled] - len(dataset.train)
            trained[~labelled] = dataset.unlabelled.read(more, view[~labelled])
        images[of_test < 0] = trained
        images[of_test >= 0] = dataset.test.read(of_test[of_test >= 0])
        return images

    def _flat(self, outputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """The teacher's outputs as tables keep them: one array of maps, [n, values], in place of one for each stage."""
        flat = {"logits": outputs["logits"].astype(self._store, copy=False)}
        if outputs["maps"]:
            self._map_sizes = [stage.shape[1:] for stage in outputs["maps"]]
            flat["maps"] = np.concatenate([stage.reshape(len(stage), -1) for stage in outputs["maps"]], axis=1)
        if "features" in outputs:
            flat["features"] = outputs["features"].astype(self._store, copy=False)
        return flat

    def describe(self, kind: str) -> RowType:
        """The type of a table's rows, from one call of the teacher."""
        values = self._flat(self.teacher.compute(self._images(np.resize(self.test_rows, CALL_IMAGES))))[kind]
        return RowType(values.shape[1:], values.dtype.name, self._map_sizes or None)


def count_rows(dataset: Dataset, config: RunConfig) -> int:
    """Number of rows of a full table of any teacher's outputs for a data set, in the views of a configuration."""
    trained = len(dataset.train) + (len(dataset.unlabelled) if dataset.unlabelled else 0)
    return trained * config.num_views + len(dataset.test)


def table_keys(teacher: Teacher, dataset: Dataset, config: RunConfig) -> dict[str, dict[str, Any]]:
    """The key of each table of a teacher's outputs on this machine, by kind: all that its values depend on."""
    # With maps or features a network is another program, whose logits may differ in their last bits.
    call = {"augment": config.augment, "together": CALL_IMAGES, "maps": bool(config.at_weight)}
    if config.teacher_features:
        call["features"] = True
    key = teacher.key(dataset) | call | {"by": output_cache.computed_by()}
    if config.augment == "inception":
        key["views"] = config.num_views
    if config.teacher_store != "float32":
        key["store"] = config.teacher_store
    kinds = {"logits": True, "maps": config.at_weight, "features": config.teacher_features}
    return {kind: key | {"says": kind} for kind, wanted in kinds.items() if wanted}
