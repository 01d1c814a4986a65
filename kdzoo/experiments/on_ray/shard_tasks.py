"""Fills the shards of a table by tasks of a Ray cluster, which share them out as they become free."""

from collections.abc import Callable, Sequence
from typing import Any

import ray

from kdzoo.experiments.on_ray.cluster import Resources, describe_error
from zoo import InputError

MOST_SHARDS = 16  # of one task: so many may have to be looked through again if its node dies
POLL_SECONDS = 0.5

# Takes shards, and returns how many rows they had, how many were added, and the names of the tables.
Fill = Callable[[Sequence[int]], tuple[int, int, tuple[str, ...]]]


def fill_all(
    fill: Fill,
    shards: Sequence[int],
    resources: Resources,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[int, int]:
    """Fills shards. Each is given to one task; that of a node which died is given to another node.

    A task has several shards at first and one in the end, so that all nodes are busy to the end.

    Args:
        fill: what a task does; Ray's processes import its module.
        shards: the shards.
        resources: that each task has.
        progress: called with the number of shards done so far and of all.
        stopping: called often; if it returns True, the tasks are stopped, and the function returns.

    Returns:
        The number of rows that were in the table already, and of rows that were added.

    Raises:
        InputError: if a task fails, or nodes fill different tables.
    """
    options = resources.options("fill shards")
    task = ray.remote(num_gpus=options.pop("num_gpus"))(lambda part: fill(part)).options(**options)
    waiting, running = list(shards), dict[Any, int]()
    present = added = done = 0
    tables: set[tuple[str, ...]] = set()
    try:
        while (waiting or running) and not stopping():
            slots = count_slots(resources) if waiting else 0
            while waiting and len(running) < 2 * slots:  # so that one waits wherever another ends
                count = max(1, min(MOST_SHARDS, len(waiting) // (4 * slots)))
                running[task.remote(waiting[:count])] = count
                del waiting[:count]
            for ref in ray.wait(list(running), timeout=POLL_SECONDS)[0]:
                there, new, names = _result(ref)
                present, added, done = present + there, added + new, done + running.pop(ref)
                tables.add(names)
                if len(tables) > 1:
                    raise InputError(
                        "Nodes that fill a table must be of one kind: processor, accelerators, versions and settings."
                        f" Received: the tables {' and '.join(names[0] for names in sorted(tables))}"
                    )
                progress(done, len(shards))
    finally:
        for ref in running:
            ray.cancel(ref, force=True)  # what is not added yet is computed again
    return present, added


def count_slots(resources: Resources) -> int:
    """Returns how many such tasks the cluster can execute at a time, at least 1."""
    have = ray.cluster_resources()
    slots = [have.get("CPU", 0) / resources.cpus]
    slots += [have.get("GPU", 0) / resources.gpus] if resources.gpus else []
    return max(1, int(min(slots)))


def _result(ref: Any) -> tuple[int, int, tuple[str, ...]]:
    """Returns the result of a task. Raises InputError if it failed."""
    try:
        result: tuple[int, int, tuple[str, ...]] = ray.get(ref)
        return result
    except Exception as error:  # of Ray, or of the task itself
        raise InputError(describe_error(error)) from None
