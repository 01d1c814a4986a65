"""Atomic file writes and directory locks between processes."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from zoo import InputError

try:
    import fcntl

    HAS_LOCKS = True
except ImportError:  # Windows
    HAS_LOCKS = False


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that a reader finds either the whole new content or the whole old one, even after a crash."""
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # else a power failure may lose the new name
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(directory: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on a directory. The lock ends with the block, or with the process.

    Args:
        directory: an existing directory.
        wait: whether to wait while another process holds a lock.

    Raises:
        InputError: if another process holds a lock and `wait` is false.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if HAS_LOCKS:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise InputError(f"workdir must not be in use by another process. Received: {directory}") from None
        yield
    finally:
        os.close(descriptor)


def share(directory: pathlib.Path) -> int:
    """Takes a shared lock on a directory: others can share it, but nobody can enter `locked(directory)`.

    Returns:
        A file descriptor; closing it releases the lock.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    if HAS_LOCKS:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
