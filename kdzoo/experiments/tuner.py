"""KerasTuner's tuner for trials that resume: it receives trials from an oracle, runs them and reports their errors."""

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras_tuner.src.engine import base_tuner
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kdzoo import files
from kdzoo.experiments import search_directory, trial_configs, trials
from kdzoo.experiments.chief import POLL
from kdzoo.experiments.locks import exclusive
from kdzoo.experiments.resumable_oracle import OBJECTIVE, ResumableOracle
from kdzoo.experiments.search_space import Search
from kdzoo.training.state import Stopped
from zoo import InputError


class Tuner(base_tuner.BaseTuner):
    """Runs trials, in the only process or as a worker of the chief that KerasTuner's environment variables name.

    Args:
        oracle: the oracle, from `make_oracle`. In a worker KerasTuner replaces it by a client of the chief's.
        search: the search, from `search_state.prepare`.
        workdir: directory of the search.
        stopping: whether to stop; called between trials and after training steps.
        log: receives a line at each trial's start and end.
        options: arguments of `kdzoo.training.run`.
    """

    def __init__(
        self,
        oracle: ResumableOracle,
        search: Search,
        workdir: pathlib.Path,
        *,
        stopping: Callable[[], bool] = lambda: False,
        log: Callable[[str], None] = print,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._search, self._workdir, self._stopping, self._log = search, workdir, stopping, log
        self._options = options or {}
        super().__init__(oracle, directory=str(workdir), project_name=search_directory.STATE)

    def search(self) -> bool:
        """Runs trials until there are no more, or until `stopping` returns true.

        KerasTuner's own `search` takes a stop or a fault of the machine for a failed trial, and queries an idle chief
        without a pause.

        Returns:
            Whether there are no more trials.
        """
        while not self._stopping():
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return True
            if trial.status == TrialStatus.IDLE:
                time.sleep(POLL)
                continue
            try:
                # Held until the oracle has the result, so that it takes no other worker's trial for abandoned.
                lock = search_directory.lock_directory(self._workdir, trial.trial_id)
                with exclusive(lock, self._stopping):
                    self._run_and_report(trial)
            except Stopped:
                return False
        return False

    def _run_and_report(self, trial: Trial) -> None:
        trial.hyperparameters.ensure_active_values()  # a chief also sends values that are inactive in this trial
        values = trial.hyperparameters.values
        started = time.monotonic()
        epochs = values.get("tuner/epochs", self._search.epochs)
        origin = f", resumed from trial {values['tuner/trial_id']}" if "tuner/trial_id" in values else ""
        self._log(f"trial {trial.trial_id}: {trial_configs.describe(values)}, to epoch {epochs}{origin}")
        try:
            error = self.run_trial(trial)
        except InputError as failure:
            if trials.is_temporary(failure):
                raise
            self._report_failure(trial, " ".join(str(failure).split()))
            return
        self.oracle.update_trial(trial.trial_id, {OBJECTIVE: error}, step=epochs)
        trial.status = TrialStatus.COMPLETED
        self.oracle.end_trial(trial)
        best = self.oracle.get_best_trials(1)[0]
        self._log(
            f"trial {trial.trial_id}: val error {error:.2f} %, best so far {best.score:.2f} % (trial {best.trial_id}),"
            f" {(time.monotonic() - started) / 60:.1f} minutes"
        )

    def _report_failure(self, trial: Trial, message: str) -> None:
        # KerasTuner sends no messages from worker to chief, so the message is a file beside the run.
        directory = self._workdir / search_directory.TRIAL_RUNS / trial.trial_id
        directory.mkdir(parents=True, exist_ok=True)
        files.write_atomically(directory / search_directory.FAILURE, message.encode())
        trial.status, trial.message = TrialStatus.FAILED, message
        self.oracle.end_trial(trial)
        self._log(f"trial {trial.trial_id}: failed: {message}")

    def run_trial(self, trial: Trial, *_: Any, **__: Any) -> float:
        """Returns the trial's error on the held-out examples, in percent: see `trials.run_trial`."""
        values = trial.hyperparameters.values
        try:
            return trials.run_trial(
                self._search,
                trial.trial_id,
                values,
                self._workdir,
                stopping=self._stopping,
                log=self._log,
                **self._options,
            )
        finally:
            keras.utils.clear_session()  # else the graphs of each trial stay in memory

    def save(self) -> None:
        """Saves nothing: the oracle saves itself."""
