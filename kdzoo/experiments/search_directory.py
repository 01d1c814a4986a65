"""The directory of a search: its parts, and readers of their files."""

import pathlib
from typing import Any

from kdzoo import files
from kdzoo.runs import checkpoints, records

STATE, TEACHERS, TRIAL_RUNS, FINAL = "search", "teachers", "trials", "final"
DESCRIPTION = "search.json"
FAILURE = "failed.txt"
FIGURES = "figures"  # key of the description: what students cost, of a search that compares or limits it


def description_path(workdir: pathlib.Path) -> pathlib.Path:
    """The file that holds the description of the search in a directory."""
    return workdir / STATE / DESCRIPTION


def read_figures(workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """Student -> figure -> value, as measured when the search began; empty if it had no need of them."""
    path = description_path(workdir)
    figures: dict[str, dict[str, float]] = read_json(path).get(FIGURES, {}) if path.exists() else {}
    return figures


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
