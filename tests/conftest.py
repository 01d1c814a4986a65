import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as kdzoo does, should TensorFlow be imported before it

import atexit
import secrets
import shutil
import tempfile
import time

import numpy as np
import pytest

# Each process of the tests has its own cache of teacher outputs.
os.environ["KDZOO_CACHE"] = tempfile.mkdtemp(prefix="kdzoo-cache-")
atexit.register(shutil.rmtree, os.environ["KDZOO_CACHE"], ignore_errors=True)

ROOT = pathlib.Path(__file__).parents[1]
JAX_ENV = {
    "KERAS_BACKEND": "jax",
    "TFDS_DATA_DIR": None,  # CIFAR-10 comes through TFDS, which needs TensorFlow
    # The processes of the tests compile the same few programs again and again.
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}
JAX_PYTHON = os.environ.get("KDZOO_JAX_PYTHON", sys.executable)
# Code that makes every import of TensorFlow fail, as where it is not installed.
WITHOUT_TENSORFLOW = """
import sys

class WithoutTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, WithoutTensorFlow())
"""


def start_python(
    *args: str, python: str = sys.executable, env: dict[str, str | None] | None = None, **options
) -> subprocess.Popen:
    """Starts `python ARGS` in the checkout, with text output. `env` changes the environment; None unsets a variable."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), **(env or {})}
    environment = {name: value for name, value in environment.items() if value is not None}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([python, *args], env=environment, cwd=ROOT, text=True, **pipes)


def run_python(*args: str, **options) -> subprocess.CompletedProcess:
    """Runs `python ARGS` to its end: see `start_python`."""
    with start_python(*args, **options) as process:
        try:
            stdout, stderr = process.communicate(timeout=600)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def ends_within(process: subprocess.Popen, seconds: float) -> bool:
    """Whether a process ends well in this time; otherwise it is killed, by the signal that cannot be caught."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    assert process.returncode == 0
    return True


def list_commands_with(path: pathlib.Path) -> list[str]:
    """Lists the process IDs of the commands that name this path."""
    return subprocess.run(["pgrep", "-f", str(path)], capture_output=True, text=True, check=False).stdout.split()


def assert_no_command_with(path: pathlib.Path, *, seconds: float) -> None:
    """Fails unless the commands that name this path end within so many seconds."""
    began = time.monotonic()
    while running := list_commands_with(path):
        assert time.monotonic() - began < seconds, running
        time.sleep(0.1)


def app(backend: str, name: str, *args: str) -> dict:
    """Returns the arguments of `run_python` for `python -m apps.NAME ARGS` on a backend, JAX without TensorFlow."""
    if backend == "tensorflow":
        return {"args": ["-m", f"apps.{name}", *args], "env": {"KERAS_BACKEND": backend}}
    module = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    return {"args": ["-c", WITHOUT_TENSORFLOW + module, f"apps.{name}", *args], "python": JAX_PYTHON, "env": JAX_ENV}


@pytest.fixture(scope="session")
def npz(tmp_path_factory) -> pathlib.Path:
    """A small data set: four classes of 16x16 images, each with another bright quarter."""
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
    from kdzoo.runs.config import RunConfig
    from kdzoo.training import train

    workdir = tmp_path_factory.mktemp("runs") / "teacher"
    train.run(RunConfig("wrn10-1", "2-3", dataset=f"npz:{npz}", batch_size=32), workdir)
    return workdir


@pytest.fixture(scope="session")
def published(teacher_run, tmp_path_factory) -> pathlib.Path:
    """A folder of models in which `teacher_run` is published as quarters/wrn10-1_2-3."""
    pytest.importorskip("tensorflow")
    from kdzoo.publishing import publisher

    root = tmp_path_factory.mktemp("models")
    publisher.publish([teacher_run], root, name="quarters/wrn10-1_2-3", licence="Apache-2.0")
    return root


@pytest.fixture(scope="session")
def s3_address() -> str:
    """The address of moto's server of S3."""
    pytest.importorskip("obstore", reason="needs the extra s3")
    pytest.importorskip("moto", reason="needs the extra test-cluster")
    import s3_server

    with s3_server.serve() as address:
        yield address


@pytest.fixture
def bucket(s3_address, monkeypatch) -> str:
    """The URI of an empty store on moto's server, which the environment names."""
    import s3_server

    for name, value in s3_server.environment(s3_address).items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.BUCKET}/{secrets.token_hex(8)}"
