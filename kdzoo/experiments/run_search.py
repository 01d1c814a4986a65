"""Runs a search: in one process, as chief of workers on this machine, or as KerasTuner's chief or worker of several.

A search killed at any moment resumes by the same call, and ends with the same trials.
"""

import functools
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from keras_tuner.src.engine import conditions
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kdzoo import files
from kdzoo.experiments import roles, search_directory, search_state, student_limits
from kdzoo.experiments.chief import Chief
from kdzoo.experiments.oracles import make_oracle
from kdzoo.experiments.outcomes import Outcome
from kdzoo.experiments.resumable_oracle import ResumableOracle
from kdzoo.experiments.search_space import Search
from kdzoo.experiments.tuner import Tuner
from kdzoo.experiments.workers import LocalWorkers, Workers
from kdzoo.teachers import base
from zoo import InputError

conditions.print = lambda *_: None  # KerasTuner prints each condition of the space that it sends


def run(
    search: Search,
    workdir: str | os.PathLike[str],
    *,
    workers: int = 1,
    worker_command: Sequence[str] = (),
    devices: Sequence[str] | None = None,
    start_workers: Callable[[int], Workers] | None = None,
    host: str = "127.0.0.1",
    stopping: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = print,
    **options: Any,
) -> tuple[Search, list[Outcome], bool] | None:
    """Starts or resumes a search; as KerasTuner's chief or worker if its environment variables are set.

    Args:
        search: the space and the algorithm.
        workdir: directory of the search, created if need be.
        workers: processes at a time. From 2 on this process is the chief, and starts each worker by `worker_command`.
        worker_command: starts a worker, which calls this function with the same search and workdir.
        devices: the GPUs of workers, as CUDA_VISIBLE_DEVICES names them; None for those that this process may use.
        start_workers: starts workers elsewhere, which find this process at the port that it receives; None: here.
        host: address of this machine, at which the workers find it.
        stopping: whether to stop; called often.
        log: receives a line at each trial's start and end.
        **options: arguments of `kdzoo.training.run`.

    Returns:
        The search with its number of held-out examples and the students that its limits leave, its trials so far, and
        whether it is finished. None for a worker.

    Raises:
        InputError: if the search is impossible, or the directory holds another one; then nothing is written.
    """
    role, workdir = roles.role(), pathlib.Path(workdir)
    deadline = options.get("teacher_deadline", base.DEADLINE)
    search, description = search_state.prepare(search, workdir, deadline=deadline)
    if role == "worker":
        tuner = Tuner(make_oracle(search, workdir), search, workdir, stopping=stopping, log=log, options=options)
        tuner.oracle.get_space()  # waits for the chief, which writes the description of its search first
        search_state.check_same(workdir, description)
        tuner.search()
        return None
    search, left_out = student_limits.apply(search, description.get(search_directory.FIGURES, {}))
    for line in left_out:
        log(line)
    with files.locked(_make_state_directory(workdir)):
        oracle = _start_or_resume(search, description, workdir)
        trials, epochs = oracle.plan(search)
        log(f"{search.algorithm}: at most {trials} trials of {oracle.candidates} candidates, {epochs} epochs in all")
        if role == "chief":
            log(f"chief at {roles.chief_address()}: waiting for workers")
            Chief(oracle, roles.chief_address()).serve(stopping=stopping)
        elif workers > 1 or start_workers:
            local = functools.partial(LocalWorkers, worker_command, workers, devices=devices)
            _serve(Chief(oracle, f"{host}:0"), start_workers or local, stopping)
        else:
            Tuner(oracle, search, workdir, stopping=stopping, log=log, options=options).search()
        return search, collect_outcomes(oracle, search, workdir), oracle.finished


def _serve(chief: Chief, start_workers: Callable[[int], Workers], stopping: Callable[[], bool]) -> None:
    """Starts the workers of a chief, and ends them, those too that still run after a failure or an interrupt."""
    workers = start_workers(chief.port)
    try:
        chief.serve(working=lambda: workers.working(stopping()), stopping=stopping)
    finally:
        workers.end()


def _make_state_directory(workdir: pathlib.Path) -> pathlib.Path:
    state = workdir / search_directory.STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"workdir must be a directory that can be written. Received: {error}") from None
    return state


def _start_or_resume(search: Search, description: dict[str, Any], workdir: pathlib.Path) -> ResumableOracle:
    path = search_directory.description_path(workdir)
    if not path.exists():
        files.write_atomically(path, json.dumps(description, indent=1).encode())
    oracle = make_oracle(search, workdir)
    if oracle.state_file.exists():
        oracle.reload()
    return oracle


def collect_outcomes(oracle: ResumableOracle, search: Search, workdir: pathlib.Path) -> list[Outcome]:
    """Returns the trials so far, in the order of their starts."""
    return [
        Outcome(
            trial.trial_id,
            dict(trial.hyperparameters.values),
            trial.status,
            None if trial.score is None else float(trial.score),
            trial.hyperparameters.values.get("tuner/epochs", search.epochs),
            _failure_message(trial, workdir),
        )
        for trial in list(oracle.trials.values())
    ]


def _failure_message(trial: Trial, workdir: pathlib.Path) -> str:
    path = workdir / search_directory.TRIAL_RUNS / trial.trial_id / search_directory.FAILURE
    return path.read_text() if trial.status == TrialStatus.FAILED and path.exists() else ""
