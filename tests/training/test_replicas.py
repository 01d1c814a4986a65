"""MirroredStrategy on two logical CPUs against one device, in a process of its own: devices cannot be split later."""

import json

import pytest

from conftest import run_python

pytestmark = pytest.mark.slow  # a minute, in `.ci/run`
SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import kdzoo
from kdzoo import RunConfig
from kdzoo.data import load
from kdzoo.optimizers import CoupledSGD
from kdzoo.publishing.export import write_saved_model
from kdzoo.runs.weights import load_model
from kdzoo.training import Stopped, mirrored_strategy, run

dataset, workdir = sys.argv[1:]
results = {}

def linear(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="stage1", kernel_regularizer="l2")(inputs)
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(x)))

rng = np.random.default_rng(0)
x, y = rng.normal(size=(64, 8, 8, 3)).astype("float32"), rng.integers(0, 5, 64)
for name, strategy in (("one", tf.distribute.get_strategy()), ("two", mirrored_strategy())):
    with strategy.scope():
        distiller = kdzoo.Distiller(linear(0), linear(1), at_weight=10.0)
        distiller.compile(CoupledSGD(0.1))
    logs = distiller.fit(x, y, batch_size=32, epochs=3, shuffle=False, verbose=0,
                         validation_data=(x[:50], y[:50]), validation_batch_size=32).history
    results[f"linear {name}"] = logs

for name, strategy in (("one", "none"), ("two", "mirrored")):
    common = {"schedule": "1-2", "dataset": dataset, "batch_size": 64, "lr": 0.005, "strategy": strategy}
    taught = {"teachers": (f"{workdir}/teacher-one",), "ce_weight": 0.1, "kd_weight": 0.9, "at_weight": 100.0}
    runs = [run(RunConfig("wrn10-2", **common), f"{workdir}/teacher-{name}"),
            run(RunConfig("wrn10-1", **taught, **common), f"{workdir}/student-{name}")]
    for record, who in zip(runs, ("teacher", "student")):
        results[f"{who} {name}"] = {key: [row[key] for row in record["history"]]
                                    for key in ("loss", "ce", "kd", "at", "test_ce") if key in record["history"][0]}
options = {"optimizer": "adamw", "lr": 0.0005, "warmup_epochs": 0.5, "ema_momentum": 0.5, "label_smoothing": 0.1}
options |= {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "freeze": "^stem", "backbone_lr": 0.0002}
for name, strategy in (("one", "none"), ("two", "mirrored")):
    config = RunConfig("wrn10-1", **{**common, **taught, **options, "strategy": strategy})
    history = run(config, f"{workdir}/options-{name}")["history"]
    results[f"options {name}"] = {key: [row[key] for row in history] for key in ("loss", "ce", "kd", "at", "test_ce")}
of, published = load(dataset), f"{workdir}/published"
run(RunConfig("wrn10-1", "2-3", dataset, batch_size=32), f"{workdir}/teacher")
write_saved_model(load_model(f"{workdir}/teacher"), f"{published}/1", mean=of.mean, std=of.std)
for name, strategy in (("one", "none"), ("two", "mirrored")):
    external = {**common, **taught, "schedule": "1-1", "strategy": strategy, "teachers": (published,)}
    (row,) = run(RunConfig("wrn10-1", **external), f"{workdir}/external-{name}")["history"]
    results[f"external {name}"] = {key: row[key] for key in ("loss", "ce", "kd", "at", "test_ce")}
calls = iter([False] * 2 + [True])
config = RunConfig("wrn10-1", **taught, **common)
try:
    run(config, f"{workdir}/resumed", stopping=lambda: next(calls))
except Stopped as stopped:
    results["stopped"] = str(stopped)
run(config, f"{workdir}/resumed")
resumed, undisturbed = (load_model(f"{workdir}/{name}").get_weights() for name in ("resumed", "student-two"))
results["resumed"] = all((a == b).all() for a, b in zip(resumed, undisturbed))
moving = [[w.numpy() for w in load_model(f"{workdir}/student-{n}").weights if "moving" in w.path]
          for n in ("one", "two")]
results["moving"] = max(float(np.max(np.abs(a - b) / (np.abs(a) + 1e-3))) for a, b in zip(*moving))
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(npz, tmp_path_factory) -> dict:
    pytest.importorskip("tensorflow")
    done = run_python("-c", SCRIPT, f"npz:{npz}", str(tmp_path_factory.mktemp("replicas")))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("who", "tolerance"),
    [("linear", 1e-5), ("teacher", 1e-4), ("student", 1e-4), ("external", 1e-4), ("options", 1e-3)],
)
def test_two_replicas_give_the_losses_of_one(results, who, tolerance):
    one, two = results[f"{who} one"], results[f"{who} two"]
    assert one.keys() == two.keys()
    for key in one:
        assert two[key] == pytest.approx(one[key], rel=tolerance), key


def test_moving_statistics_are_those_of_the_whole_batch(results):
    assert results["moving"] < 1e-3


def test_a_resumed_mirrored_run_ends_as_an_undisturbed_one(results):
    assert results["stopped"] == "in epoch 2 of 2, step 1 of 2"
    assert results["resumed"]
