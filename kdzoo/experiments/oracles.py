"""KerasTuner's search algorithms, made to survive a kill at any moment."""

import json
import math
import pathlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras_tuner as kt
import numpy as np
from keras_tuner.src.engine.trial import Trial, TrialStatus

from kdzoo import files
from kdzoo.experiments import search_space, search_state
from kdzoo.experiments import trials as trials_module
from kdzoo.experiments.search_space import NONE, Search
from kdzoo.runs.config import METHODS
from zoo import InputError

OBJECTIVE = "val_error"
GRACE = 60.0  # seconds in which the process that was given a trial must have locked it, or is taken to be gone
FACTOR = 3  # Hyperband's: each rung trains so many times as long, a trial in so many gets there


def space(search: Search) -> kt.HyperParameters:
    """The search space. What has no part where another choice is made is conditional on that choice."""
    hp = kt.HyperParameters()
    hp.Choice("teacher", list(search.teachers))
    taught = [teacher for teacher in search.teachers if teacher != NONE]
    if search.architectures:
        with hp.conditional_scope("teacher", list(search.architectures)):
            hp.Choice("teacher_schedule", list(search.teacher_schedules))
    if not taught:
        return hp
    with hp.conditional_scope("teacher", taught):
        hp.Choice("method", list(search.methods))
        hp.Choice("kd_until", list(search.kd_untils))
        if with_kd := [method for method in search.methods if METHODS[method]["kd_weight"]]:
            with hp.conditional_scope("method", with_kd):
                hp.Choice("temperature", list(search.temperatures))
                hp.Choice("kd_weight", list(search.kd_weights))
    return hp


class Unkillable:
    """What all oracles here have in common, before one of KerasTuner's in a class's bases.

    Args:
        candidates: different trials there are.
        limit: most trials; None: as many as the algorithm makes.
        lock_of: a trial's ID -> the directory that is locked by whoever is at it.

    Attributes:
        closed: once set, no new trial is given out.
        finished: whether somebody has been told that there are no more.
    """

    def __init__(self, *, candidates: int, limit: int | None, lock_of: Callable[[str], pathlib.Path], **options):
        self.candidates, self._limit, self._lock_of = candidates, limit, lock_of
        self.closed = self.finished = False
        self._given: dict[str, float] = {}
        super().__init__(
            objective=kt.Objective(OBJECTIVE, "min"),
            allow_new_entries=False,
            max_consecutive_failed_trials=None,  # the search goes on past failures
            **options,
        )
        self._max_collisions = 10**6  # what is left of the space is to be found
        self.verbose = 0

    def plan(self, search: Search) -> tuple[int, int]:
        """Most trials there may be, and the epochs of the student in them."""
        trials = min(self._limit or self.candidates, self.candidates)
        return trials, trials * search.epochs

    # One file, replaced as a whole.

    def save(self) -> None:
        state = self.get_state() | {"trials": [trial.get_state() for trial in self.trials.values()]}
        try:
            files.write_atomically(pathlib.Path(self._get_oracle_fname()), json.dumps(state).encode())
        except OSError as error:
            raise InputError(f"workdir must have room for the search's state. Received: {error}") from None

    def reload(self) -> None:
        state = search_state.read_json(pathlib.Path(self._get_oracle_fname()))
        self.trials = {trial["trial_id"]: Trial.from_state(trial) for trial in state["trials"]}
        self.set_state(state)
        # KerasTuner saves a trial's end before it takes the trial from those under way.
        self.ongoing_trials = {
            tuner: trial for tuner, trial in self.ongoing_trials.items() if trial.status == TrialStatus.RUNNING
        }

    def _save_trial(self, trial: Trial) -> None:
        """In `save`."""

    # Whose turn it is.

    @kt.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """A trial of that tuner's under way, one that somebody left, or a new one."""
        if tuner_id not in self.ongoing_trials:
            left = (tuner for tuner, trial in self.ongoing_trials.items() if self._is_left(trial.trial_id))
            if (tuner := next(left, None)) is not None:
                self.ongoing_trials[tuner_id] = self.ongoing_trials.pop(tuner)
                self.save()
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and not self.closed:
            if self.ongoing_trials:
                trial.status = TrialStatus.IDLE  # whoever is at the last ones may be gone before they are done
            self.finished = not self.ongoing_trials
        if trial.status == TrialStatus.RUNNING:
            self._given[trial.trial_id] = time.monotonic()
        return trial

    def _is_left(self, trial: str) -> bool:
        """Whether a trial under way is nobody's any more. Without locks (Windows) that cannot be told."""
        given = self._given.get(trial)  # None: not in this process's time
        return bool(files.fcntl) and (given is None or time.monotonic() - given > GRACE) and not self.is_held(trial)

    def is_held(self, trial: str) -> bool:
        """Whether a process is at the trial."""
        directory = self._lock_of(trial)
        if not directory.exists():
            return False
        try:
            with files.locked(directory):
                return False
        except InputError:
            return True

    # What is tried next.

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.closed or (self._limit is not None and len(self.trials) >= self._limit):
            return {"status": TrialStatus.STOPPED}
        return super().populate_space(trial_id)

    def _count_tried(self) -> int:
        return sum("tuner/trial_id" not in trial.hyperparameters.values for trial in self.trials.values())

    def _random_values(self) -> dict[str, Any] | None:
        return None if self._count_tried() >= self.candidates else super()._random_values()


class RandomSearch(Unkillable, kt.oracles.RandomSearchOracle):
    """Random search that tries nothing twice."""


class Bayesian(Unkillable, kt.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation whose every proposal is a function of the seed and the trials before it."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self._count_tried() >= self.candidates:
            return {"status": TrialStatus.STOPPED}
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])  # KerasTuner's is not in its state
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Gaussian process's fit, on a handful of points
            response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.RUNNING and self._duplicate(response["values"]):
            return self._random_populate_space()  # the same trial again would only give the same error again
        return response


class Hyperband(Unkillable, kt.oracles.HyperbandOracle):
    """Hyperband that also knows what to do in a space that is soon exhausted, and where trials fail.

    KerasTuner's stops without a single promotion where a bracket wants more different trials than there are: here a
    bracket is as large as what is left of the space. And it waits for as many trials to be completed as were begun:
    here one that failed counts, as the worst.
    """

    def plan(self, search: Search) -> tuple[int, int]:
        trials = epochs = 0
        left = self.candidates
        for bracket in reversed(range(self._get_num_brackets())):
            before = 0
            for rung in range(self._get_num_rounds(bracket)):
                size = min(super()._get_size(bracket, rung), math.ceil(left / self.factor**rung))
                trials, epochs = trials + size, epochs + size * (self._get_epochs(bracket, rung) - before)
                before = self._get_epochs(bracket, rung)
            left -= min(super()._get_size(bracket, 0), left)
        return trials, epochs

    def _start_new_bracket(self) -> None:
        super()._start_new_bracket()
        self._brackets[-1]["left"] = self.candidates - self._count_tried()

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        left = next((b["left"] for b in self._brackets if b["bracket_num"] == bracket_num), self.candidates)
        return min(super()._get_size(bracket_num, round_num), math.ceil(left / self.factor**round_num))

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        failed = [trial for trial in self.trials.values() if trial.status == TrialStatus.FAILED]
        for trial in failed:
            trial.status, trial.score = TrialStatus.COMPLETED, math.inf
        try:
            return super().populate_space(trial_id)
        finally:
            for trial in failed:
                trial.status, trial.score = TrialStatus.FAILED, None


def make_oracle(search: Search, workdir: pathlib.Path) -> Unkillable:
    """The oracle of a search, at its beginning.

    None of KerasTuner's grid search: the lists by which that finds its next trial are not part of its state, so once
    killed it stops early, or tries a trial twice.
    """
    options = {
        "candidates": search_space.count_candidates(search),
        "limit": None if search.algorithm == "hyperband" else search.max_trials or search_space.TRIALS,
        "lock_of": lambda trial: trials_module.lock_of(workdir, trial),
        "hyperparameters": space(search),
        "seed": search.student.seed + 1,  # 0 means any to KerasTuner
    }
    if search.algorithm == "hyperband":
        oracle = Hyperband(max_epochs=search.epochs, factor=FACTOR, **options)
    elif search.algorithm == "bayesian":
        # KerasTuner's own three random trials a dimension are more than most searches here have at all.
        oracle = Bayesian(max_trials=None, num_initial_points=len(options["hyperparameters"].space) + 1, **options)
    else:
        oracle = RandomSearch(max_trials=None, **options)
    oracle._set_project_dir(str(workdir), trials_module.STATE)
    return oracle
