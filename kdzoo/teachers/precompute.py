"""Filling the tables of teacher outputs ahead of runs."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kdzoo.data import augmentation, mixing, sampling, sources
from kdzoo.data.dataset import Dataset
from kdzoo.runs.config import RunConfig
from kdzoo.teachers import shard_filling
from kdzoo.teachers import shards as shard_tables
from kdzoo.teachers.base import DEADLINE, Teacher
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
        shards: fills only these, counted from 0 to `count_shards`, of tables that many machines fill; None: all.
        deadline: seconds in which a server must respond.
        workers: see `kdzoo.data.load`.
        progress: called with the number of rows done so far and the number of all rows.
        stopping: called before each call of a teacher; if it returns True, the function returns.

    Returns:
        The number of rows that were in the tables already, and of rows that were added, over all teachers.

    Raises:
        InputError: if the configuration is invalid, or the tables cannot be created.
    """
    with contextlib.closing(sources.load(config.data, workers=workers)) as dataset:
        config = _resolve(config, dataset)
        if shards is not None or cache.store:
            shards = _check_shards(shards, shard_tables.count_shards(count_rows(dataset, config)))
        ensemble = Ensemble(config, dataset, deadline=deadline)
        ensemble.check(dataset)
        of = len(ensemble.teachers)
        cache = dataclasses.replace(cache, required=True)
        present = added = 0
        stopped = False

        def stop() -> bool:
            nonlocal stopped
            stopped = stopped or stopping()
            return stopped

        for teacher in ensemble.teachers:

            def show(done: int, rows: int, before: int = present + added) -> None:
                progress(before + done, rows * of)

            options: dict[str, Any] = {"seeds": seeds, "progress": show, "stopping": stop}
            if shards is None:
                there, new = _fill_table(teacher, config, dataset, cache, **options)
            else:
                there, new = _fill_shards(teacher, config, dataset, cache, shards, **options)
            present, added = present + there, added + new
            if stopped:
                break
        return present, added


def count_shards(config: RunConfig, *, workers: int = 0) -> int:
    """Returns the number of shards of each table of a configuration's teachers. Loads the data set, but no teacher."""
    with contextlib.closing(sources.load(config.data, workers=workers)) as dataset:
        return shard_tables.count_shards(count_rows(dataset, _resolve(config, dataset)))


def _check_shards(shards: Sequence[int] | None, count: int) -> Sequence[int]:
    """These shards, or all of so many. Raises InputError if there are fewer."""
    for shard in shards or ():
        if not 0 <= shard < count:
            raise InputError(f"shards must be at least 0 and below {count} for this data set. Received: {shard}")
    return range(count) if shards is None else shards


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


def _fill_table(
    teacher: Teacher,
    config: RunConfig,
    dataset: Dataset,
    cache: Cache,
    *,
    seeds: Sequence[int] | None,
    progress: Callable[[int, int], None],
    stopping: Callable[[], bool],
) -> tuple[int, int]:
    """Fills the tables of one teacher on this machine."""
    present = added = 0
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
            progress(present + added, len(rows))
    return present, added


def _fill_shards(
    teacher: Teacher,
    config: RunConfig,
    dataset: Dataset,
    cache: Cache,
    shards: Sequence[int],
    *,
    seeds: Sequence[int] | None,
    progress: Callable[[int, int], None],
    stopping: Callable[[], bool],
) -> tuple[int, int]:
    """Fills these shards of the tables of one teacher, beginning at any of them."""
    cached = CachedTeacher(teacher, dataset, config)
    tables = {
        kind: shard_tables.create_table(
            cache.shared_store(key), key, cached.rows, functools.partial(cached.describe, kind)
        )
        for kind, key in table_keys(teacher, dataset, config).items()
    }
    rows = None if seeds is None else _needed(cached, dataset, config, seeds)
    table, *_ = tables.values()
    of = sum(len(shard_filling.select(rows, table, shard)) for shard in shards)
    filler = shard_filling.ShardFiller(cached, tables, progress=lambda done: progress(done, of), stopping=stopping)
    begin = int.from_bytes(os.urandom(4)) % max(1, len(shards))
    for shard in (*shards[begin:], *shards[:begin]):
        filler.fill(shard, shard_filling.select(rows, table, shard))
        if filler.stopped:
            break
    filler.finish()
    progress(filler.present + filler.added, of)
    return filler.present, filler.added


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
