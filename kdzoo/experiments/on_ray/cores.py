"""Cores of a node for one task: the number of threads, on which the last bits of a run depend, is the task's own."""

import contextlib
import os
import pathlib
import random
import tempfile
from collections.abc import Iterator

from kdzoo import files
from zoo import InputError


@contextlib.contextmanager
def claimed(count: int) -> Iterator[set[int] | None]:
    """Yields cores of this node that no other task has, as long as there are any; None on systems without affinity.

    A core is claimed by a lock, which ends with the block, or with the process. Where more tasks run than there are
    cores, some share: Ray counts the CPUs that its node was started with.

    Raises:
        InputError: if the node has fewer cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        yield None
        return
    every = sorted(os.sched_getaffinity(0))
    if len(every) < count:
        raise InputError(f"ray_cpus must be at most the cores of a node, here {len(every)}. Received: {count}")
    folder = pathlib.Path(tempfile.gettempdir()) / f"kdzoo-cores-{os.getuid()}"
    with contextlib.ExitStack() as claims:
        own: set[int] = set()
        for core in every:
            if len(own) < count and _claim(folder / str(core), claims):
                own.add(core)
        others = sorted(set(every) - own)
        yield own | set(random.sample(others, count - len(own)))


def _claim(directory: pathlib.Path, claims: contextlib.ExitStack) -> bool:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        claims.enter_context(files.locked(directory))
    except InputError:
        return False
    return True
