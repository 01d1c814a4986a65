"""From the paper's rows to finished runs: `apps.reproduce`."""

import contextlib
import csv
import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

from conftest import run_python, start_python
from kdzoo.experiments import paper_runs, sweep
from kdzoo.experiments.paper_runs import Machine, Variant
from kdzoo.paper import printed
from kdzoo.runs import records
from zoo import InputError

WORKDIR = pathlib.Path("runs/x")


def plan(table: int, rows: str, **options) -> list[paper_runs.Experiment]:
    options = {"root": WORKDIR, "seeds": (0, 1), "common": {"dataset": "digits"}, **options}
    return paper_runs.plan(paper_runs.choose(table, rows), **options)


def names(runs) -> list[str]:
    return [run.name for run in runs]


def test_lines_and_rows_that_the_table_lacks_are_chosen():
    assert [(row.line, row.teacher, row.mode) for row in paper_runs.choose(7, "0,3-4,wrn16-2:20/65")] == [
        (0, None, "60/200"),
        (3, "wrn16-3", "60/200"),
        (4, "wrn16-3", "25/80"),
        (-1, "wrn16-2", "20/65"),
    ]
    assert paper_runs.choose(7, "wrn16-2:20/65")[0].student_error is None
    assert len(paper_runs.choose(7)) == len(printed.rows(7)) + 1


def test_the_student_from_scratch_is_a_row_of_every_table_with_students():
    published = {
        table: (row.student, row.student_error) for table in printed.TABLES if (row := paper_runs.scratch(table))
    }
    assert published == {
        3: ("wrn16-1", None),
        7: ("wrn16-1", 8.751),
        8: ("wrn28-1", 7.101),
        9: ("wrn16-1", 8.751),
        10: ("wrn28-1", 7.101),
    }


@pytest.mark.parametrize(
    "rows", ["99", "3-2", "0-99", "wrn16-2", "wrn16-2:2065", "wrn16-2:65/20", "vgg16:20/65", "x", "1,,2"]
)
def test_what_is_no_row_is_refused(rows):
    with pytest.raises(InputError, match="Received: "):
        paper_runs.choose(7, rows)


def test_a_row_without_student_takes_no_others():
    with pytest.raises(InputError, match="no students"):
        paper_runs.choose(4, "resnet18:30/90")


def test_a_row_needs_its_teacher_and_its_students():
    scratch, itself, taught = plan(7, "0,1,wrn16-2:20/65")
    assert names(scratch.students.values()) == ["wrn16-1_60-200_seed0", "wrn16-1_60-200_seed1"]
    # A teacher is one with the run of the same network from scratch.
    assert itself.teachers == (scratch.students[0],)
    assert names(taught.teachers) == ["wrn16-2_20-65_seed0"]
    assert names(taught.students.values()) == [
        "wrn16-1_60-200_kd_wrn16-2_20-65_seed0_seed0",
        "wrn16-1_60-200_kd_wrn16-2_20-65_seed0_seed1",
    ]
    run = taught.students[1]
    assert (run.needs, run.workdir) == (("wrn16-2_20-65_seed0",), WORKDIR / run.name)
    assert (run.config.dataset, run.config.seed, run.config.kd_weight) == ("digits", 1, 0.9)


def test_scaled_schedules_show_in_every_name():
    (one,) = plan(7, "wrn16-2:20/65", schedule_scale="0.25")
    assert names(one.runs(1)) == ["wrn16-2_20-65x0.25_seed0", "wrn16-1_60-200x0.25_kd_wrn16-2_20-65x0.25_seed0_seed1"]
    assert [paper_runs.epochs(run) for run in one.runs(1)] == [16, 50]


def test_any_row_can_be_stopped_early_or_taught_by_way_of_others():
    variants = (Variant(), Variant(kd_until=0.5), Variant(via=("wrn16-1", "wrn16-1")))
    scratch, plain, stopped, chain = plan(7, "0,wrn16-2:20/65", variants=variants, seeds=(0,))
    assert str(scratch.variant) == ""
    assert plain.teachers == stopped.teachers == chain.teachers[:1]
    assert names(stopped.students.values()) == ["wrn16-1_60-200_kd_wrn16-2_20-65_seed0_kd_until0.5_seed0"]
    assert stopped.students[0].config.kd_until == 0.5
    first = "wrn16-1_60-200_kd_wrn16-2_20-65_seed0_seed0"
    second = f"wrn16-1_60-200_kd_{first}_seed0"
    assert names(chain.runs(0)) == ["wrn16-2_20-65_seed0", first, second, f"wrn16-1_60-200_kd_{second}_seed0"]
    assert chain.students[0].needs == (second,)
    assert paper_runs.networks(chain.students[0]) == ("wrn16-1", "wrn16-1")


def test_each_row_s_first_seed_comes_before_any_second_and_the_cheapest_first():
    planned = plan(7, "wrn16-8:60/200,wrn16-2:60/200,wrn16-2:20/65")
    cost = {"wrn16-8": 100, "wrn16-2": 10, "wrn16-1": 1}
    runs = paper_runs.order(planned, (0, 1), lambda run: cost[run.config.model] * paper_runs.epochs(run))
    student = "wrn16-1_60-200_kd_{}_seed0_seed{}"
    assert names(runs) == [
        *("wrn16-2_20-65_seed0", student.format("wrn16-2_20-65", 0)),
        *("wrn16-2_60-200_seed0", student.format("wrn16-2_60-200", 0)),
        *("wrn16-8_60-200_seed0", student.format("wrn16-8_60-200", 0)),
        *(student.format(teacher, 1) for teacher in ("wrn16-8_60-200", "wrn16-2_60-200", "wrn16-2_20-65")),
    ]


def test_the_estimate_counts_each_view_of_a_teacher_once():
    (taught,) = plan(7, "wrn16-2:20/65")
    machine = Machine({"wrn16-1": 1e-3, "wrn16-2": 4e-3}, train_examples=1000, test_examples=100)
    runs = paper_runs.order([taught], (0, 1), machine.seconds)
    seconds = paper_runs.estimate(runs, machine)
    # Of the teacher 65 epochs of 1,000 images, three passes each, and 100 forward; 4 ms a pass.
    assert seconds[runs[0].name] == pytest.approx(65 * 3100 * 4e-3)
    # After 200 epochs an image has shown 162 * (1 - (161/162)**200) = 115.044 of its views, after 400 148.390.
    assert seconds[runs[1].name] == pytest.approx(200 * 3100 * 1e-3 + (115.0444 * 1000 + 100) * 4e-3, rel=1e-5)
    assert seconds[runs[2].name] == pytest.approx(200 * 3100 * 1e-3 + (33.3455 * 1000 + 100) * 4e-3, rel=1e-5)


def test_every_table_can_be_planned():
    every = [one for table in printed.TABLES if table != 4 for one in plan(table, "", seeds=range(5), common={})]
    runs = paper_runs.order(every, range(5), paper_runs.epochs)
    assert len(runs) == len({run.name for run in runs})
    done = set()
    for run in runs:
        assert set(run.needs) <= done
        done.add(run.name)
    assert all(isinstance(run, sweep.Run) for run in runs)


def test_a_directory_of_finished_runs_may_be_moved(tmp_path):
    (there,), (here,) = (plan(7, "wrn16-2:20/65", root=root, seeds=(0,)) for root in (WORKDIR, tmp_path))
    for was, now in zip(there.runs(0), here.runs(0), strict=True):
        now.workdir.mkdir()
        records.write(now.workdir, {"config": dataclasses.asdict(was.config), "dataset": {}, "test_error_last": 0.0})
    sweep.run_all(here.runs(0), command=lambda run: ["false"])
    assert [(run.state, run.said) for run in here.runs(0)] == [("finished", "finished before")] * 2


# The command.

ROWS = ("--table=7", "--rows=wrn16-1:60/200,wrn16-2:60/200,wrn16-2:20/65,wrn16-2:10/35", "--seeds=2")
DIGITS = ("--dataset=digits", "--train_examples=200", "--batch_size=50", "--schedule_scale=0.01")


def reproduce(workdir: pathlib.Path, *args: str, **options):
    cache = f"--teacher_cache={workdir / 'cache'}"
    return start_python("-m", "apps.reproduce", *ROWS, *DIGITS, f"--workdir={workdir}", cache, *args, **options)


def finished(workdir: pathlib.Path) -> dict[str, dict]:
    """Results of a folder's runs, by name."""
    return {path.parent.name: records.result(records.read(path.parent)) for path in workdir.glob("*/*/record.json")}


@pytest.mark.slow  # wants both cores to itself: .ci/run has it apart
def test_a_scaled_experiment_from_plan_to_tensorboard(tmp_path):
    """Twelve runs: planned, killed, gone on with, reported, compared, shown."""
    with reproduce(tmp_path, "--dry_run") as process:
        planned, errors = process.communicate()
    assert not process.returncode, errors
    assert "12 of 12 runs are missing: 22 epochs, about" in planned
    assert not (tmp_path / "digits_x0.01").exists()

    # A session of its own, so that its runs are killed with it.
    with reproduce(tmp_path, "--jobs=2", start_new_session=True) as process:
        while process.poll() is None and len(finished(tmp_path)) < 4:
            time.sleep(0.2)
        kill_all(process)
    before = finished(tmp_path)
    assert 4 <= len(before) < 12
    with reproduce(tmp_path, "--jobs=2") as process:
        said, errors = process.communicate()
    assert not process.returncode, said + errors
    after = finished(tmp_path)
    assert len(after) == 12
    assert all(after[name] == result for name, result in before.items())

    root = tmp_path / "digits_x0.01"
    report = (root / "tables" / "table7.md").read_text()
    assert "**Every schedule is scaled by 0.01**" in report
    rows = list(csv.DictReader((root / "tables" / "table7.csv").open()))
    assert [(row["teacher"], row["mode"], row["n"]) for row in rows] == [
        ("wrn16-1", "60/200", "2"),
        *(("wrn16-2", mode, "2") for mode in ("60/200", "20/65", "10/35")),
    ]
    errors = [[after[name]["test_error_last"] for name in row["runs"].split()] for row in rows]
    assert [float(row["error"]) for row in rows] == pytest.approx([sum(pair) / 2 for pair in errors])
    assert [float(row["paired_difference"]) for row in rows[2:]] == pytest.approx(
        [(sum(pair) - sum(errors[1])) / 2 for pair in errors[2:]]
    )
    assert {row["difference"] for row in rows} == {""}

    logs = tmp_path / "logs"
    done = run_python("-m", "apps.compare", f"--runs={root}", f"--out={tmp_path / 'out'}", f"--tensorboard={logs}")
    assert not done.returncode, done.stdout + done.stderr
    assert (tmp_path / "out" / "compare.csv").read_text().count("\n") >= 6
    assert sum(bool(list(path.glob("events.*"))) for path in logs.rglob("*") if path.is_dir()) == 13


def kill_all(process) -> None:
    """Kills a sweep and the runs it started, as when a machine goes down: those are sessions of their own."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    for pid in (process.pid, *map(int, children.stdout.split())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path):
    with reproduce(tmp_path / "undisturbed", "--jobs=2") as process:
        process.communicate()
    rng, kills = random.Random(0), 0
    while kills < 10:
        with reproduce(tmp_path / "killed", "--jobs=2", "--checkpoint_minutes=0.01") as process:
            try:
                process.communicate(timeout=rng.uniform(10, 25))
            except subprocess.TimeoutExpired:
                kill_all(process)
                kills += 1
            else:
                break
    assert kills == 10
    with reproduce(tmp_path / "killed", "--jobs=2") as process:
        said, errors = process.communicate()
    assert not process.returncode, said + errors
    assert forget_paths(finished(tmp_path / "killed")) == forget_paths(finished(tmp_path / "undisturbed"))


def forget_paths(results: dict[str, dict]) -> dict[str, dict]:
    return {
        name: result
        | {"config": result["config"] | {"teachers": [pathlib.Path(t).name for t in result["config"]["teachers"]]}}
        for name, result in results.items()
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--table=11"], "Received: 11"),
        (["--table=x"], "Received: x"),
        (["--table=7,8", "--rows=1"], "rows are of one table"),
        (["--table=7", "--rows=77"], "rows must be lines"),
        (["--table=7", "--rows=1", "--kd_until=0"], "kd_until must be"),
        (["--table=7", "--rows=1", "--schedule_scale=2"], "A schedule must be"),
        (["--table=7", "--rows=1", "--via=vgg16"], "A model must be named"),
        (["--table=4"], "Table 4 is of ImageNet"),
    ],
)
def test_bad_input_is_one_line(args, message, tmp_path):
    done = run_python("-m", "apps.reproduce", *args, f"--workdir={tmp_path / 'runs'}")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "runs").exists()
