"""Tables against hand-worked rows."""

import csv
import io

from kdzoo.distillation import schedules
from kdzoo.reports.comparison_table import comparison_csv, comparison_markdown
from kdzoo.reports.differences import paired
from kdzoo.reports.groups import group_runs
from kdzoo.reports.tables import card_table, run_table
from synthetic_records import make_record

TEACHER = {
    "name": "wrn16-2_10-35",
    "method": "none",
    "teachers": [],
    "parameters": 691_674,
    "test_error_last": 8.5,
    "images_per_second": 700.4,
    "wall_seconds": 3000.0,
    "config": {"model": "wrn16-2"},
    "dataset": {"name": "cifar10"},
}
STUDENT = {
    **TEACHER,
    "name": "wrn16-1_10-35",
    "method": "kd",
    "teachers": [TEACHER],
    "parameters": 175_066,
    "test_error_last": 10.25,
    "test_agreement_last": 91.26,
    "config": {"model": "wrn16-1"},
}


def test_table():
    assert run_table([TEACHER, STUDENT]).splitlines() == [
        "| model         | method | teacher       | parameters | test error (%) | agreement (%) | images/s | minutes |",
        "| ------------- | ------ | ------------- | ---------: | -------------: | ------------: | -------: | ------: |",
        "| wrn16-2_10-35 | none   | -             |    691,674 |           8.50 |             - |      700 |    50.0 |",
        "| wrn16-1_10-35 | kd     | wrn16-2_10-35 |    175,066 |          10.25 |          91.3 |      700 |    50.0 |",
    ]


def test_the_top5_error_is_a_column_where_a_record_has_one():
    lines = run_table([TEACHER, STUDENT | {"test_top5_error_last": 1.25}]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [row[5:8] for row in (cells[0], *cells[2:])] == [
        ["test error (%)", "top-5 error (%)", "agreement (%)"],
        ["8.50", "-", "-"],
        ["10.25", "1.25", "91.3"],
    ]
    card = {**STUDENT, "test_error": 10.5, "expected_calibration_error": 0.04, "runs": 1, "schedule": "10-35"}
    card |= {"trained": {"wall_seconds": 3600.0}, "files": {}}
    assert "top-5" not in card_table([card])
    head, _, line = card_table([card | {"test_top5_error": 1.5}]).splitlines()
    assert [cell.strip() for cell in head.split("|")][5:8] == ["error (%)", "top-5 error (%)", "ECE"]
    assert [cell.strip() for cell in line.split("|")][5:8] == ["10.50", "1.50", "0.040"]


def test_a_comparison_of_few_classes_has_no_top5_error():
    few = [make_record(seed=seed, error=8.0) for seed in (0, 1)]
    many = [make_record(model="wrn16-2", seed=seed, error=30.0) for seed in (0, 1)]
    for record, error in zip(many, (9.0, 11.0), strict=True):
        record |= {"dataset": record["dataset"] | {"name": "cifar100"}, "test_top5_error_last": error}
    assert "top" not in comparison_markdown(group_runs(few)) + comparison_csv(group_runs(few))
    head, _, *lines = comparison_markdown(group_runs(few + many)).splitlines()
    column = [cell.strip() for cell in head.split("|")].index("top-5 error (%)")
    assert [line.split("|")[column].strip() for line in lines] == ["-", "10.00 ± 1.41"]
    rows = list(csv.DictReader(io.StringIO(comparison_csv(group_runs(few + many)))))
    assert [(row["top5_error_n"], row["top5_error_mean"]) for row in rows] == [("", ""), ("2", "10.0")]


FULL = make_record("wrn16-2", "60-200", error=6.0)
STOPPED = make_record("wrn16-2", "20-65", error=7.0)
for one in (FULL, STOPPED):
    del one["test_ece_last"]


def test_comparison_of_groups():
    runs = [
        *(make_record(seed=seed, error=error) for seed, error in enumerate((8.7, 8.9, 8.8))),
        *(make_record(seed=seed, error=error, teachers=(FULL,)) for seed, error in enumerate((8.0, 8.4, 8.2))),
        *(make_record(seed=seed, error=error, teachers=(STOPPED,)) for seed, error in enumerate((7.5, 8.1))),
    ]
    # Stopped early: mean 7.8, std sqrt(0.18) = 0.42; from the full one -0.5 and -0.3: mean -0.4, std 0.1414, and t of
    # one degree of freedom is 12.7062: half 12.7062 * 0.1414 / sqrt(2) = 1.27.
    # The full one from scratch: -0.7, -0.5, -0.6: mean -0.6, std 0.1; 4.3027 * 0.1 / sqrt(3) = 0.25.
    groups = group_runs(runs)
    table = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in comparison_markdown(groups).split("\n")
    ]
    of_teacher = ["teacher's parameters", "teacher's error (%)"]
    measured = ["parameters", "n", "error (%)", "best (%)", "agreement (%)", "ECE"]
    assert table[0] == ["student", "schedule", "method", "teacher", *of_teacher, *measured, "difference (95 %)", "from"]
    expected = """
        none | - | - | - | 175,066 | 3 | 8.80 ± 0.10 | 8.70 ± 0.10 | - | 0.040 ± 0.000 | - | -
        kd | wrn16-2_20-65 | 691,674 | 7.00 | 175,066 | 2 | 7.80 ± 0.42 | 7.70 ± 0.42 | 91.0 ± 0.0 | 0.040 ± 0.000 \
            | -0.40 [-1.67, +0.87] | wrn16-2_60-200
        kd | wrn16-2_60-200 | 691,674 | 6.00 | 175,066 | 3 | 8.20 ± 0.20 | 8.10 ± 0.20 | 91.0 ± 0.0 | 0.040 ± 0.000 \
            | -0.60 [-0.85, -0.35] | scratch"""
    expected = expected.strip().split("\n")
    assert [row[2:] for row in table[2:]] == [[cell.strip() for cell in line.split(" | ")] for line in expected]
    assert [row[:2] for row in table[2:]] == [["wrn16-1", "60-200"]] * 3
    rows = list(csv.DictReader(io.StringIO(comparison_csv(groups))))
    assert [row["seeds"] for row in rows] == ["0 1 2", "0 1", "0 1 2"]
    assert float(rows[1]["error_mean"]) == groups[1].error.mean
    assert float(rows[1]["difference_low"]) == paired(groups[1], groups[2]).interval[0]
    assert (rows[0]["teacher"], rows[0]["temperature"], rows[1]["temperature"]) == ("", "", "4.0")


def test_comparison_shows_the_settings_that_vary():
    runs = [make_record(teachers=(FULL,), temperature=t, kd_until=until) for t in (2.0, 4.0) for until in (0.5, 1.0)]
    runs.append(make_record(teachers=(FULL,), kd_weight=0.5))
    head, _, *rows = comparison_markdown(group_runs(runs)).split("\n")
    head = [cell.strip() for cell in head.split("|")]
    assert head[4:8] == ["kd_weight", "temperature", "kd_until", "teacher"]
    assert len(rows) == 5


def test_paper_form():
    printed = [schedules.parse(text).paper_form for text in ("20-65", "60-200x0.25", "cos-65", "50")]
    assert printed == ["20/65", "60/200", "cos 65", "50"]


def test_the_kind_of_momentum_is_a_column_where_it_varies():
    records = [make_record(seed=seed, nesterov=kind) for seed in (0, 1) for kind in (True, False)]
    del records[0]["config"]["nesterov"]  # as in records before 0.5
    rows = list(csv.DictReader(io.StringIO(comparison_csv(group_runs(records)))))
    assert [(row["nesterov"], row["n"]) for row in rows] == [("False", "2"), ("True", "2")]
    table = [
        [cell.strip() for cell in line.split("|")] for line in comparison_markdown(group_runs(records)).split("\n")
    ]
    column = table[0].index("nesterov")
    assert [row[column] for row in table[2:]] == ["false", "true"]
