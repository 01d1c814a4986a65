"""The ranges of numbers."""

import math
import pathlib
from typing import Any

import numpy as np
import pytest

from kdzoo.ranges import Range
from kdzoo.runs.config import RunConfig
from zoo import InputError

SHARE = Range(above=0, most=1, example=0.5)
COUNT = Range(least=0, whole=True, example=3)


def test_a_range_names_its_rule() -> None:
    assert str(SHARE) == "above 0 and at most 1, for example 0.5"
    assert str(Range(least=0, below=1, example=0.9)) == "at least 0 and below 1, for example 0.9"
    assert str(Range(above=0, example=0.1)) == "above 0 and finite, for example 0.1"
    assert str(COUNT) == "a whole number at least 0, for example 3"


@pytest.mark.parametrize("value", [1, 1e-300, 0.5, np.float32(0.5), np.int64(1)])
def test_numbers_in_a_range(value: Any) -> None:
    assert value in SHARE
    SHARE.check("share", value)


@pytest.mark.parametrize(
    "value", [0, 1.0001, -0.5, math.nan, math.inf, np.float32(math.inf), "0.5", True, None, [0.5], 10**400, 1j]
)
def test_what_is_not_in_a_range(value: Any) -> None:
    assert value not in SHARE
    with pytest.raises(InputError, match=r"share must be above 0 and at most 1, for example 0\.5\. Received: "):
        SHARE.check("share", value)


def test_whole_numbers() -> None:
    assert COUNT.parse("count", "12") == 12
    assert type(COUNT.parse("count", "12")) is int
    for value in (12.0, 12.5, False, "12", -1):
        assert value not in COUNT
    for text in ("12.0", "", "-1", "x", "9" * 5000):
        with pytest.raises(InputError, match=r"count must be a whole number at least 0, for example 3\. Received: "):
            COUNT.parse("count", text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 0.5}, "seed must be a whole number.* Received: 0.5"),
        ({"seed": True}, "seed must be a whole number.* Received: True"),
        ({"seed": 2**32}, "seed must be a whole number at least 0 and at most 4294967295"),
        ({"batch_size": 12.5}, "batch_size must be a whole number.* Received: 12.5"),
        ({"train_examples": "256"}, "train_examples must be a whole number.* Received: '256'"),
        ({"train_examples": -5}, "train_examples must be a whole number at least 0, .* Received: -5"),
        ({"val_examples": -1}, "val_examples must be a whole number at least 0, .* Received: -1"),
        ({"lr": "0.1"}, "lr must be above 0 and finite.* Received: '0.1'"),
        ({"lr": math.nan}, "lr must be above 0 and finite, .* Received: nan"),
        ({"weight_decay": math.inf}, "weight_decay must be at least 0 and finite, .* Received: inf"),
        ({"lr": 10**400}, "lr must be above 0 and finite"),
        ({"kd_until": 50, "teachers": ("x",)}, "kd_until must be above 0 and at most 1, for example 0.5. Received: 50"),
        ({"kd_until": math.nan, "teachers": ("x",)}, "kd_until must be .* Received: nan"),
        ({"temperature": 1e-30}, "temperature must be at least 0.001 and at most 100, for example 4. Received: 1e-30"),
        ({"model": 16}, "model must be a text. Received: 16"),
        ({"dataset_name": "cifar10  # its mean"}, "dataset_name must have no spaces, .* Received: cifar10  # its mean"),
        ({"schedule": None}, "schedule must be a text. Received: None"),
        ({"teachers": "runs/x"}, "teachers must be a list of texts"),
        ({"teachers": ("runs/x", "runs/x")}, "teachers of an ensemble must differ. Received: runs/x more than once"),
        (
            {"teachers": ("x",), "kd_weight": 1e39},
            r"kd_weight must be at least 0 and at most 1e\+18, .* Received: 1e\+39",
        ),
        ({"teachers": ("runs/x",), "ce_weight": None}, "ce_weight must be at least 0"),
    ],
)
def test_a_configuration_of_other_types_or_ranges_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunConfig(**{"model": "wrn10-1", "schedule": "1-2", **changes}).check()


@pytest.mark.parametrize("option", ["checkpoint_minutes", "teacher_deadline", "cache_gb"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0, "5"])
def test_options_of_a_run_are_refused(option: str, value: Any, tmp_path: pathlib.Path) -> None:
    from kdzoo.training import train

    with pytest.raises(InputError, match=f"{option} must be above 0 and finite, for example .* Received: "):
        train.run(RunConfig("wrn10-1", "1-2"), tmp_path / "run", **{option: value})
    assert list(tmp_path.iterdir()) == []
