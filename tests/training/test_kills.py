"""Real processes, killed at random moments by signals that cannot be caught, and by one that can."""

import importlib.util
import json
import random
import signal
import sys

import pytest

from conftest import JAX_PYTHON, app, ends_within, run_python, start_python
from kdzoo.runs import records
from test_resume import assert_same

AVAILABLE = {
    "tensorflow": importlib.util.find_spec("tensorflow"),
    "jax": sys.executable != JAX_PYTHON or importlib.util.find_spec("jax"),
}
EPOCHS = 12


@pytest.fixture(scope="module", params=["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def backend(request) -> str:
    if not AVAILABLE[request.param]:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def distil(backend, npz, teacher_run):
    """What starts a student's run, with a checkpoint at each step, in a workdir."""
    flags = ["--student=wrn10-1", f"--teacher={teacher_run}", "--method=at+kd", f"--schedule=4-{EPOCHS}", "--seed=3"]
    flags += [f"--dataset=npz:{npz}", "--batch_size=32", "--checkpoint_minutes=1e-6", "--progress=json"]

    def command(workdir) -> dict:
        return app(backend, "distill", *flags, f"--workdir={workdir}")

    return command


def started(command: dict):
    """The process, once it trains."""
    process = start_python(*command.pop("args"), **command)
    line = process.stdout.readline()
    assert line.startswith("{"), process.communicate()
    return process


@pytest.fixture(scope="module")
def undisturbed(distil, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    command = distil(workdir)
    done = run_python(*command.pop("args"), **command)
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir


def kill_and_compare(distil, undisturbed, tmp_path, *, kills: int) -> None:
    rows = records.read(undisturbed)["history"]
    seconds = rows[-1]["time"] - rows[0]["time"]
    moments = random.Random(0)
    killed = runs = 0
    while killed < kills:
        workdir = tmp_path / f"{runs}"
        while not (workdir / records.RECORD).exists():
            with started(distil(workdir)) as process:
                # A third of what training takes at most, so that several kills hit one run.
                killed += not ends_within(process, moments.uniform(0, seconds / 3) if killed < kills else 300)
        assert_same(undisturbed, workdir)
        runs += 1


@pytest.mark.slow
def test_three_kills_leave_the_result_as_it_would_have_been(distil, undisturbed, tmp_path):
    kill_and_compare(distil, undisturbed, tmp_path, kills=3)


@pytest.mark.slow
def test_twenty_kills_leave_the_result_as_it_would_have_been(distil, undisturbed, tmp_path):
    kill_and_compare(distil, undisturbed, tmp_path, kills=20)


def test_sigterm_saves_first(distil, undisturbed, tmp_path):
    with started(distil(tmp_path / "run")) as process:
        for line in process.stdout:
            if json.loads(line)["epoch"] == 1:
                break
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "saved, so that the same command resumes from there" in stdout.splitlines()[-1]
    command = distil(tmp_path / "run")
    done = run_python(*command.pop("args"), **command)
    assert done.returncode == 0, done.stderr[-3000:]
    sessions = records.read(tmp_path / "run")["sessions"]
    assert len(sessions) == 2
    assert sessions[1]["epoch"] >= 1
    assert_same(undisturbed, tmp_path / "run")
