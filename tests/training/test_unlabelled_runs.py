"""Students that learn from pictures without labels as well: exact, whatever computes, keeps or interrupts them."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from kdzoo.data.dataset import array_digest, canonical
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.precompute import precompute
from kdzoo.training import train
from kdzoo.training.state import Stopped
from test_resume import assert_same, stop_after, three_epochs, weights
from zoo import InputError


@pytest.fixture(scope="module")
def more(npz, tmp_path_factory) -> pathlib.Path:
    """Images of other noise, without labels."""
    path = tmp_path_factory.mktemp("more") / "more.npz"
    images = np.load(npz)["x_test"]
    np.savez(path, x=np.concatenate([images // 2, images[:36] // 3]))
    return path


@pytest.fixture
def config(npz, teacher_run, more) -> RunConfig:
    """Three epochs of six steps, of 21 labelled and 11 unlabelled images."""
    return three_epochs(npz, teacher_run, lr=0.01, unlabelled=f"npz:{more}", unlabelled_share=0.35)


def test_the_record_counts_them(config, npz, more, tmp_path):
    record = train.run(config, tmp_path / "run", teacher_cache="off")
    dataset = record["dataset"]
    images = np.load(more)["x"]
    assert dataset["unlabelled_examples"] == 100
    assert dataset["unlabelled_fingerprint"] == array_digest(canonical(images, np.full(100, -1)).array)
    assert (dataset["train_examples"], record["config"]["unlabelled"]) == (128, f"npz:{more}")
    assert record["sessions"][0]["teacher_rows"]["needed"] == 3 * 6 * 32
    without = train.run(dataclasses.replace(config, unlabelled=""), tmp_path / "without", teacher_cache="off")
    assert dataset["fingerprint"] == without["dataset"]["fingerprint"]
    assert "unlabelled_fingerprint" not in without["dataset"]
    with pytest.raises(InputError, match=r"another configuration, .*unlabelled_share 0.35, now None"):
        train.run(dataclasses.replace(config, unlabelled=""), tmp_path / "run", teacher_cache="off")
    other = tmp_path / "other.npz"
    np.savez(other, x=images[1:])
    with pytest.raises(InputError, match=r"another configuration, .*unlabelled_fingerprint "):
        train.run(dataclasses.replace(config, unlabelled=f"npz:{other}"), tmp_path / "run", teacher_cache="off")
    assert train.run(config, tmp_path / "run") == records.read(tmp_path / "run")


def assert_same_weights(one: pathlib.Path, other: pathlib.Path) -> None:
    for x, y in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_streamed_with_a_cache_the_student_is_the_same(config, tmp_path):
    config = dataclasses.replace(config, schedule="1-1")
    train.run(config, tmp_path / "one", teacher_cache="off")
    streamed = dataclasses.replace(config, memory_gb=1e-6)
    train.run(streamed, tmp_path / "other", teacher_cache=str(tmp_path / "cache"), data_workers=0)
    assert_same_weights(tmp_path / "one", tmp_path / "other")


@pytest.mark.slow
def test_cached_and_resumed_the_student_is_the_same(config, tmp_path):
    train.run(config, tmp_path / "off", teacher_cache="off")
    cache = str(tmp_path / "cache")
    train.run(config, tmp_path / "cold", teacher_cache=cache)
    rows = train.run(config, tmp_path / "warm", teacher_cache=cache)["sessions"][-1]["teacher_rows"]
    assert rows["asked"] == 0
    for calls in (4, 5):
        with pytest.raises(Stopped):
            train.run(config, tmp_path / "stopped", teacher_cache="off", stopping=stop_after(calls))
    train.run(config, tmp_path / "stopped", teacher_cache="off")
    for other in ("cold", "warm", "stopped"):
        assert_same(tmp_path / "off", tmp_path / other)


@pytest.mark.slow
def test_attention_and_a_program_in_the_step(config, tmp_path):
    config = dataclasses.replace(config, batch_size=128, unlabelled_share=0.5, **METHODS["at+kd"])
    for cache in ("off", str(tmp_path / "cache")):
        train.run(config, tmp_path / pathlib.Path(cache).name / "run", teacher_cache=cache)
    assert_same(tmp_path / "off" / "run", tmp_path / "cache" / "run")
    in_step = "teacher_rows" not in records.read(tmp_path / "off" / "run")["sessions"][0]
    assert in_step == (keras.backend.backend() == "tensorflow")


@pytest.mark.slow
def test_outputs_computed_ahead_are_all_that_a_run_needs(config, tmp_path):
    cache = Cache(tmp_path / "cache", 1e9)
    _, added = precompute(config, cache, seeds=[1])
    rows = train.run(config, tmp_path / "run", teacher_cache=str(tmp_path / "cache"))["sessions"][-1]["teacher_rows"]
    assert rows == {"needed": 3 * 6 * 32, "asked": 0}
    assert added < 64 + 3 * 128 + 3 * 100


@pytest.mark.slow
def test_photos_of_any_size_in_crops(config, tmp_path, npz):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(60):
        image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(image).resize(rng.integers(20, 60, 2).tolist()).save(tmp_path / f"photos/{number}.jpg")
    config = dataclasses.replace(config, unlabelled=f"folder:{tmp_path}/photos", augment="inception", views=3)
    for workers in (0, 2):
        train.run(config, tmp_path / f"{workers}", teacher_cache=str(tmp_path / "cache"), data_workers=workers)
    train.run(config, tmp_path / "off", teacher_cache="off", data_workers=0)
    assert_same(tmp_path / "0", tmp_path / "2")
    assert_same(tmp_path / "0", tmp_path / "off")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teachers": (), "kd_weight": 0.0}, "unlabelled needs a teacher, .* Received: 0 teachers"),
        ({"kd_weight": 0.0, "ce_weight": 1.0}, "unlabelled needs a teacher, and kd_weight or at_weight above 0"),
        ({"kd_until": 0.5}, "kd_until must be 1 with unlabelled images. Received: 0.5"),
        ({"unlabelled_share": 1.0}, "unlabelled_share must be above 0 and below 1"),
        ({"unlabelled_share": 0.01}, "A batch must have labelled and unlabelled images, .* 0.01 of batch_size 32"),
        ({"unlabelled_share": 0.99}, "A batch must have labelled and unlabelled images"),
        ({"unlabelled": "photos"}, "unlabelled must be folder:DIR"),
    ],
)
def test_what_they_need_is_checked_first(config, fields, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(config, **fields).check()
