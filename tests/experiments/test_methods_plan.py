"""The plan of the comparison of methods."""

import collections
import json
import pathlib
import re

import pytest

from conftest import run_python
from kdzoo.distillation import registry
from kdzoo.experiments import grid
from kdzoo.experiments.methods_plan import PlannedMethod, methods_grid, plan, registered

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


TERMS = [PlannedMethod("kd", "logit"), PlannedMethod("at", "feature"), PlannedMethod("at+kd", "feature")]


def test_known_methods_are_runs():
    runs = {run.name: run for run in plan(TERMS, root=ROOT, seeds=4, common={"dtype_policy": "mixed_bfloat16"})}
    # Teachers; from scratch; KD with 4 seeds, AT and AT+KD with 3, by 2 teachers.
    assert len(runs) == 2 + 4 + 2 * (4 + 3 + 3)
    run = runs["wrn16-1_10-35_kd_wrn16-2_5-16_seed0_seed3"]
    assert run.needs == ("wrn16-2_5-16_seed0",)
    assert (run.config.kd_weight, run.config.seed, run.config.dtype_policy) == (0.9, 3, "mixed_bfloat16")
    assert not any("at+kd" in name and name.endswith("seed3") for name in runs)


def test_all_methods_of_the_registry_are_planned():
    planned = {method.name: method for method in registered()}
    assert set(planned) == set(registry.names()) - {"none", "fsp"}
    assert [planned[name].kind for name in ("kd", "at", "dkd", "vid")] == ["logit", "feature", "logit", "feature"]
    assert not planned["label_smoothing"].has_teacher
    runs = {run.name: run for run in plan(registered(), root=ROOT)}
    logit = [name for name, method in planned.items() if method.kind == "logit" and method.has_teacher]
    feature = [name for name, method in planned.items() if method.kind == "feature"]
    without = [name for name, method in planned.items() if not method.has_teacher]
    assert len(runs) == 2 + 5 + 5 * len(without) + 2 * (5 * (len(logit) - 1) + 3 * len(feature)) + 5
    assert runs["wrn16-1_10-35_tfkd_self_wrn16-1_10-35_seed0_seed1"].needs == ("wrn16-1_10-35_seed0",)


def test_schedules_are_scaled():
    names = [run.name for run in grid.expand(methods_grid(TERMS[:1], root=ROOT, seeds=1, schedule_scale="0.1"))]
    assert names == [
        "wrn16-2_5-16x0.1_seed0",
        "wrn16-2_10-35x0.1_seed0",
        "wrn16-1_10-35x0.1_seed0",
        "wrn16-1_10-35x0.1_kd_wrn16-2_5-16x0.1_seed0_seed0",
        "wrn16-1_10-35x0.1_kd_wrn16-2_10-35x0.1_seed0_seed0",
    ]


def test_teachers_that_are_trained_already():
    made = methods_grid(EVERY, root=ROOT, seeds=1, schedule_scale="0.2", teachers=("wrn16-2_5-16", "runs/mine"))
    assert made["runs"] == [
        {"model": "wrn16-1", "schedule": "10-35x0.2", "seed": 0},
        *(
            {"student": "wrn16-1", "schedule": "10-35x0.2", "method": name, "seed": 0, "teacher": teachers}
            for name in ("dkd", "fitnets")
            for teachers in [["wrn16-2_5-16", "runs/mine"]]
        ),
        {"student": "wrn16-1", "schedule": "10-35x0.2", "method": "label_smoothing", "seed": 0},
    ]


def test_the_command_plans_without_data(tmp_path):
    args = ("--table=methods", "--dataset=npz:none.npz", "--seeds=4", "--dry_run", f"--workdir={tmp_path}")
    done = run_python("-m", "apps.reproduce", *args)
    assert done.returncode == 0, done.stderr
    assert re.search(r"(\d+) of \1 runs are missing: [\d,]+ epochs", done.stdout)
    assert "| wrn16-1_10-35_at+kd_wrn16-2_5-16_seed0_seed2 " in done.stdout
    assert "without times: there is no none.npz" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--table=methods", "--rows=1"], "--table=methods has no rows, kd_until and via. Received: --rows"),
        (["--table=methods,7"], "Received: methods"),
        (["--table=7", "--teachers=wrn16-2_5-16"], "teachers are of --table=methods"),
    ],
)
def test_impossible_flags_end_in_one_line(args, message, tmp_path):
    done = run_python("-m", "apps.reproduce", *args, f"--workdir={tmp_path}")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
