"""Files that are there whole or not at all, whatever kills the process that writes them."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from zoo import InputError

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes beside `path`, to the disk, then renames: a reader finds all of it or what was there before."""
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # else the new name itself may be lost with the power
    finally:
        os.close(directory)


@contextlib.contextmanager
def locked(directory: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps every other process out of `locked(directory)`; the lock ends with the process, however that ends.

    Args:
        directory: that exists.
        wait: whether to wait while another process holds it.

    Raises:
        InputError: if another process holds it, and it is not to be waited for.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        if fcntl:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise InputError(f"workdir must not be in use by another process. Received: {directory}") from None
        yield
    finally:
        os.close(descriptor)


def share(directory: pathlib.Path) -> int:
    """A file descriptor that, until it is closed, keeps `locked(directory)` from others, but not from one another."""
    descriptor = os.open(directory, os.O_RDONLY)
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
