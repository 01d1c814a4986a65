"""The search algorithms: KerasTuner's random search, Bayesian optimisation and Hyperband, each made resumable."""

import math
import pathlib
import warnings
from typing import Any

import keras_tuner as kt
import numpy as np
from keras_tuner.src.engine.trial import TrialStatus

from kdzoo.experiments import search_space
from kdzoo.experiments.resumable_oracle import ResumableOracle
from kdzoo.experiments.search_space import NONE, Search, tunes_kd

MOST_SEED = 2**32 - 1  # of NumPy and scikit-learn, which Bayesian optimisation uses
FACTOR = 3  # Hyperband: each rung trains a third of the trials for three times as many epochs


class RandomSearch(ResumableOracle, kt.oracles.RandomSearchOracle):
    """Random search that tries each candidate at most once."""


class Bayesian(ResumableOracle, kt.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation whose proposals are functions of the seed and the trials before."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes a candidate that was not tried, or ends the search."""
        if self.count_tried() >= self.candidates:
            return {"status": TrialStatus.STOPPED}
        # KerasTuner does not save its random state, so a search would not resume exactly.
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Gaussian process warns about few points
            response = super().populate_space(trial_id)
        if response["status"] == TrialStatus.RUNNING and self._duplicate(response["values"]):
            return self._random_populate_space()  # the same candidate would have the same error
        return response


class Hyperband(ResumableOracle, kt.oracles.HyperbandOracle):
    """Hyperband for small spaces and for trials that fail.

    KerasTuner's promotes no trial if a bracket is larger than the search space: here a bracket is at most as large as
    what is left of the space. KerasTuner's waits until all trials of a rung are completed: here a failed trial counts
    as completed, with the highest error.
    """

    def plan(self, search: Search) -> tuple[int, int]:
        """Returns the most trials that the search can have, and the student's epochs in them."""
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
        self._brackets[-1]["left"] = self.candidates - self.count_tried()

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        left = next((b["left"] for b in self._brackets if b["bracket_num"] == bracket_num), self.candidates)
        return min(super()._get_size(bracket_num, round_num), math.ceil(left / self.factor**round_num))

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes a new candidate or the promotion of a completed trial."""
        failed = [trial for trial in self.trials.values() if trial.status == TrialStatus.FAILED]
        for trial in failed:
            trial.status, trial.score = TrialStatus.COMPLETED, math.inf
        try:
            return super().populate_space(trial_id)
        finally:
            for trial in failed:
                trial.status, trial.score = TrialStatus.FAILED, None


def make_oracle(search: Search, workdir: pathlib.Path) -> ResumableOracle:
    """Returns the oracle of a search at its start.

    KerasTuner's grid search is left out: the lists that determine its next trial are not part of its state, so after a
    kill it would stop early, or try a candidate twice.
    """
    space = hyperparameters(search)
    options = {
        "workdir": workdir,
        "candidates": search_space.count_candidates(search),
        "limit": None if search.algorithm == "hyperband" else search.max_trials or search_space.TRIALS,
        "hyperparameters": space,
        "seed": search.student.seed + 1,  # for KerasTuner 0 is no seed
    }
    if search.algorithm == "hyperband":
        return Hyperband(max_epochs=search.epochs, factor=FACTOR, **options)
    if search.algorithm == "bayesian":
        # KerasTuner's default of three random trials a dimension exceeds most searches here.
        options["seed"] = (options["seed"] - 1) % MOST_SEED + 1
        return Bayesian(max_trials=None, num_initial_points=len(space.space) + 1, **options)
    return RandomSearch(max_trials=None, **options)


def hyperparameters(search: Search) -> kt.HyperParameters:
    """Returns the search space for KerasTuner. A hyperparameter without effect in some trials is conditional."""
    hp = kt.HyperParameters()
    if search.students:
        hp.Choice("student", list(search.students))
    hp.Choice("teacher", list(search.teachers))
    teachers = [teacher for teacher in search.teachers if teacher != NONE]
    if search.architectures:
        with hp.conditional_scope("teacher", list(search.architectures)):
            hp.Choice("teacher_schedule", list(search.teacher_schedules))
    if not teachers:
        return hp
    with hp.conditional_scope("teacher", teachers):
        hp.Choice("method", list(search.methods))
        hp.Choice("kd_until", list(search.kd_untils))
        if with_kd := [method for method in search.methods if tunes_kd(method)]:
            with hp.conditional_scope("method", with_kd):
                hp.Choice("temperature", list(search.temperatures))
                hp.Choice("kd_weight", list(search.kd_weights))
    return hp
