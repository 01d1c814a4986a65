"""Precision that is measured: of the student's steps, and of a teacher's outputs."""

import dataclasses

import pytest

from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import precision, train
from kdzoo.training.state import Stopped
from zoo import InputError


@pytest.fixture
def config(npz, teacher_run) -> RunConfig:
    dataset = f"npz:{npz}"
    return RunConfig("wrn10-1", "1-2", dataset=dataset, batch_size=32, teachers=(str(teacher_run),), **METHODS["kd"])


def test_the_faster_precision_is_chosen(config, npz, monkeypatch):
    """Of two whose times are known; which one is faster is the machine's affair."""
    from kdzoo.data import sources

    dataset = sources.load(config.dataset)
    assert precision.choose(config, dataset, seconds=0.5) in precision.CANDIDATES
    for times, chosen in (
        ({"float32": 0.001, "mixed_bfloat16": 0.01}, "float32"),
        ({"float32": 0.01, "mixed_bfloat16": 0.005}, "mixed_bfloat16"),
        ({"float32": 0.005, "mixed_bfloat16": 0.01}, "float32"),
    ):
        import time

        steppers = {name: lambda seconds=seconds: time.sleep(seconds) for name, seconds in times.items()}
        monkeypatch.setattr(precision, "_stepper", lambda *args, steppers=steppers: steppers[args[-1]])
        assert precision.choose(config, dataset, seconds=0.05) == chosen


def test_an_interrupted_run_keeps_what_was_chosen(config, tmp_path, monkeypatch):
    config = dataclasses.replace(config, dtype_policy="auto")
    monkeypatch.setattr(precision, "choose", lambda *_: "float32")
    calls = iter([False, True])
    with pytest.raises(Stopped):
        train.run(config, tmp_path / "run", stopping=lambda: next(calls))
    monkeypatch.setattr(precision, "choose", lambda *_: "mixed_bfloat16")
    record = train.run(config, tmp_path / "run")
    assert record["config"]["dtype_policy"] == "float32"
    assert len(record["sessions"]) == 2


def test_a_teacher_in_bfloat16_is_compared_with_float32(config, published, tmp_path, caplog):
    record = train.run(dataclasses.replace(config, schedule="1-1", teacher_dtype="bfloat16"), tmp_path / "run")
    (teacher,) = record["teachers"]
    assert 0 < teacher["bfloat16_logits_apart"] < 0.2
    assert 50 <= teacher["bfloat16_agreement"] <= 100
    (message,) = [r.message for r in caplog.records if "bfloat16" in r.message]
    assert f"{teacher['bfloat16_agreement']:.2f} % of 64 test images" in message
    assert records.read(tmp_path / "run")["config"]["dtype_policy"] == "float32"
    external = dataclasses.replace(
        config, teacher_dtype="bfloat16", teachers=(str(published / "quarters/wrn10-1_2-3" / "1"),)
    )
    with pytest.raises(InputError, match="teacher_dtype must be auto for a teacher that is no run"):
        train.run(external, tmp_path / "external")
