"""The command `apps.reproduce`: from the paper's rows to finished runs."""

import contextlib
import csv
import os
import pathlib
import signal
import subprocess
import time

import pytest

import imagenet_like
from conftest import run_python, start_python
from kdzoo.runs import records

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
    """Twelve runs: planned, killed, resumed, reported, compared, shown."""
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
        output, errors = process.communicate()
    assert not process.returncode, output + errors
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


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (["--table=4", "--seeds=1"], ["resnet152_90_seed0", "7 of 7 runs are missing: 480 epochs"]),
        (
            ["--figure=1", "--rows=1,8", "--seeds=2", "--kd_until=1,0.5"],
            ["resnet18_90_kd_resnet152_35_seed0_kd_until0.5_seed1", "7 of 7 runs are missing: 575 epochs"],
        ),
    ],
)
def test_imagenet_is_planned_without_its_data(args, lines, tmp_path):
    done = run_python("-c", PLAN, *args, "--dataset=tfds:imagenet2012", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert all(line in done.stdout for line in lines)
    config, sizes = done.stdout.splitlines()[-2:]
    assert config == "256 0.1 0.1 0.9 False 0.0001 224"
    assert sizes == f"{tmp_path}/imagenet2012 1281167 50000 1000 (224, 224, 3)"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_imagenet_is_tried_end_to_end_on_a_small_set_in_its_form(tmp_path):
    """Students of Figure 1 and the teachers they share with table 4, with the recipe but for sizes."""
    folder = imagenet_like.write(tmp_path / "small")
    flags = (f"--dataset=folder:{folder}", f"--workdir={tmp_path / 'runs'}", f"--teacher_cache={tmp_path / 'cache'}")
    flags = (*flags, "--schedule_scale=0.02", "--seeds=1", "--batch_size=16", "--image_size=64", "--views=2")
    for args in (("--figure=1", "--rows=1,6"), ("--table=4", "--rows=1,3")):
        done = run_python("-m", "apps.reproduce", *args, *flags)
        assert done.returncode == 0, done.stdout + done.stderr
    root = tmp_path / "runs" / "small_x0.02"
    assert len(finished(tmp_path / "runs")) == 3
    record = records.read(root / "resnet18_90x0.02_kd_resnet34_50x0.02_seed0_seed0")
    settings = ("batch_size", "lr", "lr_decay", "momentum", "nesterov", "weight_decay", "image_size", "augment")
    config = [record["config"][key] for key in settings]
    assert config == [16, 0.1, 0.1, 0.9, False, 1e-4, 64, "inception"]
    assert record["test_top5_error_last"] <= record["test_error_last"]
    one, other = csv.DictReader((root / "tables" / "table4.csv").open())
    scratch = records.read(root / "resnet18_90x0.02_seed0")
    assert (one["parameters"], one["published_teacher_top5_error"], other["teacher"]) == ("11.69", "10.92", "resnet34")
    assert float(one["teacher_top5_error"]) == scratch["test_top5_error_last"]
    rows = list(csv.DictReader((root / "tables" / "figure1.csv").open()))
    assert [(row["teacher"], row["mode"], row["n"]) for row in rows] == [("", "90", "1"), ("resnet34", "50", "1")]
    assert "top-5 error (%)" in (root / "comparison" / "compare.md").read_text()


# The plan without its measurement, which takes a minute.
PLAN = """
import sys
from absl import flags
from apps import reproduce
from kdzoo.experiments import cost, paper_runs
from kdzoo.paper import printed
from kdzoo.data import sources
from kdzoo.runs.config import RunConfig
flags.FLAGS(sys.argv)
number = (flags.FLAGS.table or [printed.FIGURE1])[0]
root, shared = reproduce._root([number]), reproduce._shared_fields(number)
every = reproduce._plan(number, root)
runs = paper_runs.order(every, range(flags.FLAGS.seeds), paper_runs.epochs)
print(cost.describe_plan(every, runs, None))
config = runs[0].config
names = ("batch_size", "lr", "lr_decay", "momentum", "nesterov", "weight_decay", "image_size")
print(*(getattr(config, name) for name in names))
outline = sources.load_or_outline(config.data)
print(root, len(outline.train), len(outline.test), outline.num_classes, outline.image_shape)
"""


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
        (["--table=4"], "Table 4 is of ImageNet: give --dataset=tfds:imagenet2012"),
        (["--figure=1", "--dataset=digits"], "Figure 1 is of ImageNet"),
        (["--figure=2"], "Received: 2"),
        (["--figure=1", "--table=4"], "Exactly one of (table, figure)"),
        ([], "Exactly one of (table, figure)"),
        (["--table=7", "--dataset=mnist", "--dry_run"], "dataset must be one of"),
        (["--table=7", "--dataset=npz:none.npz"], "Received: no file none.npz"),
    ],
)
def test_impossible_flags_end_in_one_line(args, message, tmp_path):
    done = run_python("-m", "apps.reproduce", *args, f"--workdir={tmp_path / 'runs'}")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "runs").exists()
