"""The kinds of teachers: a run, a published model, an external SavedModel, an ensemble; and invalid ones."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from conftest import JAX_ENV, JAX_PYTHON, WITHOUT_TENSORFLOW, run_python
from kdzoo.data import sources
from kdzoo.experiments.grid import expand
from kdzoo.hub import cards
from kdzoo.runs import records, weights
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import resolve, saved_model
from kdzoo.training import train
from kdzoo.training.state import Stopped
from zoo import InputError

tf = pytest.importorskip("tensorflow")
NAME = "quarters/wrn10-1_2-3"


@pytest.fixture
def config(npz) -> RunConfig:
    return RunConfig("wrn10-1", "1-2", dataset=f"npz:{npz}", batch_size=32, seed=1, lr=0.001, **METHODS["at+kd"])


@pytest.fixture(scope="module")
def external(published, tmp_path_factory) -> pathlib.Path:
    """An external SavedModel of the same network: other names, images from 0 to 1, two versions."""
    import kdzoo

    path = tmp_path_factory.mktemp("external") / "theirs"
    model = kdzoo.load(NAME, path=published)
    dataset = cards.read_card(published / NAME)["dataset"]
    mean, std = np.float32(dataset["mean"]), np.float32(dataset["std"])
    module = tf.Module()
    module.variables_of_it = [variable.value for variable in model.variables]

    def write(version: int, shape, classes: int = 4):
        @tf.function(input_signature=[tf.TensorSpec([None, *shape], tf.float32, name="x")])
        def classify(x):
            logits = model((x - mean) / std, training=False)[:, :classes]
            return {"score": logits, "share": tf.nn.softmax(logits), "wrong": tf.roll(logits, 1, axis=-1)}

        tf.saved_model.save(module, str(path / str(version)), signatures={"classify": classify})

    write(2, (16, 16, 3))
    write(10, (16, 16, 3))
    shutil.copytree(path / "2", path.with_name("alone"))
    return path


def losses(record: dict) -> list[dict]:
    return [{key: row[key] for key in ("loss", "ce", "kd", "at", "test_ce") if key in row} for row in record["history"]]


def test_a_published_model_teaches_as_its_run_does(config, teacher_run, published, monkeypatch, tmp_path):
    monkeypatch.setenv("KDZOO_HOME", str(published))
    runs = {}
    for name, spec in (("run", str(teacher_run)), ("name", NAME), ("path", str(published / NAME))):
        record = train.run(dataclasses.replace(config, teachers=(spec,)), tmp_path / name)
        runs[name] = weights.load_model(tmp_path / name).get_weights(), record
    assert all((a == b).all() for a, b in zip(runs["run"][0], runs["name"][0], strict=True))
    assert all((a == b).all() for a, b in zip(runs["run"][0], runs["path"][0], strict=True))
    (teacher,) = runs["name"][1]["teachers"]
    assert teacher["name"] == NAME
    assert teacher["digest"] == cards.read_card(published / NAME)["files"][cards.VARIABLES]["sha256"]
    assert runs["run"][1]["teachers"][0]["digest"] == records.read(teacher_run)["weights_sha256"]
    assert teacher["test_error_last"] == records.read(teacher_run)["test_error_last"]


SETTINGS = {"teacher_signature": "classify", "teacher_logits": "score", "teacher_input": "unit"}


def test_an_external_savedmodel_teaches_like_the_run_of_its_network(config, teacher_run, external, tmp_path):
    config = dataclasses.replace(config, **METHODS["kd"])
    ours = train.run(dataclasses.replace(config, teachers=(str(teacher_run),)), tmp_path / "ours")
    config_theirs = dataclasses.replace(config, teachers=(str(external),), **SETTINGS)
    theirs = train.run(config_theirs, tmp_path / "theirs", teacher_cache=str(tmp_path / "cache"))
    again = train.run(config_theirs, tmp_path / "again", teacher_cache=str(tmp_path / "cache"))
    assert theirs["sessions"][-1]["teacher_rows"]["asked"] > 0
    assert again["sessions"][-1]["teacher_rows"]["asked"] == 0
    assert records.result(again) == records.result(theirs)
    for one, other in zip(losses(ours), losses(theirs), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert theirs["test_agreement_last"] == ours["test_agreement_last"]
    (teacher,) = theirs["teachers"]
    assert teacher["name"] == "theirs"
    assert teacher["digest"] == saved_model.digest_saved_model(external / "10")  # its newest version
    assert teacher["test_error_last"] == ours["teachers"][0]["test_error_last"]


@pytest.mark.slow
def test_external_models_see_mixed_images_calls_ahead(config, teacher_run, external, tmp_path):
    """Batches of 24: a call of 128 images has those of several steps."""
    mixed = {"batch_size": 24, "mixup_alpha": 0.4, "cutmix_alpha": 1.0, **METHODS["kd"]}
    ours = train.run(dataclasses.replace(config, teachers=(str(teacher_run),), **mixed), tmp_path / "ours")
    config = dataclasses.replace(config, teachers=(str(external),), **mixed, **SETTINGS)
    theirs = train.run(config, tmp_path / "theirs")
    for one, other in zip(losses(ours), losses(theirs), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    for calls in (2, 1):
        stops = iter([*[False] * calls, True])
        with pytest.raises(Stopped):
            train.run(config, tmp_path / "stopped", stopping=lambda stops=stops: next(stops))
    train.run(config, tmp_path / "stopped")
    assert records.result(records.read(tmp_path / "stopped")) == records.result(records.read(tmp_path / "theirs"))


@pytest.mark.slow
def test_an_ensemble_of_both_kinds_resumes_after_a_stop(config, teacher_run, published, external, tmp_path):
    """Attention maps are those of the stages, and an interrupted run ends like an uninterrupted one."""
    savedmodel = str(shutil.copytree(published / NAME / "1", tmp_path / "copy"))
    inside = train.run(dataclasses.replace(config, teachers=(str(teacher_run),)), tmp_path / "inside")
    config = dataclasses.replace(config, teachers=(str(teacher_run), savedmodel))
    ahead = train.run(config, tmp_path / "ahead")
    for one, other in zip(losses(inside), losses(ahead), strict=True):
        assert other == pytest.approx(one, rel=1e-4)
    assert [teacher["name"] for teacher in ahead["teachers"]] == ["wrn10-1_2-3", "copy"]
    calls = iter([False, True])
    with pytest.raises(Stopped):
        train.run(config, tmp_path / "stopped", stopping=lambda: next(calls))
    train.run(config, tmp_path / "stopped")
    pair = [weights.load_model(tmp_path / name).get_weights() for name in ("ahead", "stopped")]
    assert all((a == b).all() for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "teacher_signature must be one of classify. Received: serving_default"),
        ({"teacher_signature": "classify"}, "teacher_logits must be one of score, share, wrong. Received: logits"),
        ({**SETTINGS, "teacher_input": "auto"}, "must be set for a teacher of floating-point images"),
        ({**SETTINGS, "teacher_logits": "share"}, "must output logits.*Received: probabilities, share of classify"),
        ({**SETTINGS, "teacher_logits": "wrong"}, "must know the classes of .*Received: test error"),
        ({**SETTINGS, "dataset": "digits"}, r"image shape: \(32, 32, 3\). Received: \(16, 16, 3\)"),
        ({**SETTINGS, "at_weight": 1.0}, "must have outputs stage1, stage2.*Received: score, share, wrong of classify"),
        ({"teacher_input": "grey"}, "teacher_input must be one of auto, raw, unit, standardised"),
    ],
)
def test_a_savedmodel_that_does_not_fit_is_refused(config, external, tmp_path, changes, message):
    config = dataclasses.replace(config, **{**METHODS["kd"], **changes}, teachers=(str(external),))
    with pytest.raises(InputError, match=message):
        train.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_savedmodel_of_other_classes_is_refused(config, published, npz, tmp_path):
    with np.load(npz) as file:
        arrays = dict(file)
    for key in ("y_train", "y_test"):
        arrays[key] = arrays[key] % 2
    np.savez(tmp_path / "halves.npz", **arrays)
    config = dataclasses.replace(config, dataset=f"npz:{tmp_path}/halves.npz", teachers=(str(published / NAME / "1"),))
    with pytest.raises(InputError, match=r"number of classes: \(2,\). Received: \(4,\) from"):
        train.run(config, tmp_path / "run")


def test_a_directory_wins_over_a_published_name(teacher_run, published, monkeypatch, tmp_path):
    from kdzoo.hub import models

    monkeypatch.setenv("KDZOO_HOME", str(published))
    monkeypatch.chdir(tmp_path)
    assert models.resolve(NAME).record["name"] == NAME
    shutil.copytree(teacher_run, tmp_path / NAME)
    assert models.resolve(NAME).record["name"] == "wrn10-1_2-3"
    assert models.find(NAME).record["name"] == NAME


def test_a_run_without_its_weights_is_refused(config, teacher_run, tmp_path):
    shutil.copy(teacher_run / records.RECORD, tmp_path)
    with pytest.raises(InputError, match="must hold its weights"):
        train.run(dataclasses.replace(config, teachers=(str(tmp_path),)), tmp_path / "run")


def test_a_broken_savedmodel_is_refused(config, published, tmp_path):
    broken = pathlib.Path(shutil.copytree(published / NAME / "1", tmp_path / "broken"))
    (broken / "saved_model.pb").write_bytes(b"\1" * 100)
    with pytest.raises(InputError, match=r"must be one that loads. Received: ") as refused:
        train.run(dataclasses.replace(config, teachers=(str(broken),)), tmp_path / "run")
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="directory of a finished run"):
        train.run(dataclasses.replace(config, teachers=("no/where",)), tmp_path / "run")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("w" * 300, r"directory of a finished run. Received: www"),
        ("w/" * 1000, r"a directory or a published name. Received: 'w/w/"),
        ("wrn28-10_20-65", "must be published, for example "),
        ("grpc://localhost", "must be grpc://HOST:PORT/NAME"),
        ("grpc://localhost:99999/m", "with a port from 1 to 65535, .* Received: grpc://localhost:99999/m"),
        ("grpc://[::1]:0/m", r"with a port from 1 to 65535, .* Received: grpc://\[::1\]:0/m"),
        ("http://example.com/wrn28-10_20-65", "must lie at https://HOST/FOLDER/NAME or hf://"),
    ],
)
def test_a_missing_teacher_is_reported_in_one_line(config, spec, message):
    with pytest.raises(InputError, match=message) as refused:
        resolve.find(spec, config, sources.load(config.data))
    assert "\n" not in str(refused.value)


def test_on_jax_several_steps_of_a_call_get_their_teacher_outputs(config, external, published, tmp_path):
    """A SavedModel needs TensorFlow to run, but its student may train on another backend."""
    code = """
import dataclasses, json, sys
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import train
dataset, teacher, workdir = sys.argv[1:]
config = RunConfig("wrn10-1", "1-1", dataset=dataset, batch_size=32, seed=1, lr=0.001, teachers=(teacher,),
                   teacher_signature="classify", teacher_logits="score", teacher_input="unit", **METHODS["kd"])
for fused in (1, 2):
    record = train.run(dataclasses.replace(config, fused_steps=fused), f"{workdir}/{fused}")
    print(json.dumps(record["history"][0]))
"""
    arguments = (config.dataset, str(external), str(tmp_path))
    environment = {**JAX_ENV, "CUDA_VISIBLE_DEVICES": ""}
    done = run_python("-c", code, *arguments, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (losses({"history": [json.loads(line)]})[0] for line in done.stdout.splitlines()[-2:])
    assert two == pytest.approx(one, rel=1e-4)
    same = dataclasses.replace(config, schedule="1-1", teachers=(str(external),), **METHODS["kd"], **SETTINGS)
    assert one == pytest.approx(losses(train.run(same, tmp_path / "tensorflow"))[0], rel=2e-3)


def test_without_tensorflow_a_savedmodel_is_refused_in_one_line(config, external, tmp_path):
    code = """
import sys
from apps import train_command
from kdzoo import RunConfig
from kdzoo.training import train
dataset, teacher, workdir = sys.argv[1:]
try:
    train.run(RunConfig("wrn10-1", "1-1", dataset=dataset, teachers=(teacher,), kd_weight=1.0), workdir)
except ValueError as error:
    print(error)
"""
    arguments = (config.dataset, str(external), str(tmp_path / "run"))
    done = run_python("-c", WITHOUT_TENSORFLOW + code, *arguments, python=JAX_PYTHON, env=JAX_ENV)
    assert "A SavedModel as teacher needs TensorFlow" in done.stdout, done.stderr[-2000:]


def test_a_sweep_takes_every_kind_of_teacher(npz, teacher_run, external, published, monkeypatch):
    monkeypatch.setenv("KDZOO_HOME", str(published))
    kinds = [str(teacher_run), NAME, str(external), "grpc://localhost:1/wrn16-2_10-35", "https://x.org/m/wrn16-8_20-65"]
    grid = {"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": kinds}]}
    runs = expand(grid)
    assert [run.config.teachers for run in runs] == [(kind,) for kind in kinds]
    assert all(run.needs == () for run in runs)
    with pytest.raises(InputError, match="an earlier run of the grid, or else exist"):
        expand({"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": "wrn10-1_9-10"}]})
