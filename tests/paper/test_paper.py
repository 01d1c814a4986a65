"""The printed tables as data: their values, their grids of runs, and one step of each kind of run."""

import dataclasses
import math

import numpy as np
import pytest

from kdzoo.data import sources
from kdzoo.distillation import schedules
from kdzoo.experiments.grid import Run, expand
from kdzoo.paper import printed as printed_module
from kdzoo.runs import consistency, records, weights
from kdzoo.runs.config import METHODS
from kdzoo.training import train
from synthetic_records import make_record
from test_zoo import PARAMETERS  # of every network, as built
from zoo import InputError

EVERY = (*printed_module.TABLES, printed_module.FIGURE1)
ROWS = [row for table in EVERY for row in printed_module.rows(table)]
# (table, architecture) -> printed parameters that differ from the network's; table 9 prints the right number.
MISPRINTS = {(8, "wrn28-8"): "23.25"}
ONE_EPOCH = "0.005"  # share of 200 epochs; a shorter schedule has one too


def grid(rows, *, scale: str = "", **common) -> dict:
    """Returns a grid of these rows: teachers first, each run once."""
    entries = [row.teacher_flags(schedule_scale=scale) for row in rows]
    entries += [row.student_flags(schedule_scale=scale) for row in rows]
    runs = [entry for i, entry in enumerate(entries) if entry and entry not in entries[:i]]
    return {"workdir": "runs", "common": common, "runs": runs}


def test_no_row_is_missing():
    assert [len(printed_module.rows(table)) for table in printed_module.TABLES] == [9, 10, 4, 7, 12, 12, 22, 22, 30, 12]
    assert [row.line for row in printed_module.rows(10)] == list(range(1, 13))
    assert len({(row.table, row.label) for row in ROWS}) == len(ROWS)


# First and last of each table, typed in once more.
@pytest.mark.parametrize(
    ("table", "line", "label", "parameters", "teacher_error", "student_error", "student_std"),
    [
        (1, 1, "wrn16-1 from scratch", None, None, 8.751, 0.129),
        (1, 9, "wrn16-1 from dn100-24 15/50 kd", "3.02", 5.435, 8.016, 0.223),
        (2, 1, "dn40-12 from scratch", None, None, 7.268, 0.148),
        (2, 10, "dn40-12 from dn100-24 15/50 kd", "3.02", 5.435, 6.721, 0.298),
        (3, 1, "wrn16-1 from wrn16-8 60/200 kd cosine", None, None, 7.945, 0.127),
        (3, 4, "wrn16-1 from wrn100-1 20/65 kd cosine", None, None, 8.191, 0.104),
        (4, 1, "resnet18 90", "11.69", 30.24, None, None),
        (4, 7, "resnet152 35", "60.19", 23.58, None, None),
        ("figure1", 1, "resnet18 from scratch", None, None, 30.24, None),
        ("figure1", 8, "resnet18 from resnet152 35 kd", "60.19", 23.58, None, None),
        (5, 1, "wrn16-1 from scratch", None, None, 8.751, 0.129),
        (5, 12, "wrn16-1 from wrn250-1 15/50 kd", "3.97", 6.893, 8.263, 0.234),
        (6, 1, "dn40-12 from scratch", None, None, 7.268, 0.148),
        (6, 12, "dn40-12 from wrn250-1 15/50 kd", "3.97", 6.893, 7.488, 0.291),
        (7, 1, "wrn16-1 from wrn16-1 60/200 kd", "0.17", 8.751, 8.182, 0.250),
        (7, 22, "wrn16-1 from wrn16-8 10/35 kd", "10.96", 6.240, 7.784, 0.223),
        (8, 1, "wrn28-1 from wrn28-1 60/200 kd", "0.36", 7.101, 7.101, 0.072),
        (8, 22, "wrn28-1 from wrn28-8 10/35 kd", "23.25", 6.022, 6.795, 0.123),
        (9, 1, "wrn16-1 from wrn16-1 60/200 kd", "0.17", 8.751, 8.182, 0.250),
        (9, 12, "wrn16-1 from wrn16-3 20/65 at+kd", "1.55", None, None, None),  # breaks off in the print
        (9, 30, "wrn28-1 from wrn28-8 15/50 at+kd", "23.35", 5.092, 6.402, 0.107),
        (10, 1, "wrn28-1 from wrn16-4 60/200 kd", "2.74", 4.964, 6.518, 0.204),
        (10, 12, "wrn28-1 from wrn16-11 20/65 at+kd", "20.70", 5.033, 6.202, 0.172),
    ],
)
def test_rows(table, line, label, parameters, teacher_error, student_error, student_std):
    row = printed_module.rows(table)[line - 1]
    assert (row.table, row.line, row.label, row.parameters) == (table, line, label, parameters)
    assert (row.teacher_error, row.student_error, row.student_std) == (teacher_error, student_error, student_std)


def test_the_top5_errors_are_those_of_table_4():
    of_table = {
        row.label: (row.parameters, row.teacher_error, row.teacher_top5_error) for row in printed_module.rows(4)
    }
    assert [top5 for _, _, top5 in of_table.values()] == [10.92, 8.58, 9.10, 7.13, 8.75, 6.03, 7.03]
    scratch, *taught = printed_module.rows(printed_module.FIGURE1)
    assert scratch.student_error == of_table["resnet18 90"][1]
    found = {f"{row.teacher} {row.mode}": (row.parameters, row.teacher_error, row.teacher_top5_error) for row in taught}
    assert found == of_table
    assert {row.student_schedule for row in (scratch, *taught)} == {"90"}
    assert (scratch.title, printed_module.rows(4)[0].title) == ("Figure 1", "Table 4")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.table}.{row.line}")
def test_a_row_is_valid(row):
    for schedule in filter(None, (row.teacher_schedule, row.student_schedule)):
        assert str(schedules.parse(schedule)) == schedule
    assert row.method in METHODS
    assert (row.method == "none") == (not row.student or not row.teacher)
    for error in (row.teacher_error, row.student_error):
        assert error is None or 3 < error < 31
    assert (row.student_std is None) == (row.student_error is None) or row.table == printed_module.FIGURE1
    assert (row.teacher_top5_error is None) == (row.teacher_error is None or row.dataset == "cifar10")
    assert row.student_std is None or 0 < row.student_std < 0.5
    if row.parameters:
        matches = printed_module.parameters_match(row.parameters, PARAMETERS[row.teacher])
        assert matches == (MISPRINTS.get((row.table, row.teacher)) != row.parameters)
        assert matches or "misprint" in row.notes


def test_a_teacher_has_the_same_error_in_all_tables():
    printed: dict = {}
    for row in ROWS:
        if row.teacher_error is not None:
            printed.setdefault((row.dataset, row.teacher, row.mode), set()).add(row.teacher_error)
    assert {teacher: errors for teacher, errors in printed.items() if len(errors) > 1} == {}


@pytest.mark.parametrize("table", EVERY)
@pytest.mark.parametrize("scale", ["", "0.25"])
def test_a_table_is_a_grid(table, scale):
    runs = {run.name: run for run in expand(grid(printed_module.rows(table), scale=scale))}
    suffix = f"x{scale}" if scale else ""
    for row in printed_module.rows(table):
        teacher = f"{row.teacher}_{row.teacher_schedule}{suffix}_seed0"
        assert not row.teacher or not runs[teacher].needs
        if row.student:
            how = f"_{row.method}_{teacher}" if row.teacher else ""
            student = runs[f"{row.student}_{row.student_schedule}{suffix}{how}_seed0"]
            assert student.needs == ((teacher,) if row.teacher else ())
            assert student.config.method == row.method


@pytest.mark.parametrize(
    ("printed", "count", "matches"),
    [
        ("0.17", 175_066, True),  # cut off
        ("0.18", 175_066, True),  # rounded
        ("1.54", 1_536_090, True),
        ("20.70", 20_706_522, True),
        ("20.71", 20_706_522, True),
        ("23.25", 23_354_842, False),
        ("0.19", 175_066, False),
        ("0.16", 175_066, False),
    ],
)
def test_parameters_match(printed, count, matches):
    assert printed_module.parameters_match(printed, count) == matches


@pytest.mark.parametrize("table", [0, 11, "figure2"])
def test_unknown_tables_are_refused(table):
    with pytest.raises(InputError, match=f"1 to 10, for example 7. Received: {table}$"):
        printed_module.rows(table)


# One step of each kind of run.


def commands() -> list:
    """Returns a row for each way to train a network; all are slow but the smallest of tables 4 and 7."""
    ways = {(row.student, row.teacher, row.method, row.schedule_type): row for row in reversed(ROWS)}
    quick = {min(printed_module.rows(table), key=size).label for table in (4, 7)}
    return [
        pytest.param(row, id=row.label.replace(" ", "_"), marks=[] if row.label in quick else pytest.mark.slow)
        for row in reversed(ways.values())
    ]


def size(row: printed_module.Row) -> int:
    return sum(PARAMETERS[name] for name in (row.student, row.teacher) if name)


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> dict[str, str]:
    """Maps each data set of the paper to one with as many classes: one training image of noise of each."""
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for name, size, classes in (
        ("cifar10", 32, 10),
        ("imagenet2012", 64, 1000),
    ):  # from 64 a ResNet has ImageNet's stem
        images, labels = rng.integers(0, 256, (classes, size, size, 3), np.uint8), np.arange(classes)
        np.savez(folder / name, x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
    return {name: f"npz:{folder / name}.npz" for name in ("cifar10", "imagenet2012")}


def write_untrained(run: Run) -> None:
    """Writes the record and the initial weights of a run as if it were finished."""
    dataset = sources.load(run.config.dataset)
    description = {"name": dataset.name, "fingerprint": dataset.fingerprint, "num_classes": dataset.num_classes}
    description |= {"image_shape": list(dataset.image_shape), "mean": list(dataset.mean), "std": list(dataset.std)}
    record = make_record("wrn16-1", run.config.schedule) | {"name": f"{run.config.model}_{run.config.schedule}"}
    record |= {"config": dataclasses.asdict(run.config), "dataset": description}
    record |= consistency.summarise(record["history"])
    run.workdir.mkdir(parents=True)
    weights.save_weights(run.workdir, weights.build(record))
    records.write(run.workdir, record)


@pytest.mark.parametrize("row", commands())
def test_a_run_of_this_row_takes_one_step(row, noise, tmp_path):
    # With the usual learning rate a deep ResNet diverges on noise.
    flags = {"dataset": noise[row.dataset], "batch_size": 2, "train_examples": 2, "lr": 1e-4}
    *teachers, run = expand(grid([row], scale=ONE_EPOCH, **flags) | {"workdir": str(tmp_path)})
    for teacher in teachers:
        write_untrained(teacher)
    record = train.run(run.config, run.workdir)
    (epoch,) = record["history"]
    assert math.isfinite(epoch["loss"])
    assert record["parameters"] == PARAMETERS[row.student or row.teacher]
    assert record["method"] == row.method
    assert [teacher["name"] for teacher in record["teachers"]] == [
        f"{teacher.config.model}_{teacher.config.schedule}" for teacher in teachers
    ]
