"""The records of finished runs below directories."""

import glob
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from kdzoo.models.names import natural_key
from kdzoo.runs import checkpoints, kept_epochs, records
from zoo import InputError


def find(paths: Sequence[str | os.PathLike[str]]) -> dict[str, dict[str, Any]]:
    """Returns the records of finished runs, in natural order of their labels: paths below the runs' common root.

    Args:
        paths: directories to search, or shell patterns of them.

    Raises:
        InputError: if one of them holds no finished run, or a record is not a run's.
    """
    found: dict[pathlib.Path, dict[str, Any]] = {}
    for path in paths:
        path = os.fspath(path)
        matches = [path] if os.path.exists(path) else glob.glob(os.path.expanduser(path))
        workdirs = [workdir for match in matches for workdir in _find_below(match)]
        if not workdirs:
            raise InputError(f"runs must be directories that hold finished runs, for example runs. Received: {path}")
        for workdir in workdirs:
            found[workdir.resolve()] = records.read(workdir)
    if not found:
        raise InputError("runs must be directories that hold finished runs, for example runs. Received: none")
    root = os.path.commonpath([path.parent for path in found])
    labels = {path.relative_to(root).as_posix(): record for path, record in found.items()}
    return {label: labels[label] for label in sorted(labels, key=natural_key)}


def _find_below(path: str) -> Iterator[pathlib.Path]:
    """Finds the directories of runs. Epochs that a run keeps count only where the path is that of their folder."""
    for folder, folders, files in os.walk(path):
        if records.RECORD in files or checkpoints.DIRECTORY in folders:
            folders[:] = [name for name in folders if name != kept_epochs.DIRECTORY]
        if records.RECORD in files:
            yield pathlib.Path(folder)
