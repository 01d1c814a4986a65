"""One trial of a search: trains its teacher once for all trials, then its student. Both resume after a stop."""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.experiments import search_directory
from kdzoo.experiments.locks import exclusive
from kdzoo.experiments.search_space import Search
from kdzoo.experiments.trial_configs import run_name, student_config, teacher_config
from kdzoo.runs import checkpoints
from kdzoo.runs.config import RunConfig
from kdzoo.runs.progress import Progress
from kdzoo.training import finished
from kdzoo.training.state import Stopped
from zoo import InputError

# Parts of messages about a fault of the machine, the network or a server, or about a directory that holds another run,
# for example of another backend. Such a trial is tried again.
TEMPORARY = (
    *("teacher_deadline", "must have room", "can be written", "in use by another", "sent whole", "downloaded"),
    "run of another configuration",
)


def run_trial(
    search: Search,
    trial: str,
    values: Mapping[str, Any],
    workdir: pathlib.Path,
    *,
    stopping: Callable[[], bool],
    log: Callable[[str], None],
    **options: Any,
) -> float:
    """Trains a trial's student, resumed if it has started; before it the teacher, unless that is trained.

    Args:
        search: the search, from `search_state.prepare`.
        trial: the trial's ID, which names its directory.
        values: its hyperparameters. Hyperband's "tuner/epochs" is its last epoch, "tuner/trial_id" the trial whose
            checkpoints it resumes from.
        workdir: directory of the search.
        stopping: see `kdzoo.training.run`.
        log: receives a line when a teacher's training starts and ends.
        **options: arguments of `kdzoo.training.run`.

    Returns:
        The error on the held-out examples after the trial's last epoch, in percent.

    Raises:
        InputError: if it cannot be trained.
        kdzoo.training.Stopped: if `stopping` returned true; the trial is saved.
    """
    epochs = values.get("tuner/epochs", search.epochs)
    directory = workdir / search_directory.TRIAL_RUNS / trial
    teacher, teacher_run = values["teacher"], teacher_config(search, values)
    if teacher_run:
        teacher = str(workdir / search_directory.TEACHERS / run_name(teacher_run))
    student = student_config(search, values, teacher)
    if not _is_finished(student, directory, epochs):
        if origin := values.get("tuner/trial_id"):
            copy_checkpoints(workdir / search_directory.TRIAL_RUNS / origin, directory)
        if teacher_run:
            train_once(teacher_run, pathlib.Path(teacher), workdir, stopping=stopping, log=log, **options)
        train_until(student, directory, epochs, stopping=stopping, **options)
    return search_directory.read_progress(directory)[0][epochs - 1]["val_error"]


def _is_finished(student: RunConfig, directory: pathlib.Path, epochs: int) -> bool:
    # The last epoch's checkpoint does not end a whole run: weights and record follow.
    if epochs == schedules.parse(student.schedule).epochs:
        return finished.is_finished(student, directory)
    return len(search_directory.read_progress(directory)[0]) >= epochs


def train_until(
    config: RunConfig, directory: pathlib.Path, epochs: int, *, stopping: Callable[[], bool], **options: Any
) -> None:
    """Trains a run, resumed if it has started, to the end of this epoch. The learning rate is the whole schedule's.

    Raises:
        kdzoo.training.Stopped: if `stopping` returned true before.
    """
    from kdzoo.training.train import run

    reached = False

    def note(progress: Progress) -> None:
        nonlocal reached
        reached = progress.epoch >= epochs

    try:
        run(config, directory, progress=note, stopping=lambda: reached or stopping(), **options)
    except Stopped:
        if not reached:
            raise


def train_once(
    config: RunConfig,
    directory: pathlib.Path,
    workdir: pathlib.Path,
    *,
    stopping: Callable[[], bool],
    log: Callable[[str], None],
    **options: Any,
) -> None:
    """Trains a run that several trials need, unless it is finished; other processes wait until it is."""
    from kdzoo.training.train import run

    with exclusive(search_directory.lock_directory(workdir, directory.name), stopping):
        if not finished.is_finished(config, directory):
            log(f"teacher {directory.name}: training")
            record = run(config, directory, stopping=stopping, **options)
            minutes = record["wall_seconds"] / 60
            error = record["history"][-1]["val_error"]
            log(f"teacher {directory.name}: val error {error:.2f} %, {minutes:.1f} minutes")


def copy_checkpoints(origin: pathlib.Path, directory: pathlib.Path) -> None:
    """Copies the checkpoints of one trial to another that has not started, whole or not at all.

    Raises:
        InputError: if the first trial failed.
    """
    if directory.exists():
        return
    if (origin / search_directory.FAILURE).exists():
        raise InputError(f"A trial must resume from one that did not fail. Received: {origin.name}")
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(origin / checkpoints.DIRECTORY, partial / checkpoints.DIRECTORY)
    os.replace(partial, directory)


def is_temporary(error: InputError) -> bool:
    """Whether the cause of an error may have passed when the trial is tried again."""
    return any(part in str(error) for part in TEMPORARY)
