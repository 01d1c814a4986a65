"""Optimizers, warm-up, averaged weights, mixed images and frozen layers in whole runs: exact, on either backend."""

import contextlib
import dataclasses
import logging

import keras
import numpy as np
import pytest

from kdzoo.data import augmentation
from kdzoo.data.batches import Batches
from kdzoo.runs import records, weights
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers.output_cache import Cache
from kdzoo.teachers.outputs import TeacherOutputs
from kdzoo.teachers.precompute import precompute
from kdzoo.training import evaluation, train
from kdzoo.training.inputs import prepare_inputs
from kdzoo.training.state import Stopped
from test_resume import assert_same, stop_after, three_epochs
from zoo import InputError

MIXED = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}
# One of each optimizer; together all options.
OPTIONS = {
    "sgd": {"lr": 0.01, "ema_momentum": 0.8, "label_smoothing": 0.1, "freeze": "^stem", **MIXED},
    "adamw": {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.05, "warmup_epochs": 1.5, "clip_norm": 1.0},
    "lion": {"optimizer": "lion", "lr": 0.0005, "weight_decay": 0.1, "ema_momentum": 0.8, "backbone_lr": 0.0001},
}


@pytest.mark.parametrize(
    ("name", "stops"),
    [("adamw", [2]), *(pytest.param(name, [1, 2, 1], marks=pytest.mark.slow) for name in OPTIONS)],
)
def test_a_run_that_is_stopped_within_epochs_ends_as_an_undisturbed_one(npz, teacher_run, tmp_path, name, stops):
    config = three_epochs(npz, teacher_run, **OPTIONS[name])
    record = train.run(config, tmp_path / "undisturbed", teacher_cache="off")
    for calls in stops:
        with pytest.raises(Stopped, match="step"):
            train.run(config, tmp_path / "stopped", teacher_cache="off", stopping=stop_after(calls))
    train.run(config, tmp_path / "stopped", teacher_cache="off")
    assert_same(tmp_path / "undisturbed", tmp_path / "stopped")
    assert {key: record["config"][key] for key in OPTIONS[name]} == OPTIONS[name]


@pytest.mark.slow
def test_the_learning_rate_of_the_history_is_that_of_the_last_step(npz, teacher_run, tmp_path):
    config = three_epochs(npz, teacher_run, warmup_epochs=1.5, lr=0.01, teachers=(), **METHODS["none"])
    history = train.run(config, tmp_path / "run")["history"]
    np.testing.assert_allclose([row["lr"] for row in history], [0.01 * 4 / 6, 0.01, 0.002])
    usual = train.run(dataclasses.replace(config, warmup_epochs=0), tmp_path / "usual")["history"]
    assert [row["lr"] for row in usual] == [0.01, 0.01, pytest.approx(0.002)]
    assert history[0]["loss"] != usual[0]["loss"]


@pytest.mark.slow
def test_averaged_weights_are_evaluated_and_saved_while_training_proceeds_from_the_weights(npz, tmp_path):
    """Three epochs of one step, of a constant learning rate: runs of 1, 2 and 3 epochs have the weights in between."""
    options = {"dataset": f"npz:{npz}", "batch_size": 128, "seed": 1, "lr": 0.05}
    runs = {}
    for epochs in (1, 2, 3):
        config = RunConfig("wrn10-1", f"{epochs}-{epochs}", **options)
        runs[epochs] = train.run(config, tmp_path / f"{epochs}")
    averaged = train.run(dataclasses.replace(config, ema_momentum=0.75), tmp_path / "averaged")
    assert [row["loss"] for row in averaged["history"]] == [row["loss"] for row in runs[3]["history"]]
    assert averaged["history"][0]["test_ce"] == runs[1]["history"][0]["test_ce"]  # the average begins with them
    assert averaged["history"][2]["test_ce"] != runs[3]["history"][2]["test_ce"]
    one, two, three = (weights.load_model(tmp_path / f"{epochs}") for epochs in (1, 2, 3))
    received = weights.load_model(tmp_path / "averaged")
    for a, b, c, mean in zip(*(model.trainable_variables for model in (one, two, three, received)), strict=True):
        expected = 0.75 * (0.75 * np.array(a) + 0.25 * np.array(b)) + 0.25 * np.array(c)
        np.testing.assert_allclose(np.array(mean), expected, rtol=1e-4, atol=1e-6)
    for statistics, same in zip(three.non_trainable_variables, received.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(np.array(statistics), np.array(same))
    assert evaluation.evaluate_run(tmp_path / "averaged")["test_error"] == averaged["test_error_last"]


@pytest.mark.slow
def test_frozen_layers_stay_and_the_backbone_is_slower(npz, tmp_path):
    options = {"dataset": f"npz:{npz}", "batch_size": 64, "seed": 1, "lr": 0.05, "weight_decay": 0.0, "momentum": 0.0}
    config = RunConfig("wrn10-1", "1-1", **options)
    frozen = train.run(dataclasses.replace(config, freeze="^stem|stage1.*bn"), tmp_path / "frozen")
    train.run(dataclasses.replace(config, backbone_lr=1e-12), tmp_path / "slow")
    assert frozen["parameters"] == train.run(config, tmp_path / "usual")["parameters"]
    keras.utils.set_random_seed(1)
    initial = weights.build(frozen)
    models = {name: weights.load_model(tmp_path / name) for name in ("frozen", "slow", "usual")}
    for i, variable in enumerate(initial.weights):
        before = np.array(variable)
        changed = {name: (np.array(model.weights[i]) != before).any() for name, model in models.items()}
        path, moving = variable.path, "moving" in variable.path
        assert changed["usual"], path
        assert changed["frozen"] == (not path.startswith("stem") and not ("stage1" in path and "bn" in path)), path
        if not moving:
            apart = np.abs(np.array(models["slow"].weights[i]) - before).max()
            assert (apart > 1e-6) == path.startswith("logits"), path


@pytest.fixture
def mixed(npz, teacher_run) -> RunConfig:
    """Three epochs of four steps."""
    return three_epochs(npz, teacher_run, lr=0.01, **MIXED)


def test_a_teacher_sees_the_very_pixels_that_its_student_sees(mixed, teacher_run, tmp_path):
    config = dataclasses.replace(mixed, augment="crop_flip")
    inputs = prepare_inputs(config, tmp_path, restart=False, deadline=60.0, workers=0)
    train_split, dataset = inputs.splits["train"], inputs.dataset
    teacher = weights.load_model(teacher_run)
    with contextlib.closing(TeacherOutputs(inputs.ensemble, dataset, train_split, config)) as outputs:
        for epoch, step in ((0, 0), (0, 1), (1, 3), (2, 0)):
            images, _ = Batches(train_split, dataset, epoch=epoch, **config.batch_options)[step]
            received = outputs((epoch, step))["teacher_logits"]
            np.testing.assert_allclose(received, teacher.predict(images, verbose=0), atol=1e-4)
        test_images = augmentation.standardise(dataset.test.array, mean=dataset.mean, std=dataset.std)
        np.testing.assert_allclose(outputs.test_logits(), teacher.predict(test_images, verbose=0), atol=1e-4)


@pytest.mark.slow
def test_mixed_images_never_use_the_cache_which_is_logged(mixed, tmp_path, caplog):
    cache = tmp_path / "cache"
    with caplog.at_level(logging.WARNING):
        record = train.run(mixed, tmp_path / "cache_on", teacher_cache=str(cache))
    (line,) = [r.getMessage() for r in caplog.records if "mixed" in r.getMessage()]
    assert line == "Teacher outputs are computed live, without the cache: each step has mixed images of its own"
    assert record["sessions"][-1]["teacher_cache"] == "off"
    assert record["sessions"][-1]["teacher_rows"] == {"needed": 3 * 128, "asked": 3 * 128}
    assert not list(cache.rglob("*"))
    caplog.clear()
    train.run(mixed, tmp_path / "cache_off", teacher_cache="off")
    assert not [r for r in caplog.records if "mixed" in r.getMessage()]
    assert_same(tmp_path / "cache_on", tmp_path / "cache_off")
    with pytest.raises(InputError, match=r"must be 0 for teacher outputs computed ahead.* Received: 0.4 and 1.0"):
        precompute(mixed, Cache(cache, 1e9))


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 1000.0])
def test_a_teacher_within_the_step_and_one_ahead_of_it_are_the_same(mixed, tmp_path, weight, monkeypatch):
    """A batch of 128 on TensorFlow has the teacher's program in the step."""
    from kdzoo.training import delivery

    config = dataclasses.replace(mixed, batch_size=128, at_weight=weight)
    train.run(config, tmp_path / "in_step", teacher_cache="off")
    monkeypatch.setattr(delivery, "IN_STEP_ACTIVATIONS", 0)
    train.run(config, tmp_path / "ahead", teacher_cache="off")
    in_step = "teacher_rows" not in records.read(tmp_path / "in_step")["sessions"][0]
    assert in_step == (keras.backend.backend() == "tensorflow")
    assert "teacher_rows" in records.read(tmp_path / "ahead")["sessions"][0]
    assert_same(tmp_path / "in_step", tmp_path / "ahead")


@pytest.mark.slow
def test_streamed_and_unlabelled_images_are_mixed_the_same(mixed, npz, tmp_path):
    images = np.load(npz)["x_test"]
    np.savez(tmp_path / "more.npz", x=images // 2)
    config = dataclasses.replace(mixed, unlabelled=f"npz:{tmp_path}/more.npz", label_smoothing=0.1)
    record = train.run(config, tmp_path / "memory", teacher_cache="off")
    assert all(np.isfinite([row["loss"], row["ce"], row["kd"]]).all() for row in record["history"])
    train.run(dataclasses.replace(config, memory_gb=1e-6), tmp_path / "streamed", teacher_cache="off", data_workers=0)
    for one, other in zip(
        *(weights.load_model(tmp_path / name).weights for name in ("memory", "streamed")), strict=True
    ):
        np.testing.assert_array_equal(np.array(one), np.array(other))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adam"}, r"^optimizer must be one of sgd, adamw, lion\. Received: adam$"),
        ({"warmup_epochs": -1}, "^warmup_epochs must be at least 0 and finite, for example 5. Received: -1$"),
        ({"warmup_epochs": 3.5}, "^warmup_epochs must be at most the 3 epochs of the schedule. Received: 3.5$"),
        ({"clip_norm": -0.1}, "^clip_norm must be at least 0 and finite, for example 1. Received: -0.1$"),
        ({"clip_norm": 1.0, "strategy": "mirrored"}, "^clip_norm must be 0 with strategy=mirrored, .* Received: 1.0$"),
        ({"ema_momentum": 1.0}, "^ema_momentum must be at least 0 and below 1, for example 0.999. Received: 1.0$"),
        ({"label_smoothing": 1.0}, "^label_smoothing must be at least 0 and below 1, for example 0.1. Received: 1.0$"),
        ({"mixup_alpha": 101}, "^mixup_alpha must be at least 0 and at most 100, for example 0.2. Received: 101$"),
        ({"cutmix_alpha": float("nan")}, "^cutmix_alpha must be .* Received: nan$"),
        (
            {"mixup_alpha": 1, "batch_size": 1},
            "^mixup_alpha and cutmix_alpha need two images in each batch, .* batch_size 1, ",
        ),
        ({"backbone_lr": -1}, "^backbone_lr must be at least 0 and finite, for example 0.001. Received: -1$"),
        ({"freeze": "("}, r"^freeze must be a regular expression, for example \^stem\. Received: \(: missing \)"),
        ({"freeze": 1}, "^freeze must be a text. Received: 1$"),
    ],
)
def test_impossible_options_are_refused_in_one_line(fields, message):
    with pytest.raises(InputError, match=message) as error:
        RunConfig("wrn10-1", "2-3", **fields).check()
    assert "\n" not in str(error.value)


def test_a_pattern_without_a_layer_is_refused_before_anything_is_written(npz, tmp_path):
    config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", freeze="block9")
    with pytest.raises(InputError, match=r"freeze must match a layer of wrn10-1: stem_conv, .*\. Received: block9"):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
