import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Puts a stop to every import of TensorFlow in the process it starts.
WITHOUT_TENSORFLOW = "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'tensorflow_datasets')))\n"


def run_python(*args: str, python: str = sys.executable, env: dict[str, str | None] | None = None):
    """Runs `python ARGS` in the checkout; `env` changes the environment, None unsets. Returns the completed process."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), **(env or {})}
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.run(
        [python, *args], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="session")
def npz(tmp_path_factory) -> pathlib.Path:
    """A small data set that can be learnt: four classes of 16x16 images, each bright in a quarter of its own."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "quarters.npz"
    arrays = {}
    for split, count in (("train", 128), ("test", 64)):
        labels = np.arange(count) % 4
        images = rng.integers(0, 100, (count, 16, 16, 3))
        for image, label in zip(images, labels, strict=True):
            top, left = 8 * (label // 2), 8 * (label % 2)
            image[top : top + 8, left : left + 8] += 100
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels.astype(np.uint8)}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def teacher_run(npz, tmp_path_factory) -> pathlib.Path:
    """A finished run of wrn10-1 on `npz`."""
    from kdzoo import training
    from kdzoo.config import RunConfig

    workdir = tmp_path_factory.mktemp("runs") / "teacher"
    training.run(RunConfig("wrn10-1", "2-3", dataset=f"npz:{npz}", batch_size=32), workdir)
    return workdir
