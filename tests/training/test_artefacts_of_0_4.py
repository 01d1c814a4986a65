"""What version 0.4 wrote stays valid: a finished run, an unfinished one, and a published model stored as float16."""

import shutil

import numpy as np
import pytest

import kdzoo
from conftest import ROOT
from kdzoo import RunConfig
from kdzoo.data import augmentation, sources
from kdzoo.hub import cards, models
from kdzoo.runs import checkpoints, records, weights
from kdzoo.runs.config import METHODS
from kdzoo.runs.identity import WEIGHTS_DIGEST
from kdzoo.training import evaluation, train

pytest.importorskip("tensorflow")
FIXTURES = ROOT / "tests" / "fixtures"
CONFIG = RunConfig("wrn10-1", "2-3", dataset="digits", batch_size=32, train_examples=320, val_examples=64, seed=4)
NAME = "digits/wrn10-1_2-3"
ONE_IMAGE = 100 / 360 + 1e-9  # percent; another processor may move an image across the border of its class


def test_a_finished_run_is_read_and_evaluated():
    record = records.read(FIXTURES / "run")
    assert record["versions"]["kdzoo"].startswith("0.4")
    result = evaluation.evaluate_run(FIXTURES / "run")
    assert result["test_error_recorded"] == record["test_error_last"]
    assert result["test_error"] == pytest.approx(record["test_error_last"], abs=2 * ONE_IMAGE)


def test_an_unfinished_run_resumes_and_ends_as_the_finished_one(tmp_path):
    shutil.copytree(FIXTURES / "unfinished", tmp_path, dirs_exist_ok=True)
    train.run(CONFIG, tmp_path)
    resumed, finished = records.read(tmp_path), records.read(FIXTURES / "run")
    assert [(session["epoch"], session["step"]) for session in resumed["sessions"]] == [(0, 0), (1, 5)]
    assert not (tmp_path / checkpoints.DIRECTORY).exists()
    later = {WEIGHTS_DIGEST, "multiply_adds", "peak_activation_bytes", "latency_ms"}
    assert resumed.keys() - later == finished.keys()
    assert finished["config"].items() <= resumed["config"].items()  # later versions have more settings
    assert resumed["dataset"] == finished["dataset"] | {"class_names": list("0123456789")}
    clock = {"time", "images_per_second"}
    first, expected = (record["history"][0] for record in (resumed, finished))
    assert {key: first[key] for key in first.keys() - clock} == {key: expected[key] for key in expected.keys() - clock}
    losses = [[row["loss"] for row in record["history"]] for record in (resumed, finished)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # equal to the bit on the processor of the fixture alone
    networks = [weights.load_model(path).get_weights() for path in (tmp_path, FIXTURES / "run")]
    for weight, other in zip(*networks, strict=True):
        np.testing.assert_allclose(weight, other, atol=0.01)


def test_a_published_model_loads_with_the_weights_of_its_run():
    card = cards.read_card(FIXTURES / "models" / NAME)
    assert models.list_models(path=FIXTURES / "models") == [NAME]
    loaded = kdzoo.load(NAME, path=FIXTURES / "models")
    for weight, other in zip(loaded.get_weights(), weights.load_model(FIXTURES / "run").get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other.astype(np.float16).astype(np.float32))
    dataset = sources.load("digits")
    images = augmentation.standardise(dataset.test.images, mean=card["dataset"]["mean"], std=card["dataset"]["std"])
    errors = loaded.predict(images, verbose=0).argmax(-1) != dataset.test.labels
    assert 100 * errors.mean() == pytest.approx(card["test_error"], abs=2 * ONE_IMAGE)


@pytest.mark.parametrize("path", [FIXTURES / "run", FIXTURES / "models" / NAME, FIXTURES / "models" / NAME / "1"])
def test_run_published_model_and_saved_model_teach(path, tmp_path):
    config = RunConfig(
        "wrn10-1", "1-1", dataset="digits", batch_size=32, train_examples=64, teachers=(str(path),), **METHODS["kd"]
    )
    record = train.run(config, tmp_path, teacher_cache="off")
    assert record["history"][0]["kd"] > 0
    assert record["teachers"][0]["name"] in ("wrn10-1_2-3", NAME)
