"""Records: read in one way, and checked against their schema."""

import copy
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from conftest import ROOT
from kdzoo.runs import records
from zoo import InputError

RECORDS = sorted((*ROOT.glob("results/**/record.json"), *ROOT.glob("tests/**/record.json")))
RECORD = records.read(ROOT / "tests/fixtures/run")


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
        (lambda record: record["config"].update(model=None), "config.model must be string, not null"),
        (lambda record: record["config"].update(dtype_policy="float8"), "config.dtype_policy must be one of"),
        (lambda record: record.update(history=[]), "history must contain at least 1 items"),
        (lambda record: record["history"][0].update(loss="1.0"), r"history\[0\].loss must be number or null"),
        (lambda record: record.update(test_error_last=None), "test_error_last must be number"),
        (lambda record: record.update(teachers=[{"name": 3}]), r"teachers\[0\]"),
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
