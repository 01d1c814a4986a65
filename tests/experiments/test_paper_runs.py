"""The runs that reproduce rows of the paper: their choice, order and cost."""

import dataclasses
import pathlib

import pytest

from kdzoo.experiments import cost, paper_rows, paper_runs, scheduler
from kdzoo.experiments.grid import Run
from kdzoo.experiments.paper_runs import Variant
from kdzoo.paper import printed
from kdzoo.runs import consistency, records
from synthetic_records import make_record
from zoo import InputError

WORKDIR = pathlib.Path("runs/x")


def plan(table: int | str, rows: str, **options) -> list[paper_runs.Experiment]:
    options = {"root": WORKDIR, "seeds": (0, 1), "common": {"dataset": "digits"}, **options}
    return paper_runs.plan(paper_rows.choose(table, rows), **options)


def names(runs) -> list[str]:
    return [run.name for run in runs]


def test_choose_accepts_lines_and_teachers_that_the_table_lacks():
    assert [(row.line, row.teacher, row.mode) for row in paper_rows.choose(7, "0,3-4,wrn16-2:20/65")] == [
        (0, None, "60/200"),
        (3, "wrn16-3", "60/200"),
        (4, "wrn16-3", "25/80"),
        (-1, "wrn16-2", "20/65"),
    ]
    assert paper_rows.choose(7, "wrn16-2:20/65")[0].student_error is None
    assert len(paper_rows.choose(7)) == len(printed.rows(7)) + 1


def test_the_student_from_scratch_is_a_row_of_every_table_with_students():
    published = {
        table: [(row.student, row.student_error) for row in rows]
        for table in printed.TABLES
        if (rows := paper_rows.scratch(table))
    }
    assert published == {
        3: [("wrn16-1", None)],
        7: [("wrn16-1", 8.751)],
        8: [("wrn28-1", 7.101)],
        9: [("wrn16-1", 8.751), ("wrn28-1", 7.101)],
        10: [("wrn28-1", 7.101)],
    }


@pytest.mark.parametrize(
    ("lines", "students"),
    [("0", ["wrn16-1", "wrn28-1"]), ("0,16", ["wrn28-1"]), ("0,1-3", ["wrn16-1"]), ("16", [])],
)
def test_line_0_is_each_student_of_the_other_lines(lines, students):
    assert [row.student for row in paper_rows.choose(9, lines) if not row.line] == students


@pytest.mark.parametrize(
    "rows", ["99", "3-2", "0-99", "wrn16-2", "wrn16-2:2065", "wrn16-2:65/20", "vgg16:20/65", "x", "1,,2"]
)
def test_impossible_rows_are_refused(rows):
    with pytest.raises(InputError, match="Received: "):
        paper_rows.choose(7, rows)


def test_a_row_without_student_takes_no_others():
    with pytest.raises(InputError, match="no students"):
        paper_rows.choose(4, "resnet18:30/90")


def test_a_row_on_imagenet_may_have_a_teacher_of_other_epochs():
    (row,) = paper_rows.choose(printed.FIGURE1, "resnet101:30")
    assert (row.student, row.teacher_schedule, row.teacher_error, row.teacher_top5_error) == (
        "resnet18",
        "30",
        None,
        None,
    )
    with pytest.raises(InputError, match=r"figure 1 has lines 1 to 8\. Received: 0"):
        paper_rows.choose(printed.FIGURE1, "0")
    with pytest.raises(InputError, match="rows must be lines"):
        paper_rows.choose(7, "wrn16-2:65")


def test_the_figure_shares_its_teachers_with_table_4():
    common = {"recipe": "imagenet"}
    of_table, of_figure = plan(4, "", common=common, seeds=(0,)), plan(printed.FIGURE1, "", common=common, seeds=(0,))
    teachers = {run.name: run.config for one in of_table for run in one.teachers}
    assert {run.name: run.config for one in of_figure for run in one.teachers} == teachers
    assert of_figure[0].students[0].config == teachers["resnet18_90_seed0"]
    assert {config.batch_size for config in teachers.values()} == {256}
    assert names(of_figure[5].students.values()) == ["resnet18_90_kd_resnet34_50_seed0_seed0"]


def test_a_row_needs_its_teacher_and_its_students():
    scratch, itself, taught = plan(7, "0,1,wrn16-2:20/65")
    assert names(scratch.students.values()) == ["wrn16-1_60-200_seed0", "wrn16-1_60-200_seed1"]
    # The run of the same network from scratch is the teacher.
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


def test_variants_stop_distillation_early_or_distil_in_sequence():
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


def test_the_first_seed_of_each_row_comes_first_and_the_cheapest_row():
    planned = plan(7, "wrn16-8:60/200,wrn16-2:60/200,wrn16-2:20/65")
    weights = {"wrn16-8": 100, "wrn16-2": 10, "wrn16-1": 1}
    runs = paper_runs.order(planned, (0, 1), lambda run: weights[run.config.model] * paper_runs.epochs(run))
    student = "wrn16-1_60-200_kd_{}_seed0_seed{}"
    assert names(runs) == [
        *("wrn16-2_20-65_seed0", student.format("wrn16-2_20-65", 0)),
        *("wrn16-2_60-200_seed0", student.format("wrn16-2_60-200", 0)),
        *("wrn16-8_60-200_seed0", student.format("wrn16-8_60-200", 0)),
        *(student.format(teacher, 1) for teacher in ("wrn16-8_60-200", "wrn16-2_60-200", "wrn16-2_20-65")),
    ]


def test_the_estimate_counts_each_view_of_a_teacher_once():
    (taught,) = plan(7, "wrn16-2:20/65")
    machine = cost.MachineSpeed({"wrn16-1": 1e-3, "wrn16-2": 4e-3}, train_examples=1000, test_examples=100)
    runs = paper_runs.order([taught], (0, 1), machine.seconds)
    seconds = cost.estimate(runs, machine)
    # Of the teacher 65 epochs of 1,000 images, three passes each, and 100 forward; 4 ms a pass.
    assert seconds[runs[0].name] == pytest.approx(65 * 3100 * 4e-3)
    # After 200 epochs an image has shown 162 * (1 - (161/162)**200) = 115.044 of its views, after 400 148.390.
    assert seconds[runs[1].name] == pytest.approx(200 * 3100 * 1e-3 + (115.0444 * 1000 + 100) * 4e-3, rel=1e-5)
    assert seconds[runs[2].name] == pytest.approx(200 * 3100 * 1e-3 + (33.3455 * 1000 + 100) * 4e-3, rel=1e-5)


@pytest.mark.parametrize(
    ("common", "distinct"),
    [
        ({"augment": "none"}, 1),
        ({"image_size": 224}, 7.99),  # of 8 views after 50 epochs
        ({"image_size": 224, "views": 0}, 50),
    ],
)
def test_the_estimate_counts_the_views_of_the_augmentation(common, distinct):
    (taught,) = plan(7, "wrn16-2:20/65", common=common, schedule_scale="0.25", seeds=(0,))
    machine = cost.MachineSpeed({"wrn16-1": 0, "wrn16-2": 1}, train_examples=1000, test_examples=100)
    assert machine.seconds(taught.students[0]) == pytest.approx(1000 * distinct + 100, rel=1e-3)


def test_every_table_can_be_planned():
    tables = (*printed.TABLES, printed.FIGURE1)
    every = [one for table in tables for one in plan(table, "", seeds=range(5), common={})]
    runs = paper_runs.order(every, range(5), paper_runs.epochs)
    assert len(runs) == len({run.name for run in runs})
    done = set()
    for run in runs:
        assert set(run.needs) <= done
        done.add(run.name)
    assert all(isinstance(run, Run) for run in runs)


def test_a_directory_of_finished_runs_may_be_moved(tmp_path):
    (there,), (here,) = (plan(7, "wrn16-2:20/65", root=root, seeds=(0,)) for root in (WORKDIR, tmp_path))
    for was, now in zip(there.runs(0), here.runs(0), strict=True):
        now.workdir.mkdir()
        record = make_record(was.config.model, was.config.schedule)
        record["config"] = dataclasses.asdict(was.config)
        record["method"] = was.config.method
        record["dataset"]["name"] = "digits"
        record["teachers"] = [{"name": teacher, "test_error_last": 6.0} for teacher in was.config.teachers]
        records.write(now.workdir, record | consistency.summarise(record["history"]))
    scheduler.run_all(here.runs(0), command=lambda run: ["false"])
    assert [(run.state, run.detail) for run in here.runs(0)] == [("finished", "finished before")] * 2
