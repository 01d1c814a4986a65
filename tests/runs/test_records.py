"""Records: read in one way, and checked against their schema."""

import copy
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from conftest import ROOT
from kdzoo.reports.groups import group_runs, varying
from kdzoo.runs import records
from zoo import InputError

RECORDS = sorted((*ROOT.glob("results/**/record.json"), *ROOT.glob("tests/**/record.json")))
RECORD = records.read(ROOT / "tests/fixtures/run")
LATENCY = {"median": 1.5, "p95": 2.0, "calls": 50, "batch": 1, "threads": 2}


def test_every_record_of_earlier_versions_is_valid() -> None:
    assert len(RECORDS) > 30
    for path in RECORDS:
        assert records.read(path.parent) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record["dataset"].update(mean="0.3"), 'dataset.mean must be array, not "0.3"'),
        (lambda record: record["dataset"].update(std=[0.2, 0, 0.2]), r"dataset.std\[1\] must be bigger than 0, not 0"),
        (lambda record: record["dataset"].update(image_shape=[32, 32]), "dataset.image_shape must contain at least 3"),
        (lambda record: record["dataset"].update(class_names="cat"), 'dataset.class_names must be array, not "cat"'),
        (lambda record: record["dataset"].update(class_names=["a", "a"]), "dataset.class_names must contain unique"),
        (lambda record: record["dataset"].update(class_names=["a", ""]), r"dataset.class_names\[1\] must be longer"),
        (lambda record: record["config"].update(model=None), "config.model must be string, not null"),
        (lambda record: record["config"].update(dtype_policy="float8"), "config.dtype_policy must be one of"),
        (lambda record: record.update(history=[]), "history must contain at least 1 items"),
        (lambda record: record["history"][0].update(loss="1.0"), r"history\[0\].loss must be number or null"),
        (lambda record: record.update(test_error_last=None), "test_error_last must be number"),
        (lambda record: record.update(teachers=[{"name": 3}]), r"teachers\[0\]"),
        (lambda record: record.pop("wall_seconds"), r"must contain \['wall_seconds'\] properties"),
        (lambda record: record.update(started="yesterday"), "started must be date-time"),
        (lambda record: record["config"].update(lr=0), "config.lr must be bigger than 0"),
        (lambda record: record.update(multiply_adds=-1), "multiply_adds must be bigger than or equal to 0"),
        (lambda record: record.update(peak_activation_bytes=1.5), "peak_activation_bytes must be integer"),
        (lambda record: record.update(latency_ms=1.5), "latency_ms must be object"),
        (lambda record: record.update(latency_ms={"median": 1, "p95": 2}), r"latency_ms must contain \["),
        (lambda record: record.update(latency_ms={**LATENCY, "median": 0}), "latency_ms.median must be bigger than 0"),
        (lambda record: record["config"].update(model="wrn11-1"), "config: A WRN's depth must be"),
        (lambda record: record["config"].update(ce_weight=0), "config: Loss weights must"),
        (lambda record: record.pop("method"), r"must contain \['method'\] properties"),
    ],
)
def test_a_record_of_other_types_is_refused(
    damage: Callable[[dict[str, Any]], Any], message: str, tmp_path: pathlib.Path
) -> None:
    record = copy.deepcopy(RECORD)
    damage(record)
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"directory of a finished run\. Received: .*/record\.json: {message}"):
        records.read(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record.update(test_error_last=1.5), r"test_error_last 1.5, but [\d.]+ by its other parts"),
        (lambda record: record.update(test_error_best_epoch=1), "test_error_best_epoch 1, but 3"),
        (lambda record: record.update(val_chosen_epoch=1), "val_chosen_epoch 1, but"),
        (lambda record: record.pop("test_error_val_chosen"), "test_error_val_chosen None, but"),
        (lambda record: record["history"].pop(0), r"number of epochs 2, but 3"),
        (lambda record: record["history"][0].update(test_error=0.5), "test_error_best .*, but 0.5"),
        (lambda record: record["config"].update(seed=5), "seed 4, but 5"),
        (lambda record: record["config"].update(model="wrn10-2"), "name wrn10-1_2-3, but wrn10-2_2-3"),
        (lambda record: record.update(method="kd"), "method kd, but none"),
        (lambda record: record.update(teachers=[{"name": "x", "test_error_last": 1}]), "number of teachers 1, but 0"),
        (lambda record: record["dataset"].update(class_names=["a", "b"]), "number of class names 2, but 10"),
        (lambda record: record["dataset"].update(mean=[0.5]), "channels of mean 1, but 3"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    damage: Callable[[dict[str, Any]], Any], message: str, tmp_path: pathlib.Path
) -> None:
    record = copy.deepcopy(RECORD)
    damage(record)
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"directory of a finished run\. Received: .*/record\.json: {message}"):
        records.read(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda record: record.update(test_top5_error_last=3.0),
            "test_top5_error_last 3.0, but 20.0 by its other parts",
        ),
        (lambda record: record.pop("test_top5_error_last"), "test_top5_error_last None, but 20.0 by its other parts"),
        (
            lambda record: record["history"][-1].pop("test_top5_error"),
            "test_top5_error_last 20.0, but None by its other",
        ),
        (
            lambda record: record["history"][0].update(test_top5_error=101),
            r"history\[0\].test_top5_error must be smaller",
        ),
        (lambda record: record["history"][0].update(val_top5_error="5"), r"history\[0\].val_top5_error must be number"),
        (
            lambda record: (
                record["history"][-1].update(test_top5_error=99.0) or record.update(test_top5_error_last=99.0)
            ),
            "top-5 error of test_error_last 99.0, but 77.7",
        ),
    ],
)
def test_a_top5_error_is_that_of_the_history_and_at_most_the_error(
    damage: Callable[[dict[str, Any]], Any], message: str, tmp_path: pathlib.Path
) -> None:
    record = copy.deepcopy(RECORD)
    record["dataset"]["num_classes"] = 100
    for row in record["history"]:
        row |= {"test_top5_error": 20.0, "val_top5_error": 20.0}
    record["test_top5_error_last"] = 20.0
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert records.read(tmp_path) == record
    damage(record)
    (tmp_path / "record.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=rf"directory of a finished run\. Received: .*/record\.json: {message}"):
        records.read(tmp_path)


def test_a_record_may_name_its_classes(tmp_path: pathlib.Path) -> None:
    record = copy.deepcopy(RECORD)
    record["dataset"]["class_names"] = ["one", "zwei", "三", "a class, 'quoted'", *"456789"]
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert records.read(tmp_path) == record


def test_a_setting_of_a_later_version_may_be_a_list() -> None:
    one, other = copy.deepcopy(RECORD), copy.deepcopy(RECORD)
    one["config"]["gammas"], other["config"]["gammas"] = [0.1], [0.2]
    assert varying(group_runs([one, other])) == ["gammas"]
