"""What teachers say of each training step and of the test set: read from their tables, or asked ahead of the student.

A teacher is always asked `CHUNK` images at a time, filled up by repeating some, whatever the student's batch is and
however much of a step was in its table: on a CPU a network's answer to an image depends, in its last bits, on how many
are asked together and on the program it is part of, but not on which images they are. So a student is the same to the
bit with the cache off, on, or filled in part.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdzoo.data import augmentation, sampling, sources
from kdzoo.data.batches import Batches
from kdzoo.data.dataset import Dataset, Split
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import base, output_cache, resolve, zoo_teacher
from zoo import InputError

CHUNK = 128  # images a call
# Activations an image. A bigger teacher's are many to hold beside the student's, and its operations leave no gaps.
IN_STEP = 2_000_000
LOOK_AHEAD = 64  # steps among which images are gathered to fill a call


class CachedTeacher:
    """One teacher and the tables of what it says of a data set, a row for each image and view.

    Training images come first, in row `index * views + view`; the test images follow.

    Args:
        teacher: that has been checked against the data set.
        dataset: of the run.
        config: the run's, its augmentation and precision resolved.
        cache: where to keep what it says; None: nowhere.

    Attributes:
        rows: of a full table.
        tables: that are open, by what they hold: "logits" float32 [classes], "maps" float16, those of all stages flat.
    """

    def __init__(
        self,
        teacher: base.Teacher,
        dataset: Dataset,
        config: RunConfig,
        cache: output_cache.Cache | None = None,
    ):
        self.teacher, self._dataset, self._views = teacher, dataset, augmentation.AUGMENTATIONS[config.augment]
        self.rows = len(dataset.train) * self._views + len(dataset.test)
        self.tables: dict[str, output_cache.Table] = {}
        self._sizes = None  # of the maps: [(height, width)...]
        if not cache:
            return
        # Asked for maps too, a network is another program, whose logits may differ in their last bits.
        asked = {"augment": config.augment, "together": CHUNK, "maps": bool(config.at_weight)}
        key = teacher.key(dataset) | asked | {"by": output_cache.computed_by()}
        for kind in ("logits", "maps") if config.at_weight else ("logits",):
            describe = functools.partial(self._describe, kind)
            table = cache.table(key | {"says": kind}, rows=self.rows, describe=describe)
            if table is None:  # the teacher must be asked anyway
                self.close()
                break
            self.tables[kind] = table
            self._sizes = table.row.about

    def row(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Row numbers [n] of training images [n] in these views [n]."""
        return indices * self._views + (views if self._views > 1 else 0)

    @property
    def training_rows(self) -> np.ndarray:
        """Row numbers of the training images in all their views."""
        return np.arange(self.rows - len(self._dataset.test))

    @property
    def test_rows(self) -> np.ndarray:
        """Row numbers of the test images."""
        return np.arange(self.rows - len(self._dataset.test), self.rows)

    def look_up(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """What the tables hold of these rows [n], and which of them are missing, bool [n]."""
        said, missing = {}, np.full(len(rows), not self.tables)
        for kind, table in self.tables.items():
            values, there = table.read(rows)
            said[kind], missing = values, missing | ~there
        return said, missing

    def compute(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What the teacher says, now, of these rows [n], at most `CHUNK`. It is kept."""
        images = self._images(np.resize(rows, CHUNK))
        said = self._flat(self.teacher.compute(images))
        said = {kind: values[: len(rows)] for kind, values in said.items()}
        for kind, table in self.tables.items():
            table.write(rows, said[kind])
        return said

    def test_logits(self) -> np.ndarray:
        """Logits [n, classes] of the test images."""
        if self.teacher.test_logits is not None:
            return self.teacher.test_logits
        parts = []
        for first in range(0, len(self.test_rows), CHUNK):
            rows = self.test_rows[first : first + CHUNK]
            said, missing = self.look_up(rows)
            parts.append(self.compute(rows)["logits"] if missing.any() else said["logits"])
        return np.concatenate(parts)

    def maps(self, flat: np.ndarray) -> list[np.ndarray]:
        """The maps of all stages, [n, height, width] each, from what a row holds of them."""
        ends = np.cumsum([height * width for height, width in self._sizes])[:-1]
        parts = np.split(flat, ends, axis=1)
        return [part.reshape(-1, *size) for part, size in zip(parts, self._sizes, strict=True)]

    def close(self) -> None:
        """Lets go of the tables."""
        for table in self.tables.values():
            table.close()
        self.tables = {}

    def _images(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [n, h, w, c]."""
        of_test = rows - (self.rows - len(self._dataset.test))
        index, view = np.divmod(np.minimum(rows, self.rows - len(self._dataset.test) - 1), self._views)
        view = view if self._views > 1 else np.full(len(rows), augmentation.CENTRE)
        images = augmentation.apply_views(self._dataset.train.images[index], view)
        images[of_test >= 0] = self._dataset.test.images[of_test[of_test >= 0]]
        return images

    def _flat(self, said: dict[str, Any]) -> dict[str, np.ndarray]:
        flat = {"logits": said["logits"]}
        if said["maps"]:
            self._sizes = [stage.shape[1:] for stage in said["maps"]]
            flat["maps"] = np.concatenate([stage.reshape(len(stage), -1) for stage in said["maps"]], axis=1)
        return flat

    def _describe(self, kind: str) -> output_cache.RowType:
        """What a row of a table holds, found by asking."""
        values = self._flat(self.teacher.compute(self._images(np.resize(self.test_rows, CHUNK))))[kind]
        return output_cache.RowType(values.shape[1:], values.dtype.name, self._sizes)


class TeacherOutputs:
    """What all teachers of a run say of each of its training steps, from wherever it begins, and of the test set.

    Args:
        ensemble: checked against the data set.
        dataset: of the run.
        train: the split the student learns from.
        config: the run's, its augmentation and precision resolved.
        cache: where to keep what teachers say; None: nowhere.

    Attributes:
        rows: how many the steps so far needed, and how many of them were asked for rather than read.
    """

    def __init__(
        self,
        ensemble: resolve.Ensemble,
        dataset: Dataset,
        train: Split,
        config: RunConfig,
        cache: output_cache.Cache | None = None,
    ):
        seen = {"seed": config.seed, "batch_size": config.batch_size, "augment": config.augment}
        self._epoch = functools.lru_cache(maxsize=2)(lambda epoch: Batches(train, dataset, epoch=epoch, **seen))
        self._batch_size, self._per_epoch = config.batch_size, len(train) // config.batch_size
        self._epochs = config.kd_epochs
        self._attention, self._classes = bool(config.at_weight), dataset.num_classes
        self.voices = [CachedTeacher(teacher, dataset, config, cache) for teacher in ensemble.teachers]
        self._feeds = [_Feed(voice, self.numbers, self._following) for voice in self.voices]

    def __call__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Of the step (epoch, step): what a `Distiller` of `outputs_given` takes beside the labels."""
        said = [feed(key) for feed in self._feeds]
        answer = {"teacher_logits": _mean([one["logits"] for one in said])}
        if self._attention:
            pairs = zip(self.voices, said, strict=True)
            answer["teacher_stages"] = [voice.maps(one["maps"]) for voice, one in pairs]
        return answer

    def in_step(self) -> Callable[[Any], dict[str, Any]] | None:
        """A function of a step's standardised images that gives what the call does, to the bit, as part of the step.

        None unless there is one teacher, a small network of ours, on TensorFlow, whose answers are not kept, and a
        batch is all that is asked together. Its forward then fills the gaps that the student's leaves on the cores.
        """
        import keras

        (first, *others) = self.voices
        if (
            others
            or first.tables
            or not isinstance(first.teacher, zoo_teacher.ZooTeacher)
            or self._batch_size != CHUNK
            or keras.backend.backend() != "tensorflow"
            or first.teacher.activations > IN_STEP
        ):
            return None
        program = first.teacher.program  # built now: where a step is being traced it would not get its weights

        def say(images) -> dict[str, Any]:
            logits, maps = program(images)
            return {"teacher_logits": logits} | ({"teacher_stages": [maps]} if self._attention else {})

        return say

    @property
    def rows(self) -> dict[str, int]:
        return {
            "needed": sum(feed.needed for feed in self._feeds),
            "asked": sum(feed.asked for feed in self._feeds),
        }

    def numbers(self, key: tuple[int, int]) -> np.ndarray:
        """Numbers [batch] of the rows that a step needs."""
        return self.voices[0].row(*self._epoch(key[0]).seen(key[1]))

    def preload(self) -> tuple[np.ndarray, np.ndarray]:
        """What there is of the teachers' mean logits [rows, classes], and which rows there are, bool [rows]."""
        rows = self.voices[0].training_rows
        parts = []
        for first in range(0, len(rows), 2**16):
            said, missing = zip(*(voice.look_up(rows[first : first + 2**16]) for voice in self.voices), strict=True)
            there = ~np.logical_or.reduce(missing)
            logits = (
                _mean([one["logits"] for one in said]) if all(said) else np.zeros((len(there), self._classes), "f4")
            )
            parts.append((np.where(there[:, None], logits, np.float32(0)), there))
        logits, there = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(there)

    @property
    def bytes(self) -> int:
        """Of what `preload` gives."""
        return 4 * self._classes * len(self.voices[0].training_rows)

    def test_logits(self) -> np.ndarray:
        """The teachers' mean logits [n, classes] of the test images."""
        return _mean([voice.test_logits() for voice in self.voices])

    def close(self) -> None:
        """Ends what is under way, and lets go of the tables."""
        for feed in self._feeds:
            feed.close()
        for voice in self.voices:
            voice.close()

    def _following(self, key: tuple[int, int]) -> tuple[int, int] | None:
        epoch, step = key
        if step + 1 < self._per_epoch:
            return epoch, step + 1
        return (epoch + 1, 0) if epoch + 1 < self._epochs else None


class _Step:
    """What one voice says of a step, once all that was asked for has come."""

    def __init__(self, said: dict[str, np.ndarray], rows: int, missing: int):
        self.said, self.rows, self.unsent, self.calls = said, rows, missing, []

    def put(self, positions: Sequence[int], said: dict[str, np.ndarray]) -> None:
        for kind, values in said.items():
            # Of several threads the first one's array is taken.
            whole = self.said.setdefault(kind, np.empty((self.rows, *values.shape[1:]), values.dtype))
            whole[positions] = values


class _Now(concurrent.futures.Executor):
    """Does things when they are submitted."""

    def submit(self, function, *args):
        future = concurrent.futures.Future()
        future.set_result(function(*args))
        return future


class _Feed:
    """One voice, ahead of the steps: what its tables lack is gathered from the steps to come, for full calls."""

    def __init__(self, voice: CachedTeacher, rows: Callable[[Any], np.ndarray], following: Callable[[Any], Any]):
        self._voice, self._rows, self._following = voice, rows, following
        self._ahead = voice.teacher.max_calls_ahead
        self._pool = concurrent.futures.ThreadPoolExecutor(self._ahead) if self._ahead else _Now()
        self._planned: dict[Any, _Step] = {}
        self._backlog: collections.deque = collections.deque()  # (step, position in it, row)
        self._under_way: list[concurrent.futures.Future] = []
        self._next = None
        self.needed = self.asked = 0

    def __call__(self, key: Any) -> dict[str, np.ndarray]:
        if key not in self._planned:
            self._planned, self._backlog, self._next = {}, collections.deque(), key
        self._planned = dict(itertools.dropwhile(lambda planned: planned[0] != key, self._planned.items()))
        while key not in self._planned or self._planned[key].unsent:
            if not self._plan():
                self._send()
        step = self._planned.pop(key)
        while len(self._under_way) < self._ahead and self._plan():
            pass
        for call in step.calls:
            call.result()
        self._under_way = [call for call in self._under_way if not call.done()]
        self.needed += step.rows
        return step.said

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _plan(self) -> bool:
        """Looks up one more step; False where there is none, or it is too far ahead."""
        if self._next is None or len(self._planned) >= LOOK_AHEAD:
            return False
        rows = self._rows(self._next)
        said, missing = self._voice.look_up(rows)
        step = self._planned[self._next] = _Step(said, len(rows), int(missing.sum()))
        self._next = self._following(self._next)
        self.asked += step.unsent
        self._backlog.extend((step, position, rows[position]) for position in np.flatnonzero(missing).tolist())
        while len(self._backlog) >= CHUNK:
            self._send()
        return True

    def _send(self) -> None:
        """Asks for what waits longest, at most a full call of it."""
        wanted = [self._backlog.popleft() for _ in range(min(CHUNK, len(self._backlog)))]
        call = self._pool.submit(self._ask, wanted)
        self._under_way.append(call)
        for step in dict.fromkeys(step for step, _, _ in wanted):
            step.calls.append(call)
        for step, _, _ in wanted:
            step.unsent -= 1

    def _ask(self, wanted: Sequence[tuple[_Step, int, int]]) -> None:
        said = self._voice.compute(np.array([row for _, _, row in wanted]))
        begin = 0
        for step, of_step in itertools.groupby(wanted, key=lambda one: one[0]):
            positions = [position for _, position, _ in of_step]
            end = begin + len(positions)
            step.put(positions, {kind: values[begin:end] for kind, values in said.items()})
            begin = end


def precompute(
    config: RunConfig,
    cache: output_cache.Cache,
    *,
    seeds: Sequence[int] | None = None,
    deadline: float = base.DEADLINE,
    progress: Callable[[int, int], None] = lambda done, of: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[int, int]:
    """Fills the tables of a configuration's teachers ahead of its run.

    Several processes may do so at once: each begins elsewhere, and passes over what another has filled.

    Args:
        config: of the run, or of one that differs in student, temperature or loss weights only.
        cache: where they lie.
        seeds: only the rows that runs of the configuration with these seeds will need; None: all.
        deadline: seconds in which a server must answer.
        progress: called with the rows done so far, and how many there are.
        stopping: asked between calls of a teacher; once it says so, no more is asked.

    Returns:
        Rows that were there already, and rows that were added, over all teachers.

    Raises:
        InputError: if the configuration is impossible, or the tables cannot be had.
    """
    dataset = sources.load(config.dataset, config.dataset_name)
    if config.augment == "auto":
        config = dataclasses.replace(config, augment=dataset.augment)
    ensemble = resolve.Ensemble(config, deadline=deadline)
    ensemble.check(dataset)
    there = added = 0
    for teacher in ensemble.teachers:
        with contextlib.closing(CachedTeacher(teacher, dataset, config, cache)) as voice:
            if not voice.tables:
                raise InputError(f"teacher_cache must have room for the tables. Received: {cache.folder}")
            rows = np.arange(voice.rows) if seeds is None else _needed(voice, dataset, config, seeds)
            rows = np.roll(rows, int.from_bytes(os.urandom(4)) % len(rows))
            backlog = []
            for first in range(0, len(rows), CHUNK):
                part = rows[first : first + CHUNK]
                missing = part[voice.look_up(part)[1]]
                there += len(part) - len(missing)
                backlog.extend(missing.tolist())
                last = first + CHUNK >= len(rows)
                while len(backlog) >= CHUNK or (last and backlog):
                    if stopping():
                        return there, added
                    voice.compute(np.array(backlog[:CHUNK]))
                    added += len(backlog[:CHUNK])
                    del backlog[:CHUNK]
                progress(there + added, len(rows) * len(ensemble.teachers))
    return there, added


def _needed(voice: CachedTeacher, dataset: Dataset, config: RunConfig, seeds: Sequence[int]) -> np.ndarray:
    """Rows of all epochs of runs with these seeds, and of the test set."""
    train, _ = sampling.split_train(
        dataset.train, train_examples=config.train_examples, val_examples=config.val_examples
    )
    rows = [voice.test_rows]
    for seed, epoch in itertools.product(seeds, range(config.kd_epochs)):
        views = augmentation.views(seed=seed, epoch=epoch, indices=train.indices, augment=config.augment)
        rows.append(voice.row(train.indices, views))
    return np.unique(np.concatenate(rows))


def _mean(logits: Sequence[np.ndarray]) -> np.ndarray:
    return sum(logits) / np.float32(len(logits))
