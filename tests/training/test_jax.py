"""The JAX backend, in processes without TensorFlow: `$KDZOO_JAX_PYTHON`, or this Python with its import forbidden."""

import json
import sys

import numpy as np
import pytest

from conftest import JAX_ENV, JAX_PYTHON, ROOT, WITHOUT_TENSORFLOW, app, run_python
from kdzoo.data import augmentation, sources
from kdzoo.distillation import registry
from kdzoo.runs import records, weights
from kdzoo.training import evaluation

if sys.executable == JAX_PYTHON:
    pytest.importorskip("jax")


def run_jax(code: str, *args: str):
    done = run_python("-c", WITHOUT_TENSORFLOW + code, *args, python=JAX_PYTHON, env=JAX_ENV)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run_app(backend: str, name: str, *args: str) -> str:
    command = app(backend, name, *args)
    done = run_python(*command.pop("args"), **command)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


LOGITS = """
import json, sys
import numpy as np
from kdzoo.data import load, standardise
from kdzoo.runs.weights import load_model
from kdzoo.training import train

npz, workdir = sys.argv[1:]
dataset = load(f"npz:{npz}")
images = standardise(dataset.test.images, mean=dataset.mean, std=dataset.std)
print(json.dumps(load_model(workdir).predict(images, verbose=0).tolist()))
"""


@pytest.mark.slow
def test_the_commands_give_on_jax_what_they_give_on_tensorflow(npz, tmp_path):
    """Teacher, student, evaluation: the same losses; and weights move from one to the other."""
    pytest.importorskip("tensorflow")
    common = ["--schedule=1-2", f"--dataset=npz:{npz}", "--dataset_name=quarters", "--batch_size=32", "--lr=0.002"]
    runs = {}
    for backend in ("tensorflow", "jax"):
        teacher, student = (tmp_path / f"{backend}_{who}" for who in ("teacher", "student"))
        run_app(backend, "train", "--model=wrn10-2", f"--workdir={teacher}", *common)
        flags = [f"--teacher={teacher}", "--method=at+kd", f"--workdir={student}", *common]
        run_app(backend, "distill", "--student=wrn10-1", *flags)
        runs[backend] = {path: records.read(path) for path in (teacher, student)}
        for record in runs[backend].values():
            assert record["versions"]["backend"] == backend
            assert record["dataset"]["name"] == "quarters"
    for expected, received in zip(runs["tensorflow"].values(), runs["jax"].values(), strict=True):
        for key in ("multiply_adds", "peak_activation_bytes"):
            assert received[key] == expected[key]
        assert received["latency_ms"]["median"] > 0
        for ours, theirs in zip(received["history"], expected["history"], strict=True):
            losses = {name: theirs[name] for name in theirs.keys() & {"loss", "ce", "kd", "at", "test_ce"}}
            assert {name: ours[name] for name in losses} == pytest.approx(losses, rel=2e-3)
    student = {backend: tmp_path / f"{backend}_student" for backend in runs}
    printed = run_app("jax", "evaluate", f"--model={student['tensorflow']}")
    assert f"test error {records.read(student['tensorflow'])['test_error_last']:.2f} % of 64 images" in printed
    result = evaluation.evaluate_run(student["jax"])  # on TensorFlow
    assert result["test_error"] == result["test_error_recorded"]
    of_jax = np.array(json.loads(run_jax(LOGITS, str(npz), str(student["jax"])).splitlines()[-1]))
    dataset = sources.load(f"npz:{npz}")
    images = augmentation.standardise(dataset.test.images, mean=dataset.mean, std=dataset.std)
    ours = weights.load_model(student["jax"]).predict(images, verbose=0)
    np.testing.assert_allclose(ours, of_jax, atol=1e-5 * np.abs(of_jax).max())


@pytest.mark.slow
def test_training_options_give_on_jax_what_they_give_on_tensorflow(npz, teacher_run, tmp_path):
    """The same mixed images, rates, averages and frozen layers: the same losses."""
    pytest.importorskip("tensorflow")
    flags = [f"--{name}={value}" for name, value in OPTIONS.items()]
    flags += [
        "--student=wrn10-1",
        f"--teacher={teacher_run}",
        "--schedule=1-2",
        f"--dataset=npz:{npz}",
        "--batch_size=32",
    ]
    histories = []
    for backend in ("tensorflow", "jax"):
        run_app(backend, "distill", f"--workdir={tmp_path}/{backend}", *flags)
        histories.append(records.read(tmp_path / backend)["history"])
    for theirs, ours in zip(*histories, strict=True):
        losses = {name: theirs[name] for name in ("lr", "loss", "ce", "kd", "test_ce")}
        assert {name: ours[name] for name in losses} == pytest.approx(losses, rel=2e-3)


STEPS = """
import json, sys
import numpy as np
from kdzoo import RunConfig
from kdzoo.data import augmentation, load
from kdzoo.training import backends, build, delivery, inputs, steps

npz, fused, fields = sys.argv[1:]
config = RunConfig("wrn10-1", "1-1", dataset=f"npz:{npz}", batch_size=32, augment="crop_flip", fused_steps=int(fused),
                   **{"lr": 0.01, **json.loads(fields)})
import pathlib
run_inputs = inputs.prepare_inputs(config, pathlib.Path("none"), restart=False, deadline=60.0, workers=0)
dataset = run_inputs.dataset
model = build.build_distiller(run_inputs, delivery.choose_delivery(run_inputs, None))
runner = backends.make(model, dataset, dataset.train, config)
views = np.arange(128) * 5 % 162
seen = runner.make_images(augmentation.pad(dataset.train.images), np.arange(128), views)
begin = 0
for end in steps.call_ends(4, fused=runner.fused):
    runner.run(epoch=0, begin=begin, end=end)
    begin = end
print(json.dumps([np.asarray(seen).tolist(), [runner.metrics(), runner.predict(dataset.test).tolist()]]))
"""


OPTIONS = {"optimizer": "adamw", "lr": 0.001, "warmup_epochs": 0.5, "clip_norm": 1.0, "ema_momentum": 0.5}
OPTIONS |= {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "label_smoothing": 0.1, "freeze": "^stem", "backbone_lr": 0.0005}


@pytest.mark.parametrize("fields", [{}, pytest.param(OPTIONS, marks=pytest.mark.slow)])
def test_fused_steps_on_the_device_see_the_same_views_and_learn_the_same(npz, fields):
    words = str(npz), json.dumps(fields)
    one, fused = (json.loads(run_jax(STEPS, words[0], fused, words[1]).splitlines()[-1]) for fused in ("1", "3"))
    dataset = sources.load(f"npz:{npz}")
    views = augmentation.apply_views(dataset.train.images, np.arange(128) * 5 % 162)
    expected = augmentation.standardise(views, mean=dataset.mean, std=dataset.std)
    np.testing.assert_allclose(one[0], expected, rtol=0, atol=1e-6)
    assert fused[1][0] == pytest.approx(one[1][0], rel=1e-4)
    np.testing.assert_allclose(fused[1][1], one[1][1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "tests",
    [
        "distillation/test_losses.py",
        pytest.param("distillation/test_distiller.py", marks=pytest.mark.slow),
        pytest.param("training/test_divergence.py", marks=pytest.mark.slow),
        pytest.param("training/test_training.py", marks=pytest.mark.slow),
        pytest.param("training/test_unlabelled_runs.py -m slow", marks=pytest.mark.slow),
        pytest.param("models/test_cost.py", marks=pytest.mark.slow),
        pytest.param("training/test_latency.py", marks=pytest.mark.slow),
        "training/test_resume.py -k resumed_run_ends",
        pytest.param("distillation/test_optimizers.py", marks=pytest.mark.slow),
        pytest.param("distillation/test_fine_tuning.py", marks=pytest.mark.slow),
        pytest.param("training/test_training_options.py", marks=pytest.mark.slow),
        pytest.param("training/test_training_options.py -m slow", marks=pytest.mark.slow),
        pytest.param("training/test_kept_epochs.py -m slow", marks=pytest.mark.slow),
        *(
            pytest.param(f"training/test_method_runs.py -k undisturbed_one[{name}] -m slow", marks=pytest.mark.slow)
            for name in registry.names()
            if name not in (*registry.TERMS, "dkd", "vid")
        ),
    ],
)
def test_the_tests_pass_on_jax(tests):
    module = "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
    file, *options = tests.split(" ")
    print(run_jax(module, str(ROOT / "tests" / file), *options))
