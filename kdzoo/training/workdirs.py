"""The directory of a run: checked, locked against other processes, cleared."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from kdzoo import files
from kdzoo.runs import checkpoints, kept_epochs, records, weights
from kdzoo.runs.events import EVENTS
from zoo import InputError

# What a run writes, and what each must be if it exists.
_CONTENTS = {
    records.RECORD: os.path.isfile,
    weights.WEIGHTS: os.path.isfile,
    checkpoints.DIRECTORY: os.path.isdir,
    kept_epochs.DIRECTORY: os.path.isdir,
}


def check(workdir: pathlib.Path) -> None:
    """Raises InputError if the directory cannot be written, or other things have the names of a run's files."""
    files.check_directory(workdir, name="workdir")
    parent = next((path for path in (workdir, *workdir.absolute().parents) if os.path.lexists(path)), workdir)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"workdir must be a directory that can be written. Received: {workdir}")
    for name, is_kind in _CONTENTS.items():
        if os.path.lexists(path := workdir / name) and not is_kind(path):
            kind = "file" if is_kind is os.path.isfile else "directory"
            raise InputError(f"workdir must have room for a run's {kind} {name}. Received: {path}, which is none")


@contextlib.contextmanager
def locked(workdir: pathlib.Path, *, restart: bool) -> Iterator[None]:
    """Makes the directory and keeps other processes out of it; with `restart` also removes an earlier run.

    Raises:
        InputError: if the directory cannot be written, or if another process holds it.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"workdir must be a directory that can be written. Received: {error}") from None
    with files.locked(workdir):
        if restart:
            _clear(workdir)
        yield


def _clear(workdir: pathlib.Path) -> None:
    """Removes an earlier run, its record first: without a record it is no finished run."""
    for pattern in (records.RECORD, weights.WEIGHTS, EVENTS):
        for path in workdir.glob(pattern):
            path.unlink()
    shutil.rmtree(workdir / kept_epochs.DIRECTORY, ignore_errors=True)
    remove_checkpoints(workdir)


def remove_checkpoints(workdir: pathlib.Path) -> None:
    """Removes the checkpoints of a run. A finished run needs none."""
    shutil.rmtree(workdir / checkpoints.DIRECTORY, ignore_errors=True)
