"""Searches that train."""

import dataclasses
import json

import pytest

from conftest import ROOT
from kdzoo import files
from kdzoo.experiments import recommendation, search_state, trials
from kdzoo.experiments.search_directory import read_progress
from kdzoo.experiments.search_space import Search
from kdzoo.experiments.trials import run_trial, train_until
from kdzoo.runs import checkpoints, records
from kdzoo.runs.config import RunConfig
from zoo import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")


@pytest.fixture(scope="module")
def student(npz) -> RunConfig:
    return RunConfig("wrn10-1", "1-3", dataset=f"npz:{npz}", batch_size=32, val_examples=32, lr=0.02)


def run(search: Search, workdir, **options):
    from kdzoo.experiments import run_search

    lines = []
    search, outcomes, finished = run_search.run(search, workdir, log=lines.append, **options)
    return search, outcomes, finished, lines


@pytest.mark.slow
def test_hyperband_resumes_the_best_and_trains_no_epoch_twice(student, tmp_path):
    search = Search(student, teachers=("none", "wrn10-1"), teacher_schedules=("1-1",), temperatures=(1.0, 4.0, 8.0))
    search, outcomes, finished, lines = run(search, tmp_path)
    assert finished
    rungs = [(outcome.status, outcome.epochs) for outcome in outcomes]
    assert rungs == [("COMPLETED", epochs) for epochs in (1, 1, 1, 3, 3)]
    promoted = outcomes[3]
    assert promoted.origin == min(outcomes[:3], key=lambda outcome: outcome.val_error).trial
    assert any(line.endswith(f"to epoch 3, resumed from trial {promoted.origin}") for line in lines)
    record = records.read(tmp_path / "trials" / promoted.trial)
    assert [session["epoch"] for session in record["sessions"]] == [0, 1]
    origin, _ = read_progress(tmp_path / "trials" / promoted.origin)
    assert len(origin) == 1
    assert record["history"][0] == origin[0]
    assert promoted.val_error == record["history"][-1]["val_error"]
    cost = recommendation.count_cost(search, outcomes, tmp_path)
    assert (cost["student_epochs"], cost["teachers"], cost["teacher_epochs"]) == (1 + 1 + 1 + 2 + 3, 1, 1)
    assert sum("wrn10-1_1-1_seed0: training" in line for line in lines) == 1
    # Reading it again costs nothing, and another space is refused.
    again = run(search, tmp_path)
    assert again[1:3] == (outcomes, True)
    with pytest.raises(InputError, match=r"the same space.*temperatures \[1.0, 4.0, 8.0\], now \[1.0\]"):
        run(dataclasses.replace(search, temperatures=(1.0,)), tmp_path)


def test_a_stopped_search_resumes_and_a_trial_at_its_last_epoch_trains_no_more(student, tmp_path):
    search = Search(dataclasses.replace(student, schedule="1-2"), teachers=("none",), algorithm="random")
    calls = []
    _, (outcome,), finished, _ = run(search, tmp_path, stopping=lambda: calls.append(0) or len(calls) > 2)
    assert not finished
    assert (outcome.status, outcome.values) == ("RUNNING", {"teacher": "none"})
    trial = tmp_path / "trials" / "0000"
    assert checkpoints.load(trial)[1]["place"]["step"] > 0
    assert json.loads((tmp_path / "search" / "oracle.json").read_text())["ongoing_trials"] == {"tuner0": "0000"}
    # As if it had trained its only epoch, and had been killed before it could report the error.
    train_until(search.student, trial, 1, stopping=lambda: False)
    sessions = checkpoints.load(trial)[1]["place"]["sessions"]
    values = outcome.values | {"tuner/epochs": 1}
    error = run_trial(search, "0000", values, tmp_path, stopping=lambda: True, log=print)
    assert (error, 1) == (read_progress(trial)[0][0]["val_error"], len(read_progress(trial)[0]))
    assert checkpoints.load(trial)[1]["place"]["sessions"] == sessions
    _, (outcome,), finished, _ = run(search, tmp_path)
    assert finished
    assert (outcome.status, outcome.epochs) == ("COMPLETED", 2)


def test_a_trial_killed_between_its_last_epoch_and_its_record_gets_one(student, tmp_path):
    from kdzoo.training import train

    def kill(progress) -> None:
        if progress.row:
            raise KeyboardInterrupt

    search, _ = search_state.prepare(Search(dataclasses.replace(student, schedule="1-1"), teachers=("none",)), tmp_path)
    trial = tmp_path / "trials" / "0000"
    with pytest.raises(KeyboardInterrupt):
        train.run(search.student, trial, progress=kill)
    assert len(read_progress(trial)[0]) == 1
    assert not (trial / records.RECORD).exists()
    error = run_trial(search, "0000", {"teacher": "none"}, tmp_path, stopping=lambda: False, log=print)
    assert records.read(trial)["history"][-1]["val_error"] == error


def test_a_search_continues_after_trials_that_fail(student, tmp_path):
    search = Search(
        dataclasses.replace(student, schedule="1-1", lr=1e30),
        teachers=("none", "wrn10-1"),
        teacher_schedules=("1-1",),
        algorithm="random",
    )
    search, outcomes, finished, lines = run(search, tmp_path)
    assert finished
    assert [outcome.status for outcome in outcomes] == ["FAILED"] * 2
    assert all("Training diverged in epoch 1" in outcome.message for outcome in outcomes)
    assert sum("failed: Training diverged" in line for line in lines) == 2
    result = recommendation.recommend(search, outcomes, tmp_path, finished=True, command=lambda config, directory: [])
    assert result["best"] is None
    assert "there is nothing to recommend" in recommendation.render(result)


def test_two_searches_cannot_share_a_directory(student, tmp_path):
    (tmp_path / "search").mkdir()
    with files.locked(tmp_path / "search"), pytest.raises(InputError, match="in use by another process"):
        run(Search(student, teachers=("none",)), tmp_path)


def test_a_search_impossible_on_its_data_is_refused_before_anything_is_written(student, tmp_path):
    for changes, message in (
        ({"model": "wrn11-1"}, "Received: depth 11"),
        ({"batch_size": 1000}, "batch_size must be at most the 96 training examples"),
        ({"val_examples": 129}, "together at most 128"),
        ({"dataset": "npz:none.npz"}, "no file none.npz"),
    ):
        with pytest.raises(InputError, match=message):
            run(Search(dataclasses.replace(student, **changes), teachers=("none",)), tmp_path / "search")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", trials.TEMPORARY)
def test_each_temporary_fault_is_part_of_a_message(part):
    other = (path for path in (ROOT / "kdzoo").rglob("*.py") if path.name != "trials.py")
    assert any(part in path.read_text() for path in other)
