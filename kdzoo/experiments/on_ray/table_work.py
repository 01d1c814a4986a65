"""What a process of Ray does to fill shards: it opens data, teachers and tables once, for all its tasks."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdzoo.experiments.on_ray import cores
from kdzoo.experiments.on_ray.cluster import Resources
from kdzoo.runs.config import RunConfig
from zoo import InputError

if TYPE_CHECKING:
    from kdzoo.teachers.precompute import ShardedTeachers

_held = contextlib.ExitStack()  # the cores of this process: they are its own until it ends


@dataclasses.dataclass(frozen=True)
class Work:
    """The tables to fill, and the settings of the processes that fill them.

    Attributes:
        config: see `kdzoo.teachers.precompute.precompute`.
        cache: folder that all nodes share, or s3://BUCKET/PREFIX.
        gigabytes: see `kdzoo.teachers.output_cache.Cache`.
        seeds: see `precompute`.
        deadline: see `precompute`.
        workers: see `precompute`.
        cwd: folder of the command, which all nodes have.
        env: settings of the command.
        resources: that each task has.
    """

    config: RunConfig
    cache: str
    gigabytes: float
    seeds: tuple[int, ...] | None
    deadline: float
    workers: int
    cwd: str
    env: tuple[tuple[str, str], ...]
    resources: Resources


def fill(work: Work, shards: Sequence[int]) -> tuple[int, int, tuple[str, ...]]:
    """Fills shards of all tables: see `shard_tasks.Fill`."""
    teachers = _open(work)
    present, added = teachers.fill(shards)
    return present, added, teachers.names


@functools.lru_cache(maxsize=1)
def _open(work: Work) -> "ShardedTeachers":
    """Opens the tables. It sets up this process first, before TensorFlow or JAX count its cores.

    Raises:
        InputError: if the node lacks the folder or the cores, or the tables cannot be opened.
    """
    if not os.path.isdir(work.cwd):
        raise InputError(f"On Ray the current folder must be one that all nodes share. Received: {work.cwd}")
    os.chdir(work.cwd)
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray's own
    os.environ.update(work.env)
    own = _held.enter_context(cores.claimed(work.resources.cpus))
    if not work.resources.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        if own:
            os.sched_setaffinity(0, own)

    from kdzoo import training
    from kdzoo.teachers import output_cache
    from kdzoo.teachers.precompute import ShardedTeachers

    training.make_deterministic()
    cache = output_cache.find(work.cache, work.gigabytes)
    assert cache  # the command has checked that it is not off
    return ShardedTeachers(work.config, cache, seeds=work.seeds, deadline=work.deadline, workers=work.workers)
