"""Chosen epochs of a run that it keeps: each is a finished run of its own in RUN/epochs/N, and is named RUN@N."""

import os
import pathlib

from kdzoo.distillation import schedules
from zoo import InputError

DIRECTORY = "epochs"


def parse(text: str, *, schedule: str) -> list[int]:
    """Returns the epochs that a run keeps, from 1, in order.

    Args:
        text: numbers of epochs, separated by commas; "" for none.
        schedule: of the run.

    Raises:
        InputError: if one is no epoch of the schedule, or its last, which the run itself is.
    """
    words, last = text.split(",") if text else [], schedules.parse(schedule).epochs
    if not all(word.isascii() and word.isdecimal() and len(word) < 7 and 0 < int(word) < last for word in words):
        raise InputError(
            f"keep_epochs must be numbers from 1 to {last - 1}, separated by commas: epochs before the last of"
            f" {schedule}. Received: {text[:100]}"
        )
    return sorted(set(map(int, words)))


def directory(workdir: pathlib.Path, epoch: int) -> pathlib.Path:
    """Directory of an epoch that a run keeps."""
    return workdir / DIRECTORY / str(epoch)


def run_of(spec: str) -> tuple[str, int] | None:
    """Returns RUN and N of RUN@N; None for any other text."""
    run, _, epoch = spec.rpartition("@")
    return (run, int(epoch)) if run and epoch.isascii() and epoch.isdecimal() and len(epoch) < 7 else None


def locate(spec: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the directory that a path names; for RUN@N, if there is no such directory, that of an epoch of RUN."""
    path = pathlib.Path(spec)
    kept = run_of(path.name)
    return directory(path.parent / kept[0], kept[1]) if kept and not os.path.exists(path) else path
