"""The command `apps.sweep`: runs of a grid as processes on this machine."""

import json
import signal
import time

import pytest

from conftest import assert_no_command_with, list_commands_with, run_python, start_python
from kdzoo import files
from kdzoo.runs import records


@pytest.fixture
def grid(npz, tmp_path):
    """Writes a grid file of these runs on `npz`."""

    def write(*runs: dict) -> str:
        common = {"dataset": f"npz:{npz}", "batch_size": 32}
        (tmp_path / "grid.json").write_text(
            json.dumps({"workdir": str(tmp_path / "runs"), "common": common, "runs": runs})
        )
        return f"--grid={tmp_path / 'grid.json'}"

    return write


def test_a_sweep_continues_after_failures_and_resumes(grid, tmp_path):
    teacher = {"model": "wrn10-1", "schedule": "1-2", "lr": [0.02, 1e30]}
    students = {"student": "wrn10-1", "schedule": "1-2"}
    students["teacher"] = ["wrn10-1_1-2_lr0.02_seed0", "wrn10-1_1-2_lr1e+30_seed0"]
    command = ["-m", "apps.sweep", grid(teacher, students), "--jobs=2"]
    done = run_python(*command)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "2 of 4 runs finished, 1 waiting, 1 failed"
    assert "waiting: wrn10-1_1-2_kd_wrn10-1_1-2_lr1e+30_seed0_seed0: needs wrn10-1_1-2_lr1e+30_seed0" in lines
    (failure,) = [line for line in lines if line.startswith("failed:")]
    assert "Training diverged in epoch 1" in failure
    student = records.read(tmp_path / "runs" / "wrn10-1_1-2_kd_wrn10-1_1-2_lr0.02_seed0_seed0")
    assert student["method"] == "kd"
    assert student["teachers"][0]["name"] == "wrn10-1_1-2"
    # A finished run counts only if it has the same configuration.
    done = run_python("-m", "apps.sweep", grid({**teacher, "momentum": 0.5}))
    assert done.returncode == 1
    assert "finished with another configuration: momentum 0.9, now 0.5" in done.stdout


@pytest.mark.slow
def test_a_stopped_sweep_resumes(grid, tmp_path):
    flags = [grid({"model": "wrn10-1", "schedule": "20-60", "seed": [0, 1]}), "--checkpoint_minutes=1e-6"]
    with start_python("-m", "apps.sweep", *flags, "--jobs=2") as process:
        while len(list(tmp_path.glob("runs/*/checkpoints"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 75, stderr
    assert stdout.splitlines()[-1] == "0 of 2 runs finished, 2 stopped"
    done = run_python("-m", "apps.sweep", *flags, "--jobs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [len(records.read(path)["sessions"]) for path in tmp_path.glob("runs/wrn*")] == [2, 2]


def test_no_run_starts_that_cannot_reach_a_checkpoint_in_the_budget(grid, tmp_path):
    flags = [grid({"model": "wrn10-1", "schedule": "1-2"}), "--budget_minutes=5", "--checkpoint_minutes=5"]
    done = run_python("-m", "apps.sweep", *flags)
    assert done.returncode == 75
    assert "waiting: wrn10-1_1-2_seed0: to its first checkpoint it may take 6.0 minutes" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_sweep_waits_for_a_run_of_another_process(grid, tmp_path):
    flags = [grid({"model": "wrn10-1", "schedule": "1-1"}), "--jobs=1"]
    workdir = tmp_path / "runs" / "wrn10-1_1-1_seed0"
    workdir.mkdir(parents=True)
    with files.locked(workdir):
        process = start_python("-m", "apps.sweep", *flags)
        time.sleep(3)
        assert process.poll() is None
        assert not (tmp_path / "runs" / "logs").exists()  # no process was started
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "1 of 1 runs finished" in stdout


def test_the_runs_of_a_killed_sweep_end_with_it(grid, tmp_path):
    log = tmp_path / "runs" / "logs" / "wrn10-1_1-1_seed0.txt"
    with start_python("-m", "apps.sweep", grid({"model": "wrn10-1", "schedule": "1-1"})) as process:
        while not log.exists():
            assert process.poll() is None
            time.sleep(0.05)
        while len(list_commands_with(tmp_path)) < 2:
            time.sleep(0.05)
        process.kill()
    # Far less than it takes until the run shows progress, and so meets the closed pipe.
    assert_no_command_with(tmp_path, seconds=3)


@pytest.mark.slow
def test_two_sweeps_share_a_grid(grid):
    flags = [grid({"model": "wrn10-1", "schedule": "1-1", "seed": [0, 1]}), "--jobs=1"]
    processes = [start_python("-m", "apps.sweep", *flags) for _ in range(2)]
    for process in processes:
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stdout + stderr
        assert stdout.splitlines()[-1] == "2 of 2 runs finished"
