"""Benchmarks of training steps and of precision run; the steps are too few to time."""

import json
import os
import pathlib

import pytest

from conftest import run_python

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.slow


def test_ways_to_distil(tmp_path):
    options = ("--pairs=wrn16-1<wrn16-2", "--ways=plain,live,cold,warm", "--starts=1", "--rounds=2", "--seconds=0.1")
    done = run_python(str(BENCHMARKS / "throughput.py"), *options, f"--out={tmp_path / 'steps.json'}")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "steps.json").read_text())["pairs"]["wrn16-1<wrn16-2"]
    assert set(measured["images_per_second"]) == {"plain", "live", "cold", "warm"}
    assert min(rate for of_way in measured["images_per_second"].values() for rate in of_way) > 0
    assert (tmp_path / "steps.svg").exists()


def test_methods():
    options = ("--methods=kd,vid,label_smoothing,ft pretraining", "--rounds=2", "--seconds=0.1")
    done = run_python(str(BENCHMARKS / "methods.py"), *options)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:3]] for line in done.stdout.splitlines() if "|" in line]
    assert lines[2:] == [
        ["kd", "table"],
        ["vid", "in each step"],
        ["label_smoothing", "none"],
        ["ft pretraining", "in each step"],
    ]


def test_plain_training():
    done = run_python(str(BENCHMARKS / "training.py"), "--networks=wrn10-1", "--rounds=2", "--seconds=0.1")
    assert done.returncode == 0, done.stderr
    assert "| wrn10-1 " in done.stdout
    assert "GFLOP/s" in done.stdout


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set: no CIFAR-10")
def test_precisions(tmp_path):
    done = run_python(
        str(BENCHMARKS / "precision.py"), "--models=wrn16-1_10-35", f"--out={tmp_path / 'precision.json'}"
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "precision.json").read_text())["models"]["wrn16-1_10-35"]
    assert 0 < measured["activations"]["logits"] < 0.02
    of_stem = measured["gradients"]["stem_conv/kernel"]
    assert max(of_stem["precisions"]) < min(of_stem["batches"])
