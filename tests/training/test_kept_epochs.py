"""Epochs that a run keeps: each equals a run whose schedule ends there, teaches as RUN@N, and is published."""

import dataclasses
import re
import shutil

import numpy as np
import pytest

from kdzoo.experiments import grid
from kdzoo.hub import models
from kdzoo.publishing import publisher
from kdzoo.reports import finished_runs
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import finished, train
from kdzoo.training.state import Stopped
from test_resume import assert_same, stop_after, three_epochs
from zoo import InputError

SCRATCH = {"teachers": (), **METHODS["none"]}


@pytest.fixture
def config(npz) -> RunConfig:
    """Three epochs of four steps, from scratch."""
    return three_epochs(npz, None, **SCRATCH, keep_epochs="1,2")


def test_a_kept_epoch_is_a_run_whose_schedule_ends_there(config, tmp_path):
    run = tmp_path / "run"
    train.run(config, run)
    train.run(dataclasses.replace(config, keep_epochs=""), tmp_path / "keeps_none")
    kept, none = (records.result(records.read(path)) for path in (run, tmp_path / "keeps_none"))
    assert kept | {"config": kept["config"] | {"keep_epochs": ""}} == none
    for epoch in (1, 2):
        cut = dataclasses.replace(config, schedule=f"2-3@{epoch}", keep_epochs="")
        record = train.run(cut, tmp_path / f"cut{epoch}")
        assert record["name"] == f"wrn10-1_2-3@{epoch}"
        assert [row["lr"] for row in record["history"]] == [0.1] * epoch  # not the steps of a shrunk schedule
        assert_same(tmp_path / f"cut{epoch}", run / "epochs" / str(epoch))
        assert train.run(cut, run / "epochs" / str(epoch))["started"] != record["started"]  # found finished
    assert list(finished_runs.find([tmp_path])) == ["cut1", "cut2", "keeps_none", "run"]
    assert list(finished_runs.find([run / "epochs"])) == ["1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"ema_momentum": 0.8}])
def test_a_run_that_is_stopped_keeps_the_same(config, fields, tmp_path):
    config = dataclasses.replace(config, **fields)
    train.run(config, tmp_path / "undisturbed")
    stopped = tmp_path / "stopped"
    for calls in (2, 1, 2):
        with pytest.raises(Stopped):
            train.run(config, stopped, stopping=stop_after(calls))
    train.run(config, stopped)
    assert_same(tmp_path / "undisturbed", stopped)
    for epoch in "12":
        assert_same(tmp_path / "undisturbed/epochs" / epoch, stopped / "epochs" / epoch)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kd", "ft", "dkd"])
def test_shares_of_the_epochs_are_those_of_the_full_schedule(npz, teacher_run, tmp_path, method):
    fields = METHODS["kd"] if method == "kd" else {"distillation_method": method, "method_weight": 1.0}
    config = three_epochs(npz, teacher_run, **fields, kd_until=0.67, keep_epochs="1,2", lr=0.01)
    train.run(config, tmp_path / "run", teacher_cache="off")
    for epoch in (1, 2):
        cut = dataclasses.replace(config, schedule=f"2-3@{epoch}", keep_epochs="")
        train.run(cut, tmp_path / f"cut{epoch}", teacher_cache="off")
        np.testing.assert_equal(
            [np.asarray(w) for w in models.resolve(tmp_path / f"run@{epoch}").build().weights],
            [np.asarray(w) for w in models.resolve(tmp_path / f"cut{epoch}").build().weights],
        )


@pytest.mark.slow
def test_a_kept_epoch_teaches_and_is_published(config, npz, tmp_path):
    pytest.importorskip("tensorflow")  # publishing needs it
    train.run(dataclasses.replace(config, keep_epochs="2"), tmp_path / "run")
    teacher = f"{tmp_path / 'run'}@2"
    student = three_epochs(npz, teacher, kd_until=0.5)
    record = train.run(student, tmp_path / "student", teacher_cache="off")
    (of_teacher,) = record["teachers"]
    assert (of_teacher["name"], of_teacher["digest"]) == ("wrn10-1_2-3@2", models.resolve(teacher).digest())
    assert of_teacher["test_error_last"] == records.read(tmp_path / "run")["history"][1]["test_error"]
    assert finished.changes(student, record) == []
    directory = publisher.publish([teacher], tmp_path / "models", name="noise/wrn10-1_2-3@2")
    assert models.load("noise/wrn10-1_2-3@2", path=tmp_path / "models").count_params()
    assert directory == tmp_path / "models/noise/wrn10-1_2-3@2"
    with pytest.raises(InputError, match=r"run/epochs/1/record\.json"):
        models.resolve(f"{tmp_path / 'run'}@1")


@pytest.mark.slow
def test_an_epoch_that_has_passed_cannot_be_kept(config, tmp_path):
    run, early = tmp_path / "run", dataclasses.replace(config, keep_epochs="1")
    with pytest.raises(Stopped, match="epoch 2 of 3"):
        train.run(dataclasses.replace(config, keep_epochs=""), run, stopping=stop_after(6))
    line = f"still to come, or were kept, unless restart is set. Received: 1, but {re.escape(str(run))} has done 1 "
    with pytest.raises(InputError, match=line):
        train.run(early, run)
    train.run(dataclasses.replace(config, keep_epochs="2"), run)
    record = records.read(run)
    with pytest.raises(InputError, match=r"Received: 1, but .* has done 3 epochs"):
        train.run(early, run)
    assert records.read(run) == record
    assert train.run(dataclasses.replace(config, keep_epochs=""), run) == record
    train.run(early, run, restart=True)
    assert [path.name for path in (run / "epochs").iterdir()] == ["1"]


@pytest.mark.parametrize("spec", [".@5", "..@5", "@5", "x@", "x@5", "runs/x@05", "x@1234567", "@", "a@b@3"])
def test_a_kept_epoch_that_is_not_there_is_one_line(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"must be the directory|is the directory of a finished run"):
        models.resolve(spec)


@pytest.mark.parametrize("text", ["0", "3", "1,", "x", "-1", "1;2", "1.0", "²", "1234567"])
def test_epochs_to_keep_lie_before_the_last(config, text):
    with pytest.raises(InputError, match=r"keep_epochs must be numbers from 1 to 2, .* Received: "):
        dataclasses.replace(config, keep_epochs=text).check()


def test_a_grid_names_kept_epochs_as_teachers(tmp_path):
    common = {"dataset": "digits", "student": "wrn10-1", "schedule": "1-2"}
    teacher = {"model": "wrn10-2", "schedule": "2-3", "keep_epochs": "1,2"}
    runs = [teacher, common | {"teacher": ["wrn10-2_2-3_seed0@1", "wrn10-2_2-3_seed0"]}]
    _, first, last = grid.expand({"workdir": str(tmp_path), "runs": runs})
    assert first.name == "wrn10-1_1-2_kd_wrn10-2_2-3_seed0@1_seed0"
    assert first.needs == last.needs == ("wrn10-2_2-3_seed0",)
    assert first.config.teachers == (f"{tmp_path}/wrn10-2_2-3_seed0@1",)
    moved = grid.relocate(first, tmp_path / "other")
    assert moved.config.teachers == (f"{tmp_path}/other/wrn10-2_2-3_seed0@1",)
    runs[1]["teacher"] = "wrn10-2_2-3_seed0@3"
    with pytest.raises(
        InputError, match=r"one of its keep_epochs\. Received: wrn10-2_2-3_seed0@3, whose run keeps 1, 2"
    ):
        grid.expand({"workdir": str(tmp_path), "runs": runs})


@pytest.mark.slow
def test_a_finished_run_of_a_sweep_that_has_not_kept_an_epoch_is_named(config, tmp_path):
    from kdzoo.experiments.run_queue import mark_finished

    train.run(dataclasses.replace(config, keep_epochs="1"), tmp_path / "run")
    run = grid.Run("run", tmp_path / "run", config)
    mark_finished(run)
    assert (run.state, run.detail[:20]) == ("failed", "keep_epochs must be ")
    shutil.copytree(tmp_path / "run/epochs/1", tmp_path / "run/epochs/2")
    mark_finished(run)
    assert run.state == "finished"
