"""Runs on pictures that are decoded as they are needed: nothing depends on who decodes them, or on when."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal

import numpy as np
import pytest
from PIL import Image
from test_kills import backend, started  # noqa: F401  backend is a fixture

from conftest import app, ends_within, run_python
from kdzoo.data import sources, streaming
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import train
from test_resume import assert_same
from zoo import InputError

SIZE = 24


def write_pictures(folder: pathlib.Path, *, count: int, seed: int = 0) -> None:
    """Pictures of many sizes in three classes: coarse patterns in red, green or blue."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(("red", "grün", "蓝")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pattern = rng.integers(0, 128, (4, 4, 3), dtype=np.uint8)
            pattern[..., label] += 127
            size = rng.integers(20, 60, 2).tolist()
            Image.fromarray(pattern).resize(size).save(folder / name / f"{number}.{'png' if number % 3 else 'jpg'}")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, count=50)
    return folder


@pytest.fixture(scope="module")
def teacher(pictures, tmp_path_factory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    train.run(scratch(pictures), workdir, data_workers=0)
    return workdir


def scratch(pictures: pathlib.Path) -> RunConfig:
    data = {"dataset": f"folder:{pictures}", "test_share": 0.25, "image_size": SIZE}
    return RunConfig("wrn10-1", "2-2", batch_size=32, **data)


@pytest.fixture
def student(pictures, teacher) -> RunConfig:
    return dataclasses.replace(scratch(pictures), teachers=(str(teacher),), views=4, seed=3, **METHODS["at+kd"])


def test_teachers_and_students_learn_from_a_folder_of_pictures(student, teacher, tmp_path):
    record = train.run(student, tmp_path / "student", data_workers=0)
    dataset = record["dataset"]
    assert (dataset["num_classes"], dataset["image_shape"]) == (3, [SIZE, SIZE, 3])
    assert dataset["train_examples"] + dataset["test_examples"] == 150
    assert record["config"]["augment"] == "inception"
    assert records.read(teacher)["test_error_last"] < 40  # of three classes
    assert record["history"][-1]["kd"] > 0


@pytest.mark.slow
def test_the_result_does_not_depend_on_workers_and_caches(student, tmp_path):
    train.run(student, tmp_path / "alone", data_workers=0, teacher_cache=str(tmp_path / "cache"))  # cold
    train.run(student, tmp_path / "two", data_workers=2, teacher_cache=str(tmp_path / "cache"))  # warm
    train.run(student, tmp_path / "off", data_workers=1, teacher_cache="off")
    cards = (tmp_path / "cache").glob("*/card.json")
    (card,) = (card for card in cards if json.loads(card.read_text())["key"]["says"] == "logits")
    table = card.with_name("rows")
    content = bytearray(table.read_bytes())
    content[100::50] = bytes(len(content[100::50]))
    table.write_bytes(content)
    train.run(student, tmp_path / "damaged", data_workers=0, teacher_cache=str(tmp_path / "cache"))
    for other in ("two", "off", "damaged"):
        assert_same(tmp_path / "alone", tmp_path / other)


@pytest.mark.slow
def test_rounded_outputs_are_the_same_from_the_cache(student, tmp_path):
    student = dataclasses.replace(student, teacher_store="float16", at_weight=0.0, views=2)
    for name in ("cold", "warm"):
        train.run(student, tmp_path / name, data_workers=0, teacher_cache=str(tmp_path / "cache"))
    train.run(student, tmp_path / "off", data_workers=0, teacher_cache="off")
    for name in ("warm", "off"):
        assert_same(tmp_path / "cold", tmp_path / name)


@pytest.mark.slow
def test_endless_crops_are_not_cached(student, tmp_path):
    record = train.run(dataclasses.replace(student, views=0), tmp_path / "run", teacher_cache=str(tmp_path / "cache"))
    assert record["history"][-1]["kd"] > 0
    assert not list((tmp_path / "cache").glob("*/rows"))


@pytest.mark.slow
def test_pictures_of_one_size_in_memory_and_streamed(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(120) % 3
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "pictures" / ("train" if number < 90 else "test") / f"{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    npz = tmp_path / "one.npz"
    np.savez(npz, x_train=images[:90], y_train=labels[:90], x_test=images[90:], y_test=labels[90:])
    ours, theirs = sources.load(f"folder:{tmp_path}/pictures"), sources.load(f"npz:{npz}")
    assert ours.fingerprint == theirs.fingerprint
    assert ours.augment == theirs.augment == "crop_flip"
    config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, dataset_name="one")
    train.run(config, tmp_path / "npz")
    folder = dataclasses.replace(config, dataset=f"folder:{tmp_path}/pictures")
    train.run(folder, tmp_path / "folder")
    assert (tmp_path / "npz" / "model.weights.h5").read_bytes() == (
        tmp_path / "folder" / "model.weights.h5"
    ).read_bytes()
    streamed = dataclasses.replace(folder, memory_gb=1e-6)
    for workers in (0, 2):
        train.run(streamed, tmp_path / f"streamed{workers}", data_workers=workers)
    assert_same(tmp_path / "streamed0", tmp_path / "streamed2")
    assert records.read(tmp_path / "streamed0")["dataset"]["fingerprint"] != ours.fingerprint


@pytest.mark.slow
def test_a_picture_that_vanishes_ends_the_run_saved(student, pictures, tmp_path):
    moved = tmp_path / "pictures"
    shutil.copytree(pictures, moved)
    config = dataclasses.replace(student, dataset=f"folder:{moved}", schedule="2-3")
    train.run(config, tmp_path / "undisturbed", data_workers=0, teacher_cache="off")
    gone = moved / "red" / "7.png"
    gone.touch()

    def remove(report) -> None:
        if report.epoch == 1 and gone.exists():
            gone.rename(tmp_path / "aside.png")

    with pytest.raises(InputError, match=r"must stay as it was .*red/7\.png"):
        train.run(config, tmp_path / "run", progress=remove, data_workers=0, teacher_cache="off")
    (tmp_path / "aside.png").rename(gone)
    record = train.run(config, tmp_path / "run", data_workers=0, teacher_cache="off")
    assert [session["epoch"] for session in record["sessions"]] == [0, 1]
    assert_same(tmp_path / "undisturbed", tmp_path / "run")


def test_a_file_that_is_no_picture_is_left_out_and_recorded(pictures, tmp_path, caplog):
    moved = tmp_path / "pictures"
    shutil.copytree(pictures, moved)
    broken = moved / "red" / "7.png"
    broken.write_bytes(broken.read_bytes()[:60])
    records_ = [
        train.run(
            dataclasses.replace(scratch(moved), memory_gb=gigabytes, augment=augment),
            tmp_path / f"{gigabytes}{augment}",
            data_workers=0,
        )
        for gigabytes, augment in ((4.0, "inception"), (4.0, "resize"), (1e-6, "resize"))
    ]
    for record in records_:
        assert record["dataset"]["left_out"] == ["red/7.png"]
        assert record["dataset"]["preparation"]["filter"] == "bilinear, antialiased"
        assert record["dataset"]["train_examples"] + record["dataset"]["test_examples"] in (149, 150)
    assert "red/7.png is left out: " in caplog.text
    assert caplog.text.count("red/7.png is left out") == 1  # from then on the index knows it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGKILL, "a worker that has ended"), (signal.SIGSTOP, "none for 3 s")]
)
def test_a_worker_that_ends_or_hangs_ends_the_run_saved(student, tmp_path, monkeypatch, number, message):
    config = dataclasses.replace(student, schedule="2-3", views=0)
    train.run(config, tmp_path / "undisturbed", data_workers=0)

    def disturb(report) -> None:
        if report.epoch == 1:
            monkeypatch.setattr(streaming, "SECONDS", 3.0)  # its workers have started by now
            for process in multiprocessing.active_children():
                os.kill(process.pid, number)

    with pytest.raises(InputError, match=message):
        train.run(config, tmp_path / "run", progress=disturb, data_workers=2)
    assert not multiprocessing.active_children()
    monkeypatch.undo()
    record = train.run(config, tmp_path / "run", data_workers=2)
    assert record["sessions"][1]["epoch"] == 1
    assert_same(tmp_path / "undisturbed", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers(backend, student, tmp_path, workers):  # noqa: F811
    for number in (0, workers):
        command = distil(backend, student, tmp_path / f"{number}", f"--data_workers={number}", "--teacher_cache=off")
        done = run_python(*command.pop("args"), **command)
        assert done.returncode == 0, done.stderr[-3000:]
    assert_same(tmp_path / "0", tmp_path / f"{workers}")


def distil(backend: str, student: RunConfig, workdir: pathlib.Path, *flags: str) -> dict:  # noqa: F811
    """What starts a student's run of eight epochs, with a checkpoint at each step."""
    flags = (*flags, f"--dataset={student.dataset}", "--test_share=0.25", f"--image_size={SIZE}", "--views=8")
    flags += ("--student=wrn10-1", f"--teacher={student.teachers[0]}", "--method=at+kd", "--schedule=4-8", "--seed=3")
    flags += ("--batch_size=32", "--checkpoint_minutes=1e-6", "--progress=json", f"--workdir={workdir}")
    return app(backend, "distill", *flags)


@pytest.mark.slow
def test_ten_kills_with_two_workers(backend, student, tmp_path):  # noqa: F811
    command = distil(backend, student, tmp_path / "undisturbed", "--data_workers=2")
    done = run_python(*command.pop("args"), **command)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = records.read(tmp_path / "undisturbed")["history"]
    seconds = rows[-1]["time"] - rows[0]["time"]
    moments = random.Random(0)
    killed = runs = 0
    while killed < 10:
        workdir = tmp_path / f"{runs}"
        while not (workdir / records.RECORD).exists():
            with started(distil(backend, student, workdir, "--data_workers=2")) as process:
                killed += not ends_within(process, moments.uniform(0, seconds / 2) if killed < 10 else 300)
        assert_same(tmp_path / "undisturbed", workdir)
        runs += 1
