"""Runs whose teacher outputs come from tables: the student is the same to the bit, whatever the tables hold."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from conftest import JAX_ENV, JAX_PYTHON, WITHOUT_TENSORFLOW, run_python
from kdzoo.distillation import registry
from kdzoo.runs import records
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers.output_cache import Cache


@pytest.fixture
def config(npz, teacher_run) -> RunConfig:
    """Three epochs of four steps, whose views repeat."""
    dataset = f"npz:{npz}"
    return RunConfig("wrn10-1", "2-3", dataset=dataset, batch_size=32, seed=1, lr=0.01, teachers=(str(teacher_run),))


def train(config: RunConfig, workdir: pathlib.Path, cache, **options) -> tuple[bytes, dict]:
    """Weights; and the rows that were needed and computed, with the result of the record."""
    from kdzoo.runs.weights import load_model
    from kdzoo.training.train import run

    record = run(config, workdir, teacher_cache=str(cache), **options)
    weights = b"".join(np.asarray(weight).tobytes() for weight in load_model(workdir).get_weights())
    return weights, record["sessions"][-1]["teacher_rows"] | {"result": records.result(record)}


@pytest.mark.parametrize("method", ["kd", pytest.param("at+kd", marks=pytest.mark.slow)])
def test_a_student_is_the_same_to_the_bit_whatever_the_tables_hold(config, published, tmp_path, monkeypatch, method):
    from kdzoo.runs import machine

    monkeypatch.setenv("KDZOO_HOME", str(published))
    # Each teacher of an ensemble has tables of its own.
    teachers = (*config.teachers, "quarters/wrn10-1_2-3") if method == "kd" else config.teachers
    config = dataclasses.replace(config, teachers=teachers, **METHODS[method])
    if machine.hardware()["accelerators"]:
        pytest.skip("bit for bit is a CPU's promise: see the test of accelerators")
    cache = tmp_path / "cache"
    off, rows = train(config, tmp_path / "off", "off")
    needed = 3 * 128 * len(teachers)
    assert (rows["needed"], rows["asked"]) == (needed, needed)
    cold, of_cold = train(config, tmp_path / "cold", cache)
    assert of_cold["asked"] > 0.9 * needed
    warm, of_warm = train(config, tmp_path / "warm", cache)
    assert (of_warm["needed"], of_warm["asked"]) == (needed, 0)
    assert len(list(cache.glob("*/card.json"))) == 2
    for path in cache.glob("*/rows"):  # a third of the rows lost
        content = np.frombuffer(path.read_bytes(), np.uint8).copy()
        content[: len(content) // 3] = 7
        path.write_bytes(content.tobytes())
    damaged, of_damaged = train(config, tmp_path / "damaged", cache)
    assert 0.2 * needed < of_damaged["asked"] < 0.5 * needed
    assert off == cold == warm == damaged
    assert json.dumps(rows["result"]) == json.dumps(of_cold["result"]) == json.dumps(of_warm["result"])
    if method == "at+kd":
        return
    other = dataclasses.replace(config, seed=2, temperature=2.0, kd_weight=0.5, batch_size=64)
    other_off, _ = train(other, tmp_path / "other_off", "off")
    other_on, of_other = train(other, tmp_path / "other_on", cache)
    assert other_off == other_on
    assert of_other["asked"] < of_other["needed"]


@pytest.mark.parametrize(
    ("method", "dtype_policy"),
    [
        ("kd", "float32"),
        pytest.param("at+kd", "mixed_bfloat16", marks=pytest.mark.slow),
        pytest.param("cc", "mixed_bfloat16", marks=pytest.mark.slow),
    ],
)
def test_a_program_in_the_step_computes_the_same_to_the_bit(tmp_path, method, dtype_policy):
    """With batches of the size of a call, the step calls the teacher's own program."""
    from kdzoo.runs import machine
    from kdzoo.runs.weights import load_model
    from kdzoo.training.train import run

    if machine.hardware()["accelerators"]:
        pytest.skip("bit for bit is a CPU's promise: see the test of accelerators")
    config = RunConfig("wrn10-1", "1-2", dataset="digits", train_examples=384, **registry.fields(method))
    config = dataclasses.replace(config, dtype_policy=dtype_policy, lr=0.01)
    alone = METHODS["none"] | {"distillation_method": "", "method_weight": 0.0}
    run(dataclasses.replace(config, **alone, train_examples=128), tmp_path / "teacher")
    config = dataclasses.replace(config, teachers=(str(tmp_path / "teacher"),))
    live = run(config, tmp_path / "live", teacher_cache="off")
    cached, rows = train(config, tmp_path / "cached", tmp_path / "cache")
    assert "teacher_rows" not in live["sessions"][-1]
    assert rows["asked"] > 0
    assert b"".join(w.tobytes() for w in load_model(tmp_path / "live").get_weights()) == cached
    assert json.dumps(records.result(live)) == json.dumps(rows["result"])


@pytest.mark.parametrize("method", ["pkt", pytest.param("crd", marks=pytest.mark.slow)])
def test_penultimate_features_come_from_a_table(config, tmp_path, method):
    config = dataclasses.replace(config, **registry.fields(method))
    off, rows = train(config, tmp_path / "off", "off")
    cold, of_cold = train(config, tmp_path / "cold", tmp_path / "cache")
    warm, of_warm = train(config, tmp_path / "warm", tmp_path / "cache")
    assert of_cold["asked"] > 0
    assert (of_warm["needed"], of_warm["asked"]) == (3 * 128, 0)
    cards = [json.loads(path.read_text()) for path in (tmp_path / "cache").glob("*/card.json")]
    assert sorted((card["key"]["says"], card["shape"]) for card in cards) == [("features", [64]), ("logits", [4])]
    assert off == cold == warm
    assert json.dumps(rows["result"]) == json.dumps(of_cold["result"]) == json.dumps(of_warm["result"])


def test_features_that_do_not_fit_are_computed_live_which_is_logged(config, tmp_path, caplog):
    config = dataclasses.replace(config, schedule="1-1", **registry.fields("pkt"))
    live, rows = train(config, tmp_path / "live", tmp_path / "cache", cache_gb=1e-6)
    assert rows["asked"] == 128
    assert len([r for r in caplog.records if "The teacher runs live" in r.message]) == 1
    assert live == train(config, tmp_path / "off", "off")[0]


@pytest.mark.parametrize("method", ["kd", "at+kd"])
def test_a_model_in_the_step_computes_nearly_the_same(config, tmp_path, monkeypatch, method):
    """As on accelerators without a cache: another program, so other last bits, but the same training."""
    from kdzoo.training.train import run

    config = dataclasses.replace(config, schedule="1-2", **METHODS[method] | {"lr": 0.001})
    monkeypatch.setattr("kdzoo.training.strategy.is_accelerated", lambda _: True)
    inside = run(config, tmp_path / "inside", teacher_cache="off")
    cached = run(config, tmp_path / "cached", teacher_cache=str(tmp_path / "cache"))
    assert "teacher_rows" not in inside["sessions"][-1]
    assert cached["sessions"][-1]["teacher_rows"]["asked"] > 0
    for one, other in zip(inside["history"], cached["history"], strict=True):
        for name in ("loss", "ce", "kd", "test_ce", *(["at"] if method == "at+kd" else [])):
            assert other[name] == pytest.approx(one[name], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["kd", "at+kd"])
def test_on_jax_a_student_is_the_same_to_the_bit(tmp_path, method):
    """With 32x32 images: of smaller ones, some of XLA's convolutions on a CPU depend on the place in the batch."""
    code = """
import dataclasses, sys
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.training import jax_steps, train
workdir = sys.argv[1]
settings = {"dataset": "digits", "batch_size": 32, "train_examples": 128}
train.run(RunConfig("wrn10-1", "1-1", **settings), workdir + "/teacher")
config = RunConfig("wrn10-1", "2-3", seed=1, teachers=(workdir + "/teacher",), **settings)
def run(name, cache, **changes):
    train.run(dataclasses.replace(config, **changes), f"{workdir}/{name}", teacher_cache=workdir + cache)
config = dataclasses.replace(config, **METHODS[sys.argv[2]])
train.run(config, f"{workdir}/off", teacher_cache="off")
run("cold", "/cache")
run("warm", "/cache")
if sys.argv[2] != "kd":
    sys.exit()
# As on an accelerator: the table on the device, several steps a call, empty first and then full.
jax_steps.fits_on_device = lambda size: size == 4 * 10 * 1437 * 81
run("device_cold", "/cache2")
run("device_warm", "/cache2")
run("device_fused", "/cache2", fused_steps=2)
"""
    done = run_python("-c", WITHOUT_TENSORFLOW + code, str(tmp_path), method, python=JAX_PYTHON, env=JAX_ENV)
    assert done.returncode == 0, done.stderr[-3000:]
    names = ["cold", "warm", *(["device_cold", "device_warm", "device_fused"] if method == "kd" else [])]
    runs = [records.read(tmp_path / name) for name in names]
    computed = [run["sessions"][-1]["teacher_rows"]["asked"] for run in runs]
    losses = [run["history"][0]["loss"] for run in runs]
    assert all(count > 300 for count in computed[::2][:2])
    assert not any(computed[1::2])
    # With the table on the device the step is another program.
    for names in (("off", "cold", "warm"), ("device_cold", "device_warm") if method == "kd" else ()):
        weights = [(tmp_path / f"{name}/model.weights.h5").read_bytes() for name in names]
        assert all(weights[0] == other for other in weights)
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-4)


def test_a_table_too_large_for_the_cache_is_reported_once(config, tmp_path, caplog):
    config = dataclasses.replace(config, schedule="1-1", **METHODS["kd"])
    off, _ = train(config, tmp_path / "off", "off")
    live, rows = train(config, tmp_path / "live", tmp_path / "cache", cache_gb=1e-9)
    assert live == off
    assert rows["asked"] == rows["needed"]
    assert len([r for r in caplog.records if "The teacher runs live" in r.message]) == 1
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("name", ["wrn10-1", "dn10-3", "resnet18"])
def test_outputs_do_not_depend_on_the_place_in_the_call(name):
    import kdzoo
    from kdzoo.teachers import zoo_teacher

    network = kdzoo.build(name, input_shape=(16, 16, 3))
    program = zoo_teacher.compile_program(network, attention=True, features=True)
    images = np.random.default_rng(0).normal(size=(128, 16, 16, 3)).astype(np.float32)
    order = np.random.default_rng(1).permutation(128)
    one, other = program(images), program(images[order])
    for kind in ("logits", "features"):
        assert one[kind].dtype == np.float32
        np.testing.assert_array_equal(np.asarray(one[kind])[order], other[kind])
    for of_one, of_other in zip(one["maps"], other["maps"], strict=True):
        assert of_one.dtype == np.float16
        np.testing.assert_array_equal(np.asarray(of_one)[order], of_other)
    head = network.layers[-1]
    computed = np.asarray(one["features"]) @ np.asarray(head.kernel) + np.asarray(head.bias)
    np.testing.assert_allclose(computed, np.asarray(one["logits"]), rtol=1e-4, atol=1e-4)


def test_precomputed_rows_are_not_computed_again(config, tmp_path):
    from kdzoo.teachers.precompute import precompute

    config = dataclasses.replace(config, **METHODS["kd"])
    cache = Cache(tmp_path / "cache")
    seen = []
    calls = iter([False, True])
    assert precompute(config, cache, seeds=[1, 2], stopping=lambda: next(calls)) == (0, 128)
    present, added = precompute(config, cache, seeds=[1, 2], progress=lambda done, of: seen.append((done, of)))
    assert present == 128
    assert seen[-1] == (present + added,) * 2
    assert 700 < present + added <= 2 * 3 * 128 + 64
    for seed in (1, 2):
        _, rows = train(dataclasses.replace(config, seed=seed), tmp_path / f"{seed}", cache.folder)
        assert rows["asked"] == 0
