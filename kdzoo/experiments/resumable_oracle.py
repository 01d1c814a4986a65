"""What KerasTuner's oracles need so that a search killed at any moment resumes exactly.

An oracle is KerasTuner's search algorithm: it creates trials and receives their results. KerasTuner 1.4.8 writes a file
for each trial and one for the oracle, in place and at different moments. A kill in between leaves half a file, a trial
twice, or one that is neither done nor under way. Here one file, replaced as a whole, holds all of it, and the next
worker continues a trial under way under the same ID.
"""

import json
import pathlib
import time
from typing import Any

import keras_tuner as kt
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kdzoo import files
from kdzoo.experiments import locks, search_directory
from kdzoo.experiments.search_space import Search
from zoo import InputError

OBJECTIVE = "val_error"
GRACE = 60.0  # seconds for a worker to lock its new trial; after them the worker counts as dead


class ResumableOracle(kt.Oracle):
    """First base of each oracle here; the second is one of KerasTuner's.

    Args:
        workdir: directory of the search.
        candidates: number of different trials in the search space.
        limit: most trials; None for as many as the algorithm makes. KerasTuner's `max_trials` is not used for it:
            the length of that number determines the form of trial IDs, so it could not be raised later.
        **options: arguments of KerasTuner's oracle.

    Attributes:
        closed: whether to create no more trials, set from outside.
        finished: whether a worker has received the end of the search.
    """

    def __init__(self, *, workdir: pathlib.Path, candidates: int, limit: int | None, **options: Any) -> None:
        self.candidates, self._limit, self._workdir = candidates, limit, workdir
        self.closed = self.finished = False
        self._assigned: dict[str, float] = {}  # trial ID -> when this process gave it to a worker
        super().__init__(
            objective=kt.Objective(OBJECTIVE, "min"),
            allow_new_entries=False,
            max_consecutive_failed_trials=None,  # the search continues after failures
            **options,
        )
        self._max_collisions = 10**6  # KerasTuner's 20 would end the search before the space is exhausted
        self.verbose = 0
        self._set_project_dir(str(workdir), search_directory.STATE)

    @property
    def state_file(self) -> pathlib.Path:
        """The file that holds the oracle and all trials."""
        return pathlib.Path(self._get_oracle_fname())

    def plan(self, search: Search) -> tuple[int, int]:
        """Returns the most trials that the search can have, and the student's epochs in them."""
        trials = min(self._limit or self.candidates, self.candidates)
        return trials, trials * search.epochs

    # The state: one file instead of KerasTuner's many.

    def save(self) -> None:
        """Replaces the state file as a whole.

        Raises:
            InputError: if the file cannot be written.
        """
        state = self.get_state() | {"trials": [trial.get_state() for trial in self.trials.values()]}
        try:
            files.write_atomically(self.state_file, json.dumps(state).encode())
        except OSError as error:
            raise InputError(f"workdir must have room for the search's state. Received: {error}") from None

    def reload(self) -> None:
        """Restores the state from its file."""
        state = search_directory.read_json(self.state_file)
        self.trials = {trial["trial_id"]: Trial.from_state(trial) for trial in state["trials"]}
        self.set_state(state)
        # KerasTuner saves a trial's end before it removes the trial from those under way.
        self.ongoing_trials: dict[str, Trial] = {
            tuner: trial for tuner, trial in self.ongoing_trials.items() if trial.status == TrialStatus.RUNNING
        }

    def _save_trial(self, trial: Trial) -> None:
        """Writes nothing: `save` writes all trials."""

    # Which worker runs which trial.

    @kt.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """Returns the worker's own trial under way, else one whose worker is dead, else a new one.

        KerasTuner never gives the trial of a dead worker to another.
        """
        if tuner_id not in self.ongoing_trials:
            abandoned = (tuner for tuner, trial in self.ongoing_trials.items() if self._is_abandoned(trial.trial_id))
            if (tuner := next(abandoned, None)) is not None:
                self.ongoing_trials[tuner_id] = self.ongoing_trials.pop(tuner)
                self.save()
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and not self.closed:
            if self.ongoing_trials:
                trial.status = TrialStatus.IDLE  # the workers of the last trials may die before these are done
            self.finished = not self.ongoing_trials
        if trial.status == TrialStatus.RUNNING:
            self._assigned[trial.trial_id] = time.monotonic()
        return trial

    def _is_abandoned(self, trial: str) -> bool:
        """Whether the worker of a trial under way is dead. Without locks (Windows) never."""
        assigned = self._assigned.get(trial)  # None: an earlier process assigned it
        return files.HAS_LOCKS and (assigned is None or time.monotonic() - assigned > GRACE) and not self.is_held(trial)

    def is_held(self, trial: str) -> bool:
        """Whether a process trains the trial."""
        return locks.is_held(search_directory.lock_directory(self._workdir, trial))

    # The end of the search space.

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Ends the search if it is closed or at its limit; else the algorithm proposes hyperparameters."""
        if self.closed or (self._limit is not None and len(self.trials) >= self._limit):
            return {"status": TrialStatus.STOPPED}
        return super().populate_space(trial_id)

    def count_tried(self) -> int:
        """Number of candidates tried; a trial that resumes another is the same candidate."""
        return sum("tuner/trial_id" not in trial.hyperparameters.values for trial in self.trials.values())

    def _random_values(self) -> dict[str, Any] | None:
        # KerasTuner would draw `_max_collisions` times from an exhausted space.
        return None if self.count_tried() >= self.candidates else super()._random_values()
