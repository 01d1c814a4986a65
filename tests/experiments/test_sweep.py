import json
import os
import signal
import time

import pytest

from conftest import ROOT, run_python, start_python
from kdzoo.experiments import sweep
from kdzoo.runs import records
from zoo import InputError


def names(grid: dict) -> list[str]:
    return [run.name for run in sweep.expand(grid)]


def test_a_list_stands_for_a_run_with_each_value():
    grid = {
        "workdir": "runs/x",
        "common": {"dataset": "digits", "lr": 0.05},
        "runs": [
            {"model": ["wrn10-2", "wrn16-2"], "schedule": ["10-35", "20-65"], "lr": [0.1, 0.2]},
            {"student": "wrn10-1", "schedule": "60-200", "seed": [0, 1]},
        ],
    }
    runs = sweep.expand(grid)
    assert [run.name for run in runs] == [
        *(f"{m}_{s}_lr{lr}_seed0" for m in ("wrn10-2", "wrn16-2") for s in ("10-35", "20-65") for lr in (0.1, 0.2)),
        "wrn10-1_60-200_seed0",
        "wrn10-1_60-200_seed1",
    ]
    assert runs[-1].config.lr == 0.05
    assert runs[-1].config.method == "none"
    assert str(runs[-1].workdir) == "runs/x/wrn10-1_60-200_seed1"


def test_a_student_waits_for_its_teachers(teacher_run):
    teacher = "wrn10-2_1-2_seed0"
    grid = {
        "runs": [
            {"model": "wrn10-2", "schedule": "1-2"},
            {"student": "wrn10-1", "schedule": "1-2", "teacher": [teacher, f"{teacher},{teacher_run}"]},
            {"student": "wrn10-1", "schedule": "1-2", "teacher": str(teacher_run), "method": ["at", "at+kd"]},
        ]
    }
    _, one, two, *others = sweep.expand(grid)
    assert (one.name, one.needs, one.config.teachers) == (
        f"wrn10-1_1-2_kd_{teacher}_seed0",
        (teacher,),
        (f"runs/{teacher}",),
    )
    assert (two.needs, two.config.teachers) == ((teacher,), (f"runs/{teacher}", str(teacher_run)))
    assert [run.config.method for run in others] == ["at", "at+kd"]
    assert others[0].needs == ()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], "A grid must be"),
        ({"runs": [{"model": "wrn10-1"}]}, "A grid must be"),
        ({"runs": [{"model": "wrn10-1", "student": "wrn10-1", "schedule": "1-2"}]}, "A grid must be"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "sed": 1}]}, "A grid must be .*sed"),
        ({"runs": [3]}, "A grid must be"),
        ({"jobs": 2, "runs": []}, "A grid must be"),
        ({"common": 3, "runs": []}, "A grid must be"),
        ({"runs": [{"model": "vgg16", "schedule": "1-2"}]}, "for example wrn16-2"),
        ({"runs": [{"model": "wrn10-1", "schedule": "2-1"}]}, "A schedule must be"),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2", "seed": "0"}]}, "flags must be those of apps.train"),
        ({"runs": [{"student": "wrn10-1", "schedule": "1-2", "method": "kd"}]}, "none without a teacher"),
        (
            {"runs": [{"student": "wrn10-1", "schedule": "1-2", "teacher": "nobody"}]},
            "A teacher must be an earlier run",
        ),
        ({"runs": [{"model": "wrn10-1", "schedule": "1-2"}] * 2}, "two wrn10-1_1-2_seed0"),
    ],
)
def test_what_is_no_grid_is_refused(grid, message):
    with pytest.raises(InputError, match=message):
        sweep.expand(grid)


@pytest.mark.parametrize("path", sorted(ROOT.glob("apps/grids/*.json")), ids=lambda path: path.stem)
def test_the_grids_that_come_along_are_grids(path):
    assert sweep.read_grid(path)


def test_a_card_s_memory_is_shared_fairly(monkeypatch):
    for name in ("XLA_PYTHON_CLIENT_MEM_FRACTION", "TF_FORCE_GPU_ALLOW_GROWTH"):
        monkeypatch.delenv(name, raising=False)
    shares = [sweep.share(slot, jobs=8, devices=["0", "3"]) for slot in range(8)]
    assert [env["CUDA_VISIBLE_DEVICES"] for env, _ in shares] == ["0", "3"] * 4
    assert {env["XLA_PYTHON_CLIENT_MEM_FRACTION"] for env, _ in shares} == {"0.225"}
    assert all(cores is None for _, cores in shares)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert sweep.gpus() == ["GPU-a", "GPU-b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert sweep.gpus() == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no processor affinity on this system")
def test_without_a_card_the_cores_are_shared():
    every = os.sched_getaffinity(0)
    shares = [sweep.share(slot, jobs=2, devices=[])[1] for slot in range(2)]
    assert all(len(cores) == max(1, len(every) // 2) for cores in shares)
    if len(every) > 1:
        assert not shares[0] & shares[1]


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


def test_a_sweep_goes_past_failures_and_is_gone_on_with(grid, tmp_path):
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
    # What is finished counts only if it is what is asked for.
    done = run_python("-m", "apps.sweep", grid({**teacher, "momentum": 0.5}))
    assert done.returncode == 1
    assert "finished with another configuration: momentum 0.9, now 0.5" in done.stdout


def test_a_stopped_sweep_goes_on_where_it_was(grid, tmp_path):
    flags = [grid({"model": "wrn10-1", "schedule": "4-12", "seed": [0, 1]}), "--checkpoint_minutes=1e-6"]
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


def test_a_run_that_another_process_is_at_is_left_to_it(grid, tmp_path):
    from kdzoo import files

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


@pytest.mark.slow
def test_two_sweeps_share_a_grid(grid):
    flags = [grid({"model": "wrn10-1", "schedule": "1-1", "seed": [0, 1]}), "--jobs=1"]
    processes = [start_python("-m", "apps.sweep", *flags) for _ in range(2)]
    for process in processes:
        stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stdout + stderr
        assert stdout.splitlines()[-1] == "2 of 2 runs finished"
