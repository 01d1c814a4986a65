"""One trial of a search: its teacher trained once for all trials, then its student, each resumed where it stopped."""

import contextlib
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kdzoo import files
from kdzoo.experiments.search_space import Search, run_name, student_config, teacher_config
from kdzoo.runs import checkpoints, records
from kdzoo.runs.config import RunConfig
from zoo import InputError

STATE, TEACHERS, TRIAL_RUNS, FINAL = "search", "teachers", "trials", "final"
FAILURE = "failed.txt"
# In what is said of the machine's, the network's or a server's fault: no reason to give a trial up.
_PASSING = ("teacher_deadline", "must have room", "can be written", "in use by another", "sent whole", "downloaded")


# Running one.


def run_trial(
    search: Search,
    trial: str,
    values: Mapping[str, Any],
    workdir: pathlib.Path,
    *,
    stopping: Callable[[], bool],
    say: Callable[[str], None],
    **options,
) -> float:
    """Trains a trial's student, from where it is, and its teacher first if that is to be trained and is not yet.

    Args:
        search: what `prepare` gave.
        trial: its ID, which names its directory.
        values: its hyperparameters; Hyperband's "tuner/epochs" says how far it goes, and "tuner/trial_id" which trial
            it goes on from.
        workdir: the search's.
        stopping: whether to stop: see `training.run`.
        say: told when a teacher is trained.
        **options: of `training.run`.

    Returns:
        Its error on the held-out examples after its last epoch, in percent.

    Raises:
        InputError: if it cannot be trained.
        training.Stopped: if it was stopped; it is saved.
    """
    epochs = values.get("tuner/epochs", search.epochs)
    directory = workdir / TRIAL_RUNS / trial
    # The last epoch's checkpoint is not yet the end of a whole run: weights and record follow.
    whole = epochs == search.epochs
    if not ((directory / records.RECORD).exists() if whole else len(progress_of(directory)[0]) >= epochs):
        if origin := values.get("tuner/trial_id"):
            go_on_from(workdir / TRIAL_RUNS / origin, directory)
        where = values["teacher"]
        if teacher := teacher_config(search, values):
            where = str(workdir / TEACHERS / run_name(teacher))
            train_once(teacher, pathlib.Path(where), workdir, stopping=stopping, say=say, **options)
        train_until(student_config(search, values, where), directory, epochs, stopping=stopping, **options)
    return progress_of(directory)[0][epochs - 1]["val_error"]


def progress_of(directory: pathlib.Path) -> tuple[list[dict[str, float]], float]:
    """History and seconds of a run, finished or not; nothing of one that has not started."""
    if (directory / records.RECORD).exists():
        record = records.read(directory)
        return record["history"], record["wall_seconds"]
    found = checkpoints.load(directory)
    return (found[1]["place"]["history"], found[1]["place"]["seconds"]) if found else ([], 0.0)


def train_until(
    config: RunConfig, directory: pathlib.Path, epochs: int, *, stopping: Callable[[], bool], **options
) -> None:
    """Trains a run, from where it is, to the end of this epoch; the learning rate is the whole schedule's.

    Raises:
        training.Stopped: if `stopping` said so before.
    """
    from kdzoo.training import loop
    from kdzoo.training.train import run

    reached = False

    def note(progress) -> None:
        nonlocal reached
        reached = progress.epoch >= epochs

    try:
        run(config, directory, progress=note, stopping=lambda: reached or stopping(), **options)
    except loop.Stopped:
        if not reached:
            raise


def train_once(
    config: RunConfig,
    directory: pathlib.Path,
    workdir: pathlib.Path,
    *,
    stopping: Callable[[], bool],
    say: Callable[[str], None],
    **options,
) -> None:
    """Trains a run that several trials need, unless it is finished; others wait until it is."""
    from kdzoo.training.train import run

    with turn(workdir, directory.name, stopping):
        if not (directory / records.RECORD).exists():
            say(f"teacher {directory.name}: training")
            record = run(config, directory, stopping=stopping, **options)
            minutes = record["wall_seconds"] / 60
            say(
                f"teacher {directory.name}: val error {record['history'][-1]['val_error']:.2f} %, {minutes:.1f} minutes"
            )


def go_on_from(origin: pathlib.Path, directory: pathlib.Path) -> None:
    """Gives a run that has not started another's checkpoints, whole or not at all.

    Raises:
        InputError: if that one failed.
    """
    if directory.exists():
        return
    if (origin / FAILURE).exists():
        raise InputError(f"A trial must go on from one that did not fail. Received: {origin.name}")
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(origin / checkpoints.DIRECTORY, partial / checkpoints.DIRECTORY)
    os.replace(partial, directory)


def is_passing(error: InputError) -> bool:
    """Whether what kept a trial from its end may be gone when it is tried again."""
    return any(part in str(error) for part in _PASSING)


def lock_of(workdir: pathlib.Path, name: str) -> pathlib.Path:
    """The directory that a process locks while it is at a trial, or at a teacher."""
    return workdir / STATE / "locks" / name


@contextlib.contextmanager
def turn(workdir: pathlib.Path, name: str, stopping: Callable[[], bool]) -> Iterator[None]:
    """Waits until no other process is at the trial or teacher of this name, and keeps others waiting meanwhile.

    Raises:
        training.Stopped: if `stopping` said so before.
    """
    from kdzoo.training import loop

    directory = lock_of(workdir, name)
    directory.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(files.locked(directory))
            except InputError:
                if stopping():
                    raise loop.Stopped(f"waiting for {name}") from None
                time.sleep(0.2)
                continue
            yield
            return
