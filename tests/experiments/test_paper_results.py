"""Results beside the paper's: which runs count, what is left out, and which differences stand."""

import csv
import dataclasses
import io
import pathlib
from typing import Any

import pytest

from conftest import ROOT, run_python
from kdzoo.experiments import cost, paper_results, paper_rows, paper_runs, paper_tables
from kdzoo.experiments.grid import Run
from kdzoo.experiments.paper_runs import Experiment, Variant
from kdzoo.paper import printed
from kdzoo.runs import consistency, records
from synthetic_records import make_record

FULL = {"train_examples": 50_000, "val_examples": 0, "test_examples": 10_000}


def plan(root: pathlib.Path, rows: str = "2", table: int | str = 7, **options: Any) -> list[Experiment]:
    options = {"seeds": (0, 1, 2), "common": {}, **options}
    return paper_runs.plan(paper_rows.choose(table, rows), root=root, **options)


def finish(run: Run, *, error: float = 8.0, digest: str = "a", dataset: Any = FULL, **changed: Any) -> None:
    """Writes the record of a run, as training leaves it, with these changes to its configuration."""
    config = dataclasses.asdict(run.config)
    record = make_record("wrn16-1", run.config.schedule, seed=run.config.seed, error=error)
    record["config"] = config | changed
    record |= {"name": f"{run.config.model}_{run.config.schedule}", "method": run.config.method}
    teacher = {"name": "wrn16-2_60-200", "method": "none", "seed": 0, "test_error_last": 6.0, "digest": digest}
    record["teachers"] = [teacher for _ in run.config.teachers]
    record["dataset"] |= dataset
    run.workdir.mkdir(parents=True, exist_ok=True)
    records.write(run.workdir, record | consistency.summarise(record["history"]))


def finish_all(experiments: list[Experiment], **options: Any) -> None:
    for one in experiments:
        for run in (*one.teachers, *one.students.values()):
            finish(run, **options)


def result(experiments: list[Experiment]) -> dict[str, str]:
    """The only row as the CSV holds it."""
    (row,) = csv.DictReader(io.StringIO(paper_tables.to_csv(experiments)))
    return row


def test_a_row_is_complete_once_every_run_counts(tmp_path):
    planned = plan(tmp_path)
    assert (result(planned)["n"], result(planned)["complete"]) == ("0", "no")
    finish_all(planned)
    row = result(planned)
    assert (row["n"], row["seeds"], row["complete"], row["faults"]) == ("3", "0 1 2", "yes", "")
    assert list(row)[-3:] == ["seeds", "complete", "faults"]
    assert "complete" not in paper_tables.markdown(planned)
    (planned[0].students[1].workdir / "record.json").unlink()
    row = result(planned)
    assert (row["n"], row["seeds"], row["complete"], row["faults"]) == ("2", "0 2", "no", "")
    assert "\n- Line 2: not complete, without seeds 1." in paper_tables.markdown(planned)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"dtype_policy": "mixed_bfloat16"},
            "dtype_policy float32, now mixed_bfloat16; teacher_dtype float32, now bfloat16",
        ),
        ({"digest": "b"}, "teachers wrn16-2_60-200 (a), now wrn16-2_60-200 (b)"),
    ],
)
def test_the_largest_group_counts_and_the_others_are_named(tmp_path, changed, message):
    planned = plan(tmp_path, common={"dtype_policy": "auto"})
    finish_all(planned, error=9.0, dtype_policy="float32")
    students = planned[0].students
    for seed in (1, 2):
        finish(students[seed], error=8.0, **{"dtype_policy": "float32"} | changed)
    row, name = result(planned), students[0].name
    assert (row["n"], row["error"], row["seeds"], row["complete"]) == ("2", "8.0", "1 2", "no")
    assert row["faults"] == f"{name}: not like the row's other runs: {message}"
    notes = paper_tables.markdown(planned)
    assert "\n- Line 2: not complete, without seeds 0." in notes
    assert f"\n- Line 2: does not count: {name}: not like the row's other runs: {message}" in notes
    plan_text = cost.describe_plan(planned, [*planned[0].teachers, *students.values()], lambda run: 0.0)
    assert plan_text.startswith("All 4 runs are finished, 1 not as planned.\n")
    assert f"{name} does not count: not like" in plan_text


def test_of_two_groups_as_large_the_first_counts(tmp_path):
    planned = plan(tmp_path, seeds=(0, 1))
    finish_all(planned)
    finish(planned[0].students[0], error=9.0, digest="b")
    assert result(planned)["seeds"] == "0"
    assert len(paper_results.find_faults(planned)) == 1


def test_runs_of_another_configuration_and_damaged_ones_do_not_count(tmp_path):
    planned = plan(tmp_path)
    finish_all(planned)
    students, (teacher,) = planned[0].students, planned[0].teachers
    finish(students[0], error=1.0, lr=0.05)
    (students[1].workdir / "record.json").write_text("{")
    finish(teacher, error=1.0, lr=0.05)
    row = result(planned)
    assert (row["n"], row["error"], row["teacher_error"], row["complete"]) == ("1", "8.0", "", "no")
    faults = paper_results.find_faults(planned)
    stale = "finished with another configuration: lr 0.05, now 0.1"
    assert (faults[students[0].name], faults[teacher.name]) == (stale, stale)
    assert "Received: " in faults[students[1].name]
    assert row["faults"] == " | ".join(f"{name}: {fault}" for name, fault in faults.items())
    assert set(faults) == {teacher.name, students[0].name, students[1].name}


@pytest.mark.slow  # measures the machine
def test_the_command_ends_with_1_and_names_what_does_not_count(tmp_path):
    common = {"dataset": "digits", "train_examples": 200, "batch_size": 50}
    root = tmp_path / "digits_x0.01"
    planned = plan(root, schedule_scale="0.01", seeds=(0, 1), common=common)
    finish_all(planned, dataset={"name": "digits"})
    finish(planned[0].students[1], digest="b", dataset={"name": "digits"})  # trained anew between the seeds
    flags = ("--table=7", "--rows=2", "--seeds=2", "--schedule_scale=0.01")
    flags = (*flags, f"--workdir={tmp_path}", *(f"--{name}={value}" for name, value in common.items()))
    for more in (("--dry_run",), ()):
        done = run_python("-m", "apps.reproduce", *flags, *more)
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"{planned[0].students[1].name} does not count: not like the row's other runs" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{planned[0].students[1].name} does not count: not like the row's other runs: teachers")
    table = root / "tables" / "table7.csv"
    assert ",no," in table.read_text()
    done = run_python("-m", "apps.reproduce", *flags, "--lr=0.05")
    assert done.returncode == 1
    assert [line.partition(" does")[0] for line in done.stderr.splitlines()] == [
        planned[0].teachers[0].name,
        *(run.name for run in planned[0].students.values()),
    ]
    assert next(csv.DictReader(table.open()))["n"] == "0"


def test_the_difference_is_to_the_printed_row(tmp_path):
    planned = plan(tmp_path)
    finish_all(planned, error=8.0)
    assert float(result(planned)["difference"]) == pytest.approx(8.0 - 7.61)


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        ({**FULL, "name": "digits"}, {"common": {"dataset": "digits"}}),
        ({**FULL, "name": "cifar100"}, {"common": {"dataset": "cifar100"}}),
        ({**FULL, "train_examples": 5000}, {"common": {"train_examples": 5000}}),
        ({**FULL, "train_examples": 45_000, "val_examples": 5000}, {"common": {"val_examples": 5000}}),
        ({**FULL, "test_examples": 1000}, {}),
        (FULL, {"schedule_scale": "0.05"}),
        (FULL, {"variants": [Variant(kd_until=0.5)]}),
        (FULL, {"variants": [Variant(via=("wrn16-1",))]}),
        (FULL, {"rows": "wrn16-2:20/65"}),  # not printed
    ],
)
def test_no_difference_to_a_row_of_other_data_schedules_or_methods(tmp_path, dataset, options):
    planned = plan(tmp_path, **options)
    finish_all(planned, dataset=dataset)
    row = result(planned)
    assert (row["n"], row["difference"]) == ("3", "")
    assert "|                - |" in paper_tables.markdown(planned)


@pytest.mark.parametrize("table", [*(table for table in printed.TABLES if table != 4), printed.FIGURE1])
def test_every_row_with_a_fully_trained_teacher_is_compared_with_its_student_from_scratch(table, tmp_path):
    planned = plan(tmp_path, "", table, seeds=(0,))
    finish_all(planned)
    found = paper_results.results(planned)
    full = [row for row in found if row["student"] and row["teacher"] and row["mode"] in ("60/200", "90")]
    assert full
    assert {(row["compared_with"], row["paired_n"]) for row in full} == {("scratch", 1)}


def finish_on_imagenet(run: Run, *, error: float, top5: float) -> None:
    """Writes a record of ImageNet with a top-5 error."""
    finish(run, error=error, dataset={"num_classes": 1000, "name": "imagenet2012", **IMAGENET})
    record = records.read(run.workdir)
    history = [{**row, "test_top5_error": top5} for row in record["history"]]
    records.write(run.workdir, record | {"history": history, **consistency.summarise(history)})


IMAGENET = {"train_examples": 1_281_167, "test_examples": 50_000}
ON_IMAGENET = {"dataset": "npz:none.npz", "dataset_name": "imagenet2012"}


def test_table_4_has_the_top5_errors_and_the_parameters_as_printed(tmp_path):
    planned = plan(tmp_path, "1,5", 4, common=ON_IMAGENET)
    finish_on_imagenet(planned[0].teachers[0], error=30.0, top5=11.0)
    one, other = csv.DictReader(io.StringIO(paper_tables.to_csv(planned)))
    assert (one["parameters"], one["published_teacher_top5_error"], one["teacher_top5_error"]) == (
        "11.69",
        "10.92",
        "11.0",
    )
    assert (other["parameters"], other["published_teacher_top5_error"], other["teacher_top5_error"]) == (
        "25.56",
        "8.75",
        "",
    )
    head, _, *lines = paper_tables.markdown(planned).splitlines()[:4]
    cells = [[cell.strip() for cell in line.split("|")] for line in (head, *lines)]
    assert cells[0][6:11] == ["parameters (M)", "teacher: published", "ours", "top-5: published", "ours"]
    assert [row[3:11] for row in cells[1:]] == [
        ["resnet18", "90", "none", "11.69", "30.24", "30.00", "10.92", "11.00"],
        ["resnet50", "35", "none", "25.56", "27.01", "-", "8.75", "-"],
    ]
    paper_tables.write(planned, tmp_path, name=printed.stem(4))
    assert (tmp_path / "table4.md").read_text().startswith("# Table 4\n")


def test_figure_1_compares_the_students_of_early_stopped_and_full_teachers(tmp_path):
    planned = plan(tmp_path, "1,3,6", printed.FIGURE1, seeds=(0, 1), common=ON_IMAGENET)
    for one, error in zip(planned, (30.0, 31.0, 29.0), strict=True):
        for seed, run in one.students.items():
            finish_on_imagenet(run, error=error + seed, top5=error / 3 + seed)
    scratch, full, stopped = csv.DictReader(io.StringIO(paper_tables.to_csv(planned)))
    assert {row["table"] for row in (scratch, full, stopped)} == {"figure1"}
    assert float(scratch["difference"]) == pytest.approx(30.5 - 30.24)
    assert (scratch["top5_error"], full["compared_with"], stopped["compared_with"]) == (
        "10.5",
        "scratch",
        "resnet34 90",
    )
    assert (full["paired_difference"], stopped["paired_difference"]) == ("1.0", "-2.0")
    head, *_ = paper_tables.markdown(planned).splitlines()
    assert "top-5: ours" in head
    paper_tables.write(planned, tmp_path, name=printed.stem(printed.FIGURE1))
    assert (tmp_path / "figure1.md").read_text().startswith("# Figure 1\n")


def test_the_committed_table_is_that_of_its_records():
    root = ROOT / "results/paper/cifar10_x0.05"
    rows = "0,2,wrn16-2:20/65,wrn16-2:10/35,8,10,12"
    planned = plan(root, rows, common={"dtype_policy": "mixed_bfloat16"}, schedule_scale="0.05")
    assert paper_tables.to_csv(planned) == (root / "tables/table7.csv").read_text()
    assert paper_tables.markdown(planned) in (root / "tables/table7.md").read_text()


def test_the_notes_name_students_that_share_a_line(tmp_path):
    notes = paper_tables.markdown(plan(tmp_path, "0", 9))
    assert "- Line 0, wrn16-1: published in table 1." in notes
    assert "- Line 0, wrn28-1: published as a teacher in table 9." in notes
