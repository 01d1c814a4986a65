"""A resumed run ends as an undisturbed one: in one process, at chosen steps. `test_kills.py` kills at random ones."""

import dataclasses
import itertools
import json
import logging
import pathlib

import numpy as np
import pytest

from kdzoo import files
from kdzoo.runs import checkpoints, machine, records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.runs.weights import WEIGHTS, load_model
from kdzoo.training import train
from kdzoo.training.state import Stopped
from kdzoo.training.steps import call_ends
from zoo import InputError

KD = METHODS["kd"]


@pytest.fixture
def config(npz, teacher_run) -> RunConfig:
    """Three epochs of four steps."""
    return three_epochs(npz, teacher_run)


def three_epochs(npz: pathlib.Path, teacher_run: pathlib.Path, **fields) -> RunConfig:
    """Distillation by KD, in batches of 32."""
    of_all = {"dataset": f"npz:{npz}", "batch_size": 32, "seed": 1, "teachers": (str(teacher_run),), **KD}
    return RunConfig("wrn10-1", "2-3", **of_all | fields)


def stop_after(calls: int):
    """Returns false so many times, then true."""
    count = itertools.count()
    return lambda: next(count) >= calls


def weights(workdir: pathlib.Path) -> list[np.ndarray]:
    return [np.asarray(weight) for weight in load_model(workdir).weights]


def assert_same(one: pathlib.Path, two: pathlib.Path) -> None:
    """Records equal but for the clock's part, weights to the bit."""
    a, b = (json.dumps(records.result(records.read(path))) for path in (one, two))
    assert a == b
    for x, y in zip(weights(one), weights(two), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kd_until", [1.0, pytest.param(0.67, marks=pytest.mark.slow)])
def test_a_resumed_run_ends_as_an_undisturbed_one(config, tmp_path, kd_until):
    config = dataclasses.replace(config, kd_until=kd_until)
    train.run(config, tmp_path / "undisturbed")
    workdir = tmp_path / "stopped"
    stops = []
    for calls in (1, 1, 0, 0, 3):  # mid-epoch, at an epoch's end, twice with nothing in between
        with pytest.raises(Stopped) as stopped:
            train.run(config, workdir, stopping=stop_after(calls))
        stops.append(str(stopped.value))
        assert not (workdir / records.RECORD).exists()
    assert stops == [
        "in epoch 1 of 3, step 2 of 4",
        "after epoch 1 of 3",
        "in epoch 2 of 3, step 1 of 4",
        "in epoch 2 of 3, step 2 of 4",
        "in epoch 3 of 3, step 2 of 4",
    ]
    record = train.run(config, workdir)
    assert [(session["epoch"], session["step"]) for session in record["sessions"]] == [
        (0, 0),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 2),
    ]
    assert_same(tmp_path / "undisturbed", workdir)
    assert not (workdir / checkpoints.DIRECTORY).exists()


def test_time_makes_checkpoints_within_an_epoch_and_two_are_kept(config, tmp_path):
    seen = []

    def stopping() -> bool:
        seen.append(sorted(int(path.name[:9]) for path in (tmp_path / "run" / checkpoints.DIRECTORY).glob("*.npz")))
        return False

    train.run(config, tmp_path / "run", checkpoint_minutes=1e-9, stopping=stopping)
    assert all(len(steps) <= 3 for steps in seen)  # a third for the moment between writing one and removing one
    assert any(step % 4 for steps in seen for step in steps)
    with pytest.raises(InputError, match="checkpoint_minutes must be above 0"):
        train.run(config, tmp_path / "other", checkpoint_minutes=0)
    assert not (tmp_path / "other").exists()


@pytest.fixture
def stopped(config, tmp_path) -> pathlib.Path:
    """A run stopped after 6 of its 12 steps, with checkpoints at 4 and 6."""
    with pytest.raises(Stopped):
        train.run(config, tmp_path / "run", stopping=stop_after(5))
    assert [path.name[:9] for path in sorted((tmp_path / "run" / checkpoints.DIRECTORY).iterdir())] == [
        "000000004",
        "000000006",
    ]
    return tmp_path / "run"


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(config, stopped, tmp_path, caplog, damage):
    newest = max((stopped / checkpoints.DIRECTORY).iterdir())
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    newest.write_bytes({"truncated": content[:-1], "flipped": content}[damage])
    with caplog.at_level(logging.WARNING):
        record = train.run(config, stopped)
    (line,) = [r.getMessage() for r in caplog.records if "amaged" in r.getMessage()]
    assert "from 000000004" in line
    assert str(newest) in line
    assert record["sessions"][-1]["epoch"] == 1
    train.run(config, tmp_path / "undisturbed")
    assert_same(tmp_path / "undisturbed", stopped)


def test_without_a_whole_checkpoint_a_run_is_not_silently_begun_anew(config, stopped):
    for path in (stopped / checkpoints.DIRECTORY).iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="whole checkpoint; restart begins it anew"):
        train.run(config, stopped)
    assert train.run(config, stopped, restart=True)["sessions"][0]["step"] == 0


def test_what_else_lies_there_does_no_harm(config, stopped):
    for name in ("notes.txt", "999999999-abc.npz", "999999999.npz.partial"):
        (stopped / checkpoints.DIRECTORY / name).write_text("x")
    assert train.run(config, stopped)["sessions"][1]["step"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.05}, "lr 0.1, now 0.05"),
        ({"schedule": "2-4", "seed": 2}, "seed 1, now 2; schedule 2-3, now 2-4"),
        ({"model": "wrn10-2"}, "model wrn10-1, now wrn10-2"),
        ({"dataset_name": "quarters"}, "dataset_name npz, now quarters"),
    ],
)
def test_an_unfinished_run_of_another_configuration_is_refused_and_kept(config, stopped, changes, message):
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"another configuration, unless restart is set. Received: .*{message}"):
        train.run(dataclasses.replace(config, **changes), stopped)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_teacher_and_data_count_by_what_they_are_not_where(config, stopped, teacher_run, npz, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (npz, teacher_run / records.RECORD, teacher_run / WEIGHTS):
        (moved / path.name).write_bytes(path.read_bytes())
    elsewhere = dataclasses.replace(config, teachers=(str(moved),), dataset_name=f"npz:{npz}")
    elsewhere = dataclasses.replace(elsewhere, dataset=f"npz:{moved / npz.name}")
    with pytest.raises(Stopped):
        train.run(elsewhere, stopped, stopping=stop_after(0))
    alone = dataclasses.replace(config, schedule="1-1", teachers=(), ce_weight=1.0, kd_weight=0.0)
    train.run(alone, moved / "t")
    with pytest.raises(InputError, match=r"unless restart is set. Received: .*teachers "):
        train.run(dataclasses.replace(config, teachers=(str(moved / "t"),)), stopped)


def test_resuming_on_another_machine_is_allowed_with_a_warning(config, stopped, monkeypatch, caplog):
    here = machine.hardware()
    monkeypatch.setattr(machine, "hardware", lambda: {**here, "cores": here["cores"] + 1})
    with caplog.at_level(logging.WARNING):
        record = train.run(config, stopped)
    assert any("other hardware, so maybe not to the bit" in r.getMessage() for r in caplog.records)
    assert [session["hardware"]["cores"] for session in record["sessions"]] == [here["cores"], here["cores"] + 1]


def test_restart_throws_an_unfinished_run_away(config, stopped):
    record = train.run(dataclasses.replace(config, lr=0.05), stopped, restart=True)
    assert record["config"]["lr"] == 0.05
    assert len(record["sessions"]) == 1


def test_a_workdir_belongs_to_one_process(config, stopped):
    with files.locked(stopped), pytest.raises(InputError, match="in use by another process"):
        train.run(config, stopped)
    train.run(config, stopped)


def test_event_files_of_an_interrupted_run_are_one_curve(config, stopped):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = train.run(config, stopped)["history"]
    assert len(list(stopped.glob("events*"))) == 1
    events = accumulator.EventAccumulator(str(stopped)).Reload()
    curve = [(e.step, e.tensor_proto.float_val[0], e.wall_time) for e in events.Tensors("error/test")]
    assert curve == [(row["epoch"], pytest.approx(row["test_error"]), row["time"]) for row in history]


def test_a_full_disk_is_an_error_that_loses_nothing(config, stopped, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_atomically", full)
        with pytest.raises(InputError, match=r"room for checkpoints. .*No space left"):
            train.run(config, stopped)
    assert train.run(config, stopped)["sessions"][1]["step"] == 2


@pytest.mark.parametrize(
    ("steps", "fused", "ends"),
    [
        (4, 1, [1, 2, 3, 4]),
        (4, 64, [4]),
        (390, 64, list(range(39, 391, 39))),
        (7, 3, [3, 6, 7]),
        (389, 64, [56, 112, 168, 224, 280, 336, 389]),
        (0, 64, []),
    ],
)
def test_call_ends(steps, fused, ends):
    assert call_ends(steps, fused=fused) == ends
