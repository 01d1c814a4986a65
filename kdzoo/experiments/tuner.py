"""KerasTuner chooses the trials of a search, in one process or several; killed at any moment, it goes on unharmed.

KerasTuner 1.4.8 by itself does not: it writes a file for each trial and one for its oracle, in place and at different
moments, so that a kill in between leaves half a file, a trial twice, or one that counts as neither done nor under way.
Here all of it is one file, replaced as a whole, and a trial under way is handed out again under the same ID.
"""

import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras_tuner.src.engine import base_tuner, conditions
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kdzoo import files
from kdzoo.experiments import search_space, search_state
from kdzoo.experiments import trials as trials_module
from kdzoo.experiments.chief import POLL, Chief, Workers
from kdzoo.experiments.oracles import OBJECTIVE, Unkillable, make_oracle
from kdzoo.experiments.recommendation import Outcome
from kdzoo.experiments.search_space import Search
from kdzoo.training import loop
from zoo import InputError

conditions.print = lambda *_: None  # KerasTuner prints each condition of the space that it sends


def outcomes(oracle: Unkillable, search: Search) -> list[Outcome]:
    """The trials so far, in the order they began."""
    return [
        Outcome(
            trial.trial_id,
            dict(trial.hyperparameters.values),
            trial.status,
            None if trial.score is None else float(trial.score),
            trial.hyperparameters.values.get("tuner/epochs", search.epochs),
            _message(oracle, trial),
        )
        for trial in list(oracle.trials.values())
    ]


def _message(oracle: Unkillable, trial: Trial) -> str:
    """Why a trial failed: beside its run, since KerasTuner sends no messages from worker to chief."""
    path = pathlib.Path(oracle._directory) / trials_module.TRIAL_RUNS / trial.trial_id / trials_module.FAILURE
    return path.read_text() if trial.status == TrialStatus.FAILED and path.exists() else ""


class Tuner(base_tuner.BaseTuner):
    """Runs trials, in the only process or as a worker of a chief that KerasTuner's environment variables name.

    Args:
        oracle: of `make_oracle`; a worker's asks the chief instead.
        search: what `tune.prepare` gave.
        workdir: its directory.
        stopping: whether to stop, asked between trials and after training steps.
        say: told of each trial's start and end.
        options: of `training.run`.
    """

    def __init__(
        self,
        oracle: Unkillable,
        search: Search,
        workdir: pathlib.Path,
        *,
        stopping: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = print,
        options: Mapping[str, Any] | None = None,
    ):
        self._search, self._workdir, self._stopping, self._say = search, workdir, stopping, say
        self._options = options or {}
        super().__init__(oracle, directory=str(workdir), project_name=trials_module.STATE)

    def search(self) -> bool:
        """Runs trials until there are no more, or `stopping`. Returns whether there are no more.

        KerasTuner's own takes every error for the trial's, asks an idle chief without a pause, and prints.
        """
        while not self._stopping():
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return True
            if trial.status == TrialStatus.IDLE:
                time.sleep(POLL)
                continue
            try:
                # Held until the oracle knows the end, so that nobody else takes the trial for left.
                with trials_module.turn(self._workdir, trial.trial_id, self._stopping):
                    self._run_and_end(trial)
            except loop.Stopped:
                return False
        return False

    def _run_and_end(self, trial: Trial) -> None:
        trial.hyperparameters.ensure_active_values()  # on its way from a chief it gets those of other choices too
        values = trial.hyperparameters.values
        began = time.monotonic()
        epochs = values.get("tuner/epochs", self._search.epochs)
        going_on = f", going on from trial {values['tuner/trial_id']}" if "tuner/trial_id" in values else ""
        self._say(f"trial {trial.trial_id}: {search_space.describe(values)}, to epoch {epochs}{going_on}")
        try:
            error = self.run_trial(trial)
        except InputError as failure:
            if trials_module.is_passing(failure):
                raise
            message = " ".join(str(failure).split())
            directory = self._workdir / trials_module.TRIAL_RUNS / trial.trial_id
            directory.mkdir(parents=True, exist_ok=True)
            files.write_atomically(directory / trials_module.FAILURE, message.encode())
            trial.status, trial.message = TrialStatus.FAILED, message
            self.oracle.end_trial(trial)
            self._say(f"trial {trial.trial_id}: failed: {message}")
            return
        self.oracle.update_trial(trial.trial_id, {OBJECTIVE: error}, step=epochs)
        trial.status = TrialStatus.COMPLETED
        self.oracle.end_trial(trial)
        best = self.oracle.get_best_trials(1)[0]
        self._say(
            f"trial {trial.trial_id}: val error {error:.2f} %, best so far {best.score:.2f} % (trial {best.trial_id}),"
            f" {(time.monotonic() - began) / 60:.1f} minutes"
        )

    def run_trial(self, trial: Trial, *_, **__) -> float:
        """The trial's error on the held-out examples, in percent: see `tune.run_trial`."""
        values = trial.hyperparameters.values
        try:
            return trials_module.run_trial(
                self._search,
                trial.trial_id,
                values,
                self._workdir,
                stopping=self._stopping,
                say=self._say,
                **self._options,
            )
        finally:
            keras.utils.clear_session()  # or each trial's graphs stay in memory

    def save(self) -> None:
        """The oracle saves itself; there is nothing else to remember."""


def run(
    search: Search,
    workdir: str | os.PathLike,
    *,
    workers: int = 1,
    worker_command: Sequence[str] = (),
    devices: Sequence[str] | None = None,
    stopping: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = print,
    **options,
) -> tuple[Search, list[Outcome], bool] | None:
    """Searches, from where the search is; as KerasTuner's chief or worker where its environment variables say so.

    Args:
        search: what is searched, and how.
        workdir: a directory, made if need be.
        workers: processes at a time; from 2 on they are started as `worker_command`, and this one is their chief.
        worker_command: starts a worker, by calling this with the same search and workdir.
        devices: the GPUs of workers, as CUDA_VISIBLE_DEVICES names them; None: what this process may use.
        stopping: whether to stop; asked often.
        say: told of each trial's start and end.
        **options: of `training.run`, but what is given here.

    Returns:
        The search with what its data tell, its trials so far, and whether it is finished; None for a worker.

    Raises:
        InputError: if it cannot be made, or the directory holds another one; nothing is written then.
    """
    part, workdir = search_state.role(), pathlib.Path(workdir)
    search, description = search_state.prepare(search, workdir)
    if part == "worker":
        Tuner(make_oracle(search, workdir), search, workdir, stopping=stopping, say=say, options=options).search()
        return None
    state = workdir / trials_module.STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"workdir must be a directory that can be written. Received: {error}") from None
    with files.locked(state):
        if not (state / search_state.DESCRIPTION).exists():
            files.write_atomically(state / search_state.DESCRIPTION, json.dumps(description, indent=1).encode())
        oracle = make_oracle(search, workdir)
        if os.path.exists(oracle._get_oracle_fname()):
            oracle.reload()
        trials, epochs = oracle.plan(search)
        say(f"{search.algorithm}: at most {trials} trials of {oracle.candidates} candidates, {epochs} epochs in all")
        if part == "chief":
            address = ":".join(os.environ[name] for name in search_state.ENV[1:])
            say(f"chief at {address}: waiting for workers")
            Chief(oracle, address).serve(stopping=stopping)
        elif workers > 1:
            chief = Chief(oracle, "127.0.0.1:0")
            processes = Workers(worker_command, workers, chief.port, devices)
            chief.serve(working=lambda: processes.working(stopping()), stopping=stopping)
        else:
            Tuner(oracle, search, workdir, stopping=stopping, say=say, options=options).search()
        return search, outcomes(oracle, search), oracle.finished
