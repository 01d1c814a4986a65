"""Locks by which processes share a directory."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator

from kdzoo import files
from kdzoo.training.state import Stopped
from zoo import InputError

LOCK = "lock"  # the file in a directory of locks that is locked: on NFS all machines know of it


@contextlib.contextmanager
def exclusive(directory: pathlib.Path, stopping: Callable[[], bool]) -> Iterator[None]:
    """Waits until no other process holds the lock in this directory, then holds it. Creates the directory.

    Raises:
        kdzoo.training.Stopped: if `stopping` returns true while this process waits.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / LOCK).touch()
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(directory / LOCK))
            except InputError:
                if stopping():
                    raise Stopped(f"waiting for {directory.name}") from None
                time.sleep(0.2)
                continue
            yield
            return


def is_held(directory: pathlib.Path) -> bool:
    """Whether a process is within `exclusive` of this directory, which need not exist."""
    return is_locked(directory / LOCK)


def is_locked(path: pathlib.Path) -> bool:
    """Whether a process holds the lock of this directory or file, which need not exist."""
    if not path.exists():
        return False
    try:
        with files.locked(path):
            return False
    except InputError:
        return True
