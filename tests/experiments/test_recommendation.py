"""The ranking of trials."""

import math

import pytest

from kdzoo.experiments import outcomes, recommendation
from kdzoo.experiments.outcomes import Outcome
from kdzoo.experiments.search_space import Search
from kdzoo.runs.config import RunConfig


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


@pytest.mark.parametrize(
    ("train_examples", "line"),
    [(0, "With the held-out examples trained on as well:"), (256, "With the same 256 training examples:")],
)
def test_the_recommended_runs_train_on_what_it_describes(train_examples, line, tmp_path):
    student = RunConfig("wrn10-1", "1-2", train_examples=train_examples, val_examples=100)
    search = Search(student, teachers=("none",), algorithm="random")
    trial = Outcome("0000", {"teacher": "none"}, "COMPLETED", 9.0, 2)
    trained = []
    result = recommendation.recommend(
        search, [trial], tmp_path, finished=True, command=lambda config, directory: trained.append(config) or []
    )
    assert f"Recommended: no teacher. {line}" in recommendation.render(result)
    assert [(config.train_examples, config.val_examples) for config in trained] == [(train_examples, 0)]
