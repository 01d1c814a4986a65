"""The JAX backend, in processes without TensorFlow: `$KDZOO_JAX_PYTHON`, or this Python with its import forbidden."""

import json
import os
import sys

import numpy as np
import pytest

from conftest import ROOT, WITHOUT_TENSORFLOW, run_python

PYTHON = os.environ.get("KDZOO_JAX_PYTHON", sys.executable)
if sys.executable == PYTHON:
    pytest.importorskip("jax")

LOSSES = """
import json, sys
import numpy as np
import kdzoo
from kdzoo import data, training
from kdzoo.batches import Batches
from kdzoo.optimizers import CoupledSGD

npz, weights = sys.argv[1:]
dataset = data.load(f"npz:{npz}")
student, teacher = (kdzoo.build(name, num_classes=4, input_shape=(16, 16, 3)) for name in ("wrn10-1", "wrn10-2"))
student.load_weights(f"{weights}/student.weights.h5")
teacher.load_weights(f"{weights}/teacher.weights.h5")
distiller = kdzoo.Distiller(student, teacher, at_weight=100.0)
distiller.compile(CoupledSGD(0.02))
rows = []
for epoch in range(2):
    batches = Batches(dataset.train, dataset, seed=0, epoch=epoch, batch_size=32, augment="crop_flip")
    logs = distiller.fit(batches, shuffle=False, verbose=0).history
    rows.append({name: values[0] for name, values in logs.items()})
rows.append(dict(zip(("error", "ce"), training.evaluate(
    distiller, training.standardised(dataset.test.images, dataset), dataset.test.labels))))
rows.append({"loaded": sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "jax"})})
print(json.dumps(rows))
"""


def run_jax(code: str, *args: str):
    # CIFAR-10 comes through TFDS, which needs TensorFlow.
    env = {"KERAS_BACKEND": "jax", "TFDS_DATA_DIR": None}
    done = run_python("-c", WITHOUT_TENSORFLOW + code, *args, python=PYTHON, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_jax_gives_the_losses_of_tensorflow(npz, tmp_path):
    pytest.importorskip("tensorflow")
    import keras

    import kdzoo

    keras.utils.set_random_seed(0)
    for name, model in (("student", "wrn10-1"), ("teacher", "wrn10-2")):
        network = kdzoo.build(model, num_classes=4, input_shape=(16, 16, 3))
        network.save_weights(tmp_path / f"{name}.weights.h5")
    tensorflow = run_python("-c", LOSSES, str(npz), str(tmp_path), env={"KERAS_BACKEND": "tensorflow"})
    assert tensorflow.returncode == 0, tensorflow.stderr[-3000:]
    *expected, loaded_there = json.loads(tensorflow.stdout.splitlines()[-1])
    *rows, _ = json.loads(run_jax(LOSSES, str(npz), str(tmp_path)).splitlines()[-1])
    assert "tensorflow" in loaded_there["loaded"]
    errors = [row.pop("error") for row in (rows[-1], expected[-1])]
    for row, expected_row in zip(rows, expected, strict=True):
        assert row == pytest.approx(expected_row, rel=1e-3)
    assert errors[0] == pytest.approx(errors[1], abs=100 / 64 * 1.01)  # one image of the 64
    np.testing.assert_allclose(rows[0]["loss"], expected[0]["loss"], rtol=1e-4)


def test_jax_trains_distils_and_evaluates_by_the_commands(npz, tmp_path):
    common = ["--schedule=1-2", f"--dataset=npz:{npz}", "--batch_size=32"]
    module = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    teacher, student = f"{tmp_path}/teacher", f"{tmp_path}/student"
    run_jax(module, "apps.train", "--model=wrn10-2", f"--workdir={teacher}", *common)
    run_jax(module, "apps.distill", "--student=wrn10-1", f"--teacher={teacher}", f"--workdir={student}", *common)
    printed = run_jax(module, "apps.evaluate", f"--model={student}")
    record = json.loads((tmp_path / "student" / "record.json").read_text())
    assert record["versions"]["backend"] == "jax"
    assert f"test error {record['test_error_last']:.2f} %" in printed


@pytest.mark.parametrize("tests", ["test_losses.py", "test_distiller.py", "test_training.py"])
def test_the_tests_pass_on_jax(tests):
    module = "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
    print(run_jax(module, str(ROOT / "tests" / tests)))
