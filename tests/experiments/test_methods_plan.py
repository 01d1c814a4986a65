"""The plan of the comparison of methods."""

import collections
import json
import pathlib

import pytest

from conftest import run_python
from kdzoo.experiments import grid
from kdzoo.experiments.methods_plan import METHODS, PlannedMethod, methods_grid, plan

ROOT = pathlib.Path("runs/x")
EVERY = [
    PlannedMethod("dkd", "logit"),
    PlannedMethod("fitnets", "feature"),
    PlannedMethod("label_smoothing", "logit", has_teacher=False),
]


def test_logit_methods_have_five_seeds_and_the_others_three():
    made = methods_grid(EVERY, root=ROOT, common={"dataset": "digits"})
    assert made == json.loads(json.dumps(made))  # a grid file could hold it
    assert made["runs"][0] == {"model": "wrn16-2", "schedule": ["5-16", "10-35"], "seed": 0}
    seeds = collections.defaultdict(list)
    for run in made["runs"][1:]:
        seeds[run.get("method", "none")].append(run["seed"])
        teachers = ["wrn16-2_5-16_seed0", "wrn16-2_10-35_seed0"]
        assert run.get("teacher") == (teachers if run.get("method") in ("dkd", "fitnets") else None)
    five, three = [0, 1, 2, 3, 4], [0, 1, 2]
    assert seeds == {"none": five, "dkd": five, "fitnets": three, "label_smoothing": five}
    # The first seed of all methods comes before the second of any.
    assert [run["seed"] for run in made["runs"]] == sorted(run["seed"] for run in made["runs"])


def test_known_methods_are_runs():
    runs = {run.name: run for run in plan(METHODS, root=ROOT, seeds=4, common={"dtype_policy": "mixed_bfloat16"})}
    # Teachers; from scratch; KD with 4 seeds, AT and AT+KD with 3, by 2 teachers.
    assert len(runs) == 2 + 4 + 2 * (4 + 3 + 3)
    run = runs["wrn16-1_10-35_kd_wrn16-2_5-16_seed0_seed3"]
    assert run.needs == ("wrn16-2_5-16_seed0",)
    assert (run.config.kd_weight, run.config.seed, run.config.dtype_policy) == (0.9, 3, "mixed_bfloat16")
    assert not any("at+kd" in name and name.endswith("seed3") for name in runs)


def test_schedules_are_scaled():
    names = [run.name for run in grid.expand(methods_grid(METHODS[:1], root=ROOT, seeds=1, schedule_scale="0.1"))]
    assert names == [
        "wrn16-2_5-16x0.1_seed0",
        "wrn16-2_10-35x0.1_seed0",
        "wrn16-1_10-35x0.1_seed0",
        "wrn16-1_10-35x0.1_kd_wrn16-2_5-16x0.1_seed0_seed0",
        "wrn16-1_10-35x0.1_kd_wrn16-2_10-35x0.1_seed0_seed0",
    ]


def test_the_command_plans_without_data(tmp_path):
    args = ("--table=methods", "--dataset=npz:none.npz", "--seeds=4", "--dry_run", f"--workdir={tmp_path}")
    done = run_python("-m", "apps.reproduce", *args)
    assert done.returncode == 0, done.stderr
    assert "26 of 26 runs are missing: 891 epochs" in done.stdout
    assert "| wrn16-1_10-35_at+kd_wrn16-2_5-16_seed0_seed2 " in done.stdout
    assert "without times: there is no none.npz" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--table=methods", "--rows=1"], "--table=methods has no rows, kd_until and via. Received: --rows"),
        (["--table=methods,7"], "Received: methods"),
    ],
)
def test_impossible_flags_end_in_one_line(args, message, tmp_path):
    done = run_python("-m", "apps.reproduce", *args, f"--workdir={tmp_path}")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
