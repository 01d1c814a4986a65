"""Runs by each method of the literature: they learn, resume to the bit, and do not depend on the cache."""

import json

import numpy as np
import pytest

from conftest import run_python
from kdzoo.distillation import registry
from kdzoo.runs.config import RunConfig
from kdzoo.training import train
from kdzoo.training.state import Stopped
from test_resume import assert_same, stop_after

METHODS = [name for name in registry.names() if name not in registry.TERMS]
SAMPLE = ("dkd", "vid")  # one with tables of teacher outputs, one with adapters
each = pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.slow) for name in METHODS]
)


def make_config(method: str, npz, teacher_run, **more) -> RunConfig:
    """Two epochs of four steps."""
    teachers = (str(teacher_run),) if registry.load(method).has_teacher else ()
    fields = {"dataset": f"npz:{npz}", "batch_size": 32, "seed": 1, "lr": 0.001, "teachers": teachers}
    return RunConfig("wrn10-1", "1-2", **fields | registry.fields(method) | more)


@each
def test_a_run_that_is_stopped_within_an_epoch_ends_as_an_undisturbed_one(method, npz, teacher_run, tmp_path):
    config = make_config(method, npz, teacher_run)
    record = train.run(config, tmp_path / "undisturbed", teacher_cache="off")
    assert record["method"].removesuffix("+kd") == method
    losses = [row.get("method_loss", np.nan) for row in record["history"]]
    pretrained = bool(registry.load(method).pretrained)  # in the first epoch
    assert np.isfinite(losses).tolist() == [not pretrained, True]
    for calls in (1, 0, 3):
        with pytest.raises(Stopped, match="in epoch"):
            train.run(config, tmp_path / "stopped", stopping=stop_after(calls), teacher_cache=str(tmp_path / "cache"))
    train.run(config, tmp_path / "stopped", teacher_cache=str(tmp_path / "cache"))
    assert_same(tmp_path / "undisturbed", tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vid", "dkd"])
def test_after_kd_until_the_student_learns_from_labels(method, npz, teacher_run, tmp_path):
    config = make_config(method, npz, teacher_run, kd_until=0.5)
    record = train.run(config, tmp_path / "undisturbed")
    assert ["method_loss" in row for row in record["history"]] == [True, False]
    with pytest.raises(Stopped, match="in epoch 2"):
        train.run(config, tmp_path / "stopped", stopping=stop_after(5))
    train.run(config, tmp_path / "stopped")
    assert_same(tmp_path / "undisturbed", tmp_path / "stopped")


REPLICAS = """
import json, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kdzoo import RunConfig
from kdzoo.distillation import registry
from kdzoo.training import run

dataset, teacher, workdir, *methods = sys.argv[1:]
common = {"dataset": dataset, "batch_size": 64, "lr": 0.001, "dtype_policy": "float32"}
results = {}
for method in methods:
    teachers = (teacher,) if registry.load(method).has_teacher else ()
    fields = registry.fields(method) | common | {"teachers": teachers}
    schedule = "1-2" if registry.load(method).pretrained else "1-1"
    rows = []
    for strategy in ("none", "mirrored"):
        record = run(RunConfig("wrn10-1", schedule, **fields, strategy=strategy), f"{workdir}/{method}-{strategy}")
        rows.append(record["history"][-1])
    results[method] = [{key: row[key] for key in ("loss", "ce", "method_loss", "test_ce")} for row in rows]
print(json.dumps(results))
"""


@pytest.mark.slow
def test_two_replicas_give_the_losses_of_one(npz, teacher_run, tmp_path):
    """Relations within a batch are those of the whole batch."""
    pytest.importorskip("tensorflow")
    done = run_python("-c", REPLICAS, f"npz:{npz}", str(teacher_run), str(tmp_path), *METHODS)
    assert done.returncode == 0, done.stderr[-3000:]
    apart = {}
    for method, (one, two) in json.loads(done.stdout.splitlines()[-1]).items():
        for key, value in one.items():
            if two[key] != pytest.approx(value, rel=1e-4, abs=1e-7):
                apart[method, key] = value, two[key]
    assert not apart


def test_a_method_of_a_third_party_is_found_by_its_entry_point(tmp_path, npz, teacher_run):
    (tmp_path / "cosine.py").write_text(COSINE)
    info = tmp_path / "cosine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cosine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kdzoo.methods]\ncosine = cosine:Cosine\n")
    command = ["-m", "apps.distill", "--student=wrn10-1", f"--teacher={teacher_run}", f"--dataset=npz:{npz}"]
    command += ["--schedule=1-1", "--batch_size=32", "--method=cosine", f"--workdir={tmp_path}/run"]
    done = run_python(*command, "--method_args=power=3", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert (record["method"], record["config"]["method_args"]) == ("cosine", '{"power": 3}')


COSINE = '''
"""Cosine: a test."""
import dataclasses
from keras import ops
from kdzoo.distillation.method import Method

@dataclasses.dataclass(frozen=True)
class Cosine(Method):
    """Cosine distance of penultimate features."""
    power: int = 1
    needs = ("features",)

    def compute(self, student, teacher, *, labels, adapters):
        a, b = (ops.normalize(x.features, axis=-1) for x in (student, teacher))
        return (1 - ops.sum(a * b, axis=-1)) ** self.power
'''
