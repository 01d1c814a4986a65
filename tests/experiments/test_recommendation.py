"""The ranking of trials."""

import math

import pytest

from kdzoo.experiments import outcomes
from kdzoo.experiments.outcomes import Outcome


def test_trials_are_ranked_by_epochs_then_error():
    def outcome(trial, error, epochs, **values):
        return Outcome(trial, {"teacher": "none"} | values, "COMPLETED", error, epochs)

    trials = [
        outcome("0000", 9.0, 1),
        outcome("0001", 5.0, 1),
        Outcome("0002", {"teacher": "none"}, "FAILED", None, 3),
        outcome("0003", 8.0, 3, **{"tuner/trial_id": "0000"}),
        outcome("0004", 7.0, 3),
    ]
    assert [trial.trial for trial in outcomes.rank(trials)] == ["0004", "0003", "0001"]
    # 7 and 8 % of 1000: each known to about 0.8 points. Of 100,000: to 0.08.
    assert outcomes.standard_error(7.0, 1000) == pytest.approx(100 * math.sqrt(0.07 * 0.93 / 1000), rel=0.01)
    assert outcomes.standard_error(0.0, 1000) > 0
    assert outcomes.count_ties(outcomes.rank(trials), 1000) == 1
    assert outcomes.count_ties(outcomes.rank(trials), 100_000) == 0
