"""Filling the tables of teacher outputs ahead of runs."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kdzoo.data import augmentation, mixing, sampling, sources
from kdzoo.data.dataset import Dataset
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import shard_filling
from kdzoo.teachers import shards as shard_tables
from kdzoo.teachers.base import DEADLINE
from kdzoo.teachers.cached_teacher import CALL_IMAGES, CachedTeacher, count_rows, table_keys
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.resolve import Ensemble
from zoo import InputError


def precompute(
    config: RunConfig,
    cache: Cache,
    *,
    seeds: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    deadline: float = DEADLINE,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[int, int]:
    """Fills the tables of a configuration's teachers.

    Several processes may do so at once: each begins at another row, and skips rows that another process has filled.

    Args:
        config: of the run, or of one that differs in student, temperature or loss weights only.
        cache: holds the tables. One with a store elsewhere is filled in shards.
        seeds: only the rows that runs of the configuration with these seeds will need; None: all rows.
        shards: fills only these, counted from 0 to `count_shards`, of tables that many machines fill; None: all, of
            such tables if the cache has a store.
        deadline: seconds in which a server must respond.
        workers: see `kdzoo.data.load`.
        progress: called with the number of rows done so far and the number of all rows.
        stopping: called before each call of a teacher; if it returns True, the function returns.

    Returns:
        The number of rows that were in the tables already, and of rows that were added, over all teachers.

    Raises:
        InputError: if the configuration is invalid, or the tables cannot be created.
    """
    if shards is not None or cache.store:
        with contextlib.closing(
            ShardedTeachers(config, cache, seeds=seeds, deadline=deadline, workers=workers)
        ) as teachers:
            return teachers.fill(shards, progress=progress, stopping=stopping)
    with contextlib.closing(sources.load(config.data, workers=workers)) as dataset:
        config = _resolve(config, dataset)
        cache = dataclasses.replace(cache, required=True)
        return _fill(config, dataset, cache, seeds=seeds, deadline=deadline, progress=progress, stopping=stopping)


def count_shards(config: RunConfig, *, workers: int = 0) -> int:
    """Returns the number of shards of each table of a configuration's teachers. Loads the data set, but no teacher."""
    with contextlib.closing(sources.load(config.data, workers=workers)) as dataset:
        return shard_tables.count_shards(count_rows(dataset, _resolve(config, dataset)))


class ShardedTeachers:
    """The teachers of a configuration, opened to fill shards of their tables in several calls.

    Args, Raises: see `precompute`.

    Attributes:
        names: of the tables. Machines whose outputs may differ in their last bits have other tables.
    """

    def __init__(
        self,
        config: RunConfig,
        cache: Cache,
        *,
        seeds: Sequence[int] | None = None,
        deadline: float = DEADLINE,
        workers: int = 0,
    ):
        with contextlib.ExitStack() as opened:
            dataset = opened.enter_context(contextlib.closing(sources.load(config.data, workers=workers)))
            self._open(_resolve(config, dataset), dataset, cache, seeds, deadline)
            self._opened = opened.pop_all()

    def _open(
        self, config: RunConfig, dataset: Dataset, cache: Cache, seeds: Sequence[int] | None, deadline: float
    ) -> None:
        ensemble = Ensemble(config, dataset, deadline=deadline)
        ensemble.check(dataset)
        self._tables: list[tuple[CachedTeacher, dict[str, shard_tables.ShardedTable]]] = []
        names = []
        for teacher in ensemble.teachers:
            cached, tables = CachedTeacher(teacher, dataset, config), {}
            for kind, key in table_keys(teacher, dataset, config).items():
                store, describe = cache.shared_store(key), functools.partial(cached.describe, kind)
                tables[kind] = shard_tables.create_table(store, key, cached.rows, describe)
                names.append(store.uri.rpartition("/")[2])
            self._tables.append((cached, tables))
        self.names = tuple(names)
        self._count = shard_tables.count_shards(cached.rows)
        self._rows = None if seeds is None else _needed(cached, dataset, config, seeds)

    def fill(
        self,
        shards: Sequence[int] | None = None,
        *,
        progress: Callable[[int, int], None] = lambda done, of: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> tuple[int, int]:
        """Fills these shards of the tables, beginning at any of them; None: all. See `precompute`."""
        shards = range(self._count) if shards is None else shards
        for shard in shards:
            if not 0 <= shard < self._count:
                raise InputError(f"shards must be at least 0 and below {self._count}. Received: {shard}")
        begin = int.from_bytes(os.urandom(4)) % max(1, len(shards))
        of = sum(len(self._select(tables, shard)) for _, tables in self._tables for shard in shards)
        present = added = 0
        for cached, tables in self._tables:
            before = present + added

            def show(done: int, before: int = before) -> None:
                progress(before + done, of)

            filler = shard_filling.ShardFiller(cached, tables, progress=show, stopping=stopping)
            for shard in (*shards[begin:], *shards[:begin]):
                filler.fill(shard, self._select(tables, shard))
                if filler.stopped:
                    break
            filler.finish()
            present, added = present + filler.present, added + filler.added
            show(filler.present + filler.added)
            if filler.stopped:
                break
        return present, added

    def close(self) -> None:
        """Closes the data set."""
        self._opened.close()

    def _select(self, tables: Mapping[str, shard_tables.ShardedTable], shard: int) -> np.ndarray:
        """The rows of a shard that are to be filled."""
        own = next(iter(tables.values())).rows_of(shard)
        if self._rows is None:
            return own
        first, end = np.searchsorted(self._rows, [own[0], own[-1] + 1])
        return self._rows[first:end]


def _resolve(config: RunConfig, dataset: Dataset) -> RunConfig:
    """The configuration with its augmentation resolved. Raises InputError if its runs have no tables."""
    if config.augment == "auto":
        config = dataclasses.replace(config, augment=dataset.augment)
    if config.num_views == augmentation.ENDLESS:
        raise InputError("Teacher outputs can be computed ahead for a number of views above 0. Received: views 0")
    if config.mixes:
        raise InputError(
            "mixup_alpha and cutmix_alpha must be 0 for teacher outputs computed ahead, since each step mixes other"
            f" images. Received: {config.mixup_alpha} and {config.cutmix_alpha}"
        )
    return config


def _fill(
    config: RunConfig,
    dataset: Dataset,
    cache: Cache,
    *,
    seeds: Sequence[int] | None,
    deadline: float,
    progress: Callable[[int, int], None],
    stopping: Callable[[], bool],
) -> tuple[int, int]:
    """Fills the tables on this machine, for a data set that has been loaded."""
    ensemble = Ensemble(config, dataset, deadline=deadline)
    ensemble.check(dataset)
    present = added = 0
    for teacher in ensemble.teachers:
        with contextlib.closing(CachedTeacher(teacher, dataset, config, cache)) as cached:
            rows = np.arange(cached.rows) if seeds is None else _needed(cached, dataset, config, seeds)
            rows = np.roll(rows, int.from_bytes(os.urandom(4)) % len(rows))
            backlog: list[int] = []
            for first in range(0, len(rows), CALL_IMAGES):
                part = rows[first : first + CALL_IMAGES]
                missing = part[cached.look_up(part)[1]]
                present += len(part) - len(missing)
                backlog.extend(missing.tolist())
                last = first + CALL_IMAGES >= len(rows)
                while len(backlog) >= CALL_IMAGES or (last and backlog):
                    if stopping():
                        return present, added
                    cached.compute(np.array(backlog[:CALL_IMAGES]))
                    added += len(backlog[:CALL_IMAGES])
                    del backlog[:CALL_IMAGES]
                progress(present + added, len(rows) * len(ensemble.teachers))
    return present, added


def _needed(teacher: CachedTeacher, dataset: Dataset, config: RunConfig, seeds: Sequence[int]) -> np.ndarray:
    """Rows of all epochs of runs with these seeds, and of the test set."""
    positions, _ = sampling.split_positions(
        dataset.train.labels, train_examples=config.train_examples, val_examples=config.val_examples
    )
    learned = dataset.train.indices[positions]
    steps, more = len(learned) // config.labelled_per_batch, config.unlabelled_per_batch
    rows = [teacher.test_rows]
    for seed, epoch in itertools.product(seeds, range(config.kd_epochs)):
        views = augmentation.views(seed=seed, epoch=epoch, indices=learned, augment=config.augment, crops=config.views)
        rows.append(teacher.rows_of(learned, views))
        if dataset.unlabelled:
            begin, end = (steps * more * number for number in (epoch, epoch + 1))
            indices = dataset.unlabelled.indices
            drawn, views = mixing.draw(
                begin, end, seed=seed, indices=indices, augment=config.augment, crops=config.views
            )
            rows.append(teacher.rows_of(indices[drawn], views))
    return np.unique(np.concatenate(rows))
