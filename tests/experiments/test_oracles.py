"""The search algorithms without training: scores are a function of the trial."""

import dataclasses
import json
import pathlib
import random

import pytest

from kdzoo.experiments import locks, search_space
from kdzoo.experiments.search_directory import lock_directory
from kdzoo.experiments.search_space import Search
from kdzoo.runs.config import RunConfig
from search_examples import SPACE, STUDENT

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")


def score(values: dict, epochs: int) -> float:
    text = json.dumps({key: value for key, value in values.items() if not key.startswith("tuner/")}, sort_keys=True)
    return random.Random(text).uniform(1, 50) + 50 / epochs


def is_failing(values: dict) -> bool:
    return values["teacher"] == "wrn10-2" and values["teacher_schedule"] == "1-1"


def open_oracle(search: Search, workdir: pathlib.Path):
    from kdzoo.experiments import oracles

    oracle = oracles.make_oracle(search, workdir)
    if oracle.state_file.exists():
        oracle.reload()
    return oracle


def play(oracle, search: Search, fails=lambda values: False) -> None:
    """Creates and ends trials until there are no more."""
    while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
        assert trial.status == "RUNNING"
        epochs = trial.hyperparameters.values.get("tuner/epochs", search.epochs)
        trial.status = "FAILED"
        if not fails(trial.hyperparameters.values):
            oracle.update_trial(trial.trial_id, {"val_error": score(trial.hyperparameters.values, epochs)}, step=epochs)
            trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert oracle.finished


def trials_of(oracle) -> list:
    return [(t.trial_id, t.hyperparameters.values, t.status, t.score) for t in oracle.trials.values()]


SEARCHES = {
    "random": dataclasses.replace(SPACE, algorithm="random", max_trials=6),
    "bayesian": dataclasses.replace(SPACE, algorithm="bayesian", max_trials=9),
    "hyperband": dataclasses.replace(SPACE, student=RunConfig("wrn10-1", "3-9")),
}


@pytest.mark.parametrize("algorithm", SEARCHES)
def test_a_search_resumes_from_each_of_its_states(algorithm, tmp_path):
    search = SEARCHES[algorithm]
    undisturbed = open_oracle(search, tmp_path / "undisturbed")
    states, path = [], undisturbed.state_file
    save = undisturbed.save
    undisturbed.save = lambda: (save(), states.append(path.read_bytes()))
    play(undisturbed, search, is_failing)
    assert len(states) == 2 * len(undisturbed.trials)
    for i, state in enumerate(states[:: 1 if algorithm == "random" else 3]):
        (tmp_path / f"{i}" / "search").mkdir(parents=True)
        (tmp_path / f"{i}" / "search" / "oracle.json").write_bytes(state)
        killed = open_oracle(search, tmp_path / f"{i}")
        play(killed, search, is_failing)
        assert trials_of(killed) == trials_of(undisturbed)
    again = open_oracle(search, tmp_path / "undisturbed")
    play(again, search)
    assert trials_of(again) == trials_of(undisturbed)
    epochs = [values.get("tuner/epochs", search.epochs) for _, values, *_ in trials_of(again)]
    done = sum(epochs) - sum(values.get("tuner/initial_epoch", 0) for _, values, *_ in trials_of(again))
    assert again.plan(search) == (len(epochs), done)


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_a_search_ends_when_each_candidate_was_tried(algorithm, tmp_path):
    few = Search(STUDENT, ("none", "wrn10-1"), ("1-1", "1-2"), ("kd", "at"), (1.0, 4.0))
    few = dataclasses.replace(few, algorithm=algorithm, max_trials=100)
    assert search_space.count_candidates(few) == 1 + 2 * (2 + 1)
    oracle = open_oracle(few, tmp_path)
    play(oracle, few)
    tried = [json.dumps(values, sort_keys=True) for _, values, *_ in trials_of(oracle)]
    assert len(tried) == len(set(tried)) == 7
    assert not any("temperature" in text for text in tried if '"at"' in text or "none" in text)
    # The limit can be raised later.
    one = dataclasses.replace(few, max_trials=3)
    started = open_oracle(one, tmp_path / "more")
    play(started, one)
    more = dataclasses.replace(few, max_trials=4)
    grown = open_oracle(more, tmp_path / "more")
    play(grown, more)
    assert trials_of(grown)[:3] == trials_of(started)
    assert len(grown.trials) == 4


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("algorithm", SEARCHES)
def test_each_seed_of_a_run_is_a_seed_of_a_search(algorithm, tmp_path):
    seeds = {}
    for seed in (0, 2**32 - 2, 2**32 - 1):
        student = dataclasses.replace(SEARCHES[algorithm].student, seed=seed)
        search = dataclasses.replace(SEARCHES[algorithm], student=student)
        oracle = open_oracle(search, tmp_path / f"{seed}")
        seeds[seed] = oracle.seed
    assert oracle.create_trial("tuner0").status == "RUNNING"
    if algorithm == "bayesian":
        oracle.gpr.fit([[0.0], [1.0]], [0.0, 1.0])
    assert seeds == {0: 1, 2**32 - 2: 2**32 - 1, 2**32 - 1: 1 if algorithm == "bayesian" else 2**32}


def test_hyperband_promotes_the_best_in_a_space_smaller_than_its_brackets(tmp_path):
    search = dataclasses.replace(
        SPACE, student=RunConfig("wrn10-1", "9-27"), methods=("kd",), kd_weights=(0.9,), kd_untils=(1.0,)
    )
    assert search_space.count_candidates(search) == 9
    oracle = open_oracle(search, tmp_path)
    play(oracle, search)
    rounds = [values["tuner/epochs"] for _, values, *_ in trials_of(oracle)]
    assert rounds == [1] * 9 + [3] * 3 + [9] + [27]
    by_id = {trial: values for trial, values, *_ in trials_of(oracle)}
    best = min((score(values, 1), trial) for trial, values in by_id.items() if values["tuner/epochs"] == 1)[1]
    assert best in {values.get("tuner/trial_id") for values in by_id.values()}
    # Failures count as the worst, and keep nothing from being promoted.
    oracle = open_oracle(search, tmp_path / "failing")
    play(oracle, search, is_failing)
    assert [values["tuner/epochs"] for _, values, *_ in trials_of(oracle)] == rounds
    assert oracle.get_best_trials(1)[0].hyperparameters.values["tuner/epochs"] == 27


def test_the_trial_of_a_dead_worker_moves_to_the_next_worker(tmp_path):
    search = SEARCHES["random"]
    oracle = open_oracle(search, tmp_path)
    one, two = oracle.create_trial("worker0"), oracle.create_trial("worker1")
    assert oracle.create_trial("worker0") is one  # it was killed and restarted
    restarted = open_oracle(search, tmp_path)  # the chief
    held = lock_directory(tmp_path, one.trial_id)
    with locks.exclusive(held, lambda: False):  # worker0 still trains it
        assert restarted.create_trial("worker2").trial_id == two.trial_id
        assert restarted.create_trial("worker3").trial_id not in (one.trial_id, two.trial_id)
    assert restarted.create_trial("worker4").trial_id == one.trial_id


def test_a_worker_waits_while_the_last_trial_may_be_abandoned(tmp_path):
    search = dataclasses.replace(SEARCHES["random"], max_trials=1)
    oracle = open_oracle(search, tmp_path)
    trial = oracle.create_trial("worker0")
    assert oracle.create_trial("worker1").status == "IDLE"
    oracle.closed = True  # the budget is over
    assert oracle.create_trial("worker1").status == "STOPPED"
    oracle.closed = False
    oracle.update_trial(trial.trial_id, {"val_error": 1.0})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    assert oracle.create_trial("worker1").status == "STOPPED"
