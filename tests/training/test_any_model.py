"""Runs of networks that are no zoo models: trained, resumed, taught, teaching, evaluated."""

import dataclasses
import os

import keras
import numpy as np
import pytest

import kdzoo
from conftest import run_python
from kdzoo import training
from kdzoo.hub import models
from kdzoo.publishing import publisher
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import evaluation
from test_networks import SMALLEST
from test_resume import assert_same, stop_after
from zoo import InputError


@pytest.fixture(scope="module")
def config(npz):
    return RunConfig("test_networks:small?width=8", "2-2", dataset=f"npz:{npz}", batch_size=32, lr=0.02)


@pytest.fixture(scope="module")
def taught(config):
    return dataclasses.replace(config, schedule="1-1", **METHODS["kd"])


@pytest.fixture(scope="module")
def own(config, tmp_path_factory):
    """A run of a network of the user's own."""
    directory = tmp_path_factory.mktemp("own") / "run"
    training.run(config, directory)
    return directory


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """32x32 images of four colours, as npz."""
    path = tmp_path_factory.mktemp("colours") / "colours.npz"
    generator, labels = np.random.default_rng(0), np.arange(96) % 4
    images = generator.integers(0, 60, (96, 32, 32, 3)).astype(np.uint8)
    for channel in range(3):
        images[labels == channel, :, :, channel] += 150
    np.savez(path, x_train=images[:64], y_train=labels[:64], x_test=images[64:], y_test=labels[64:])
    return f"npz:{path}"


def test_the_record_names_and_describes_it(own):
    record = records.read(own)
    assert record["name"] == "small-width8_2-2"
    assert record["network"] == {"kind": "function"}
    assert (record["dataset"]["mean"], record["dataset"]["std"]) == ([0.0] * 3, [1 / 255] * 3)
    assert evaluation.evaluate_run(own)["test_error"] == pytest.approx(record["test_error_last"])


def test_it_teaches_a_zoo_model_and_a_zoo_model_teaches_it(own, taught, teacher_run, tmp_path):
    student = dataclasses.replace(taught, model="wrn10-1", lr=0.1, teachers=(str(own),))
    assert training.run(student, tmp_path / "zoo")["teachers"][0]["name"] == "small-width8_2-2"
    student = dataclasses.replace(taught, teachers=(str(teacher_run),), name="mine")
    record = training.run(student, tmp_path / "own", teacher_cache=str(tmp_path / "cache"))
    assert record["name"] == "mine_1-1"
    assert record["history"][-1]["kd"] > 0
    again = training.run(student, tmp_path / "again", teacher_cache="off")
    assert again["history"][0]["kd"] == record["history"][0]["kd"]
    assert_same(tmp_path / "own", tmp_path / "again")


def test_a_stopped_run_resumes_to_the_bit(config, own, tmp_path):
    with pytest.raises(training.Stopped):
        training.run(config, tmp_path / "stopped", stopping=stop_after(4))
    keras.layers.Dense(1)  # names that Keras makes up shift
    training.run(config, tmp_path / "stopped")
    assert_same(own, tmp_path / "stopped")


def test_a_file_may_go_once_the_run_has_finished(config, tmp_path):
    import test_networks

    path = tmp_path / "net.keras"
    test_networks.small(4, (16, 16, 3)).save(path)
    config = dataclasses.replace(config, model=str(path), schedule="1-1")
    record = training.run(config, tmp_path / "run")
    assert record["name"] == "net_1-1"
    moved = dataclasses.replace(config, model=str(path.rename(tmp_path / "moved.keras").rename(path)))
    assert training.run(moved, tmp_path / "run") == records.read(tmp_path / "run")  # finished before
    path.unlink()
    assert evaluation.evaluate_run(tmp_path / "run")["test_error"] == pytest.approx(record["test_error_last"])
    test_networks.small(4, (16, 16, 3)).save(path)
    with pytest.raises(InputError, match="network_sha256"):
        training.run(config, tmp_path / "run")


def test_training_begins_with_the_weights_of_another_run(config, own, tmp_path, caplog):
    init = dataclasses.replace(config, init=str(own), lr=1e-12, schedule="1-1")
    record = training.run(init, tmp_path / "same")
    assert record["network"]["init"]["name"] == "small-width8_2-2"
    ours, theirs = (models.resolve(path).build().get_weights() for path in (tmp_path / "same", own))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(InputError, match="init must be of the model's architecture"):
        training.run(dataclasses.replace(init, model="test_networks:small?width=7"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_attention_transfer_by_the_names_of_layers(own, taught, tmp_path):
    config = dataclasses.replace(
        taught, teachers=(str(own),), student_stages="first", teacher_stages="first", **METHODS["at+kd"]
    )
    record = training.run(config, tmp_path / "run", teacher_cache=str(tmp_path / "cache"))
    assert record["history"][-1]["at"] > 0
    live = training.run(config, tmp_path / "live", teacher_cache="off")
    assert live["history"][-1]["at"] == record["history"][-1]["at"]
    for changes, message in (
        ({"student_stages": ""}, "named stage1, stage2... or given by name; small has .*first.*Received: none"),
        ({"student_stages": "last"}, r"small has .*first \(7x7x8\).*Received: last of small"),
        ({"teacher_stages": "first,first"}, "number of stages: 1 of small"),
    ):
        with pytest.raises(InputError, match=message):
            training.run(dataclasses.replace(config, **changes), tmp_path / "wrong")


@pytest.mark.slow
def test_it_is_published_and_loaded_on_both_backends(config, colours, tmp_path):
    network = "keras:MobileNetV3Small?alpha=0.75"  # its dropout has a seed, a variable of integers
    run = tmp_path / "run"
    record = training.run(dataclasses.replace(config, model=network, dataset=colours, name="small-75"), run)
    publisher.publish([run], tmp_path / "models", name="colours/small-75_2-2")
    card = models.find("colours/small-75_2-2", path=tmp_path / "models").record
    assert (card["family"], card["depth"], card["schedule"]) == ("small-75", None, "2-2")
    assert card["test_error"] == pytest.approx(record["test_error_last"])
    loaded = kdzoo.load("colours/small-75_2-2", path=tmp_path / "models")
    for one, other in zip(loaded.get_weights(), models.resolve(run).build().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    code = "import kdzoo, sys; print(kdzoo.load('colours/small-75_2-2', path=sys.argv[1]).count_params())"
    done = run_python("-c", code, str(tmp_path / "models"), env={**os.environ, "KERAS_BACKEND": "jax"})
    assert done.stdout.split()[-1] == str(loaded.count_params()), done.stderr
    student = dataclasses.replace(config, dataset=colours, schedule="1-1", **METHODS["kd"])
    student = dataclasses.replace(student, teachers=(str(tmp_path / "models/colours/small-75_2-2"),))
    assert training.run(student, tmp_path / "student")["teachers"][0]["name"] == "colours/small-75_2-2"


@pytest.mark.slow
def test_a_teacher_of_larger_images(config, taught, colours, tmp_path):
    teacher = dataclasses.replace(config, model="keras:MobileNetV2?alpha=0.35", dataset=colours, image_size=64)
    training.run(dataclasses.replace(teacher, augment="resize"), tmp_path / "teacher")
    student = dataclasses.replace(taught, dataset=colours, teachers=(str(tmp_path / "teacher"),))
    with pytest.raises(InputError, match="image shape"):
        training.run(student, tmp_path / "student")
    student = dataclasses.replace(student, teacher_image_size=64)
    record = training.run(student, tmp_path / "student", teacher_cache=str(tmp_path / "cache"))
    live = training.run(student, tmp_path / "live", teacher_cache="off")
    assert record["weights_sha256"] == live["weights_sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_each_family_of_keras_learns_and_teaches(name, config, colours, tmp_path):
    size = SMALLEST[name]
    config = dataclasses.replace(
        config, model=f"keras:{name}", dataset=colours, train_examples=16, batch_size=16, schedule="1-1", lr=1e-3
    )
    if size > 32:
        config = dataclasses.replace(config, image_size=size, augment="resize")
    record = training.run(config, tmp_path / "teacher")
    assert record["parameters"] > 1e5
    student = dataclasses.replace(config, teachers=(str(tmp_path / "teacher"),), **METHODS["kd"])
    assert training.run(student, tmp_path / "student")["history"][0]["kd"] > -1e-5  # 0 but for rounding


def test_pixels_are_the_values_themselves():
    from kdzoo.data import augmentation

    mean, std = augmentation.of_pixels(3)
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(augmentation.standardise(pixels, mean=mean, std=std), pixels.astype(np.float32))
    assert kdzoo.build("wrn10-1").input_shape == (None, 32, 32, 3)
