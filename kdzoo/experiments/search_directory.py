"""The directory of a search: its parts, and readers of their files."""

import pathlib
from typing import Any

from kdzoo import files
from kdzoo.runs import checkpoints, records

STATE, TEACHERS, TRIAL_RUNS, FINAL = "search", "teachers", "trials", "final"
DESCRIPTION = "search.json"
FAILURE = "failed.txt"


def lock_directory(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """The directory that a process locks while it trains the trial or teacher of this name."""
    return workdir / STATE / "locks" / name


def read_progress(directory: pathlib.Path) -> tuple[list[dict[str, float]], float]:
    """History and seconds of a run, finished or not; an empty history if it has not started."""
    if (directory / records.RECORD).exists():
        record = records.read(directory)
        return record["history"], record["wall_seconds"]
    found = checkpoints.load(directory)
    return (found[1]["place"]["history"], found[1]["place"]["seconds"]) if found else ([], 0.0)


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a file of the search's state.

    Raises:
        InputError: if it is damaged.
    """
    return files.read_json(path, rule="A search's state must be as it was written")
