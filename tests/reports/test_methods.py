"""Comparisons of methods: which runs belong together, labels, order, text and costs."""

import pytest

from kdzoo.reports import costs
from kdzoo.reports.comparison_table import comparison_markdown, comparison_rows
from kdzoo.reports.contexts import scratch_of
from kdzoo.reports.groups import group_runs, varying
from kdzoo.reports.labels import format_arguments, group_label, method_label, variant_label
from kdzoo.reports.methods import compare_methods, methods_markdown, stopped_early
from synthetic_records import METHOD_TEACHERS, make_method, make_methods, make_record, make_sweep

EARLY, FULL = METHOD_TEACHERS
ERRORS = {0: 13.0, 1: 13.4, 2: 13.2}


def shifted(by):
    return {seed: error + by for seed, error in ERRORS.items()}


def table_of(comparison):
    """Returns the cells of its Markdown table, a row each, the head first."""
    lines = [line for line in methods_markdown([comparison]).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_each_teacher_has_its_comparison():
    early, full = compare_methods(group_runs(make_methods().values()))
    assert [early.teacher, full.teacher] == ["wrn16-2 (5/16)", "wrn16-2 (10/35)"]
    assert [stopped_early(early, [full]), stopped_early(full, [early]), stopped_early(full, [])] == [True, False, None]
    for one in (early, full):
        assert one.control.group.method == "kd"
        assert sorted(method.label for method in one.methods) == sorted(
            ["dkd", "dist", "kd", "nkd", "at", "fitnets", "label_smoothing", "from scratch"]
        )
        shown = [0.0 if method is one.control else method.difference.mean for method in one.methods]
        assert shown == sorted(shown)
        assert {method.label: method.group.n for method in one.methods}["fitnets"] == 3
        # 8 methods in 3 seeds and 6 of them in 2 more: 36 runs, without 8 methods and 4 seeds.
        assert one.degrees == 36 - 8 - 4


def test_differences_are_paired_and_hold_at_once():
    runs = [*make_method("kd", FULL, ERRORS), *make_method("dkd", FULL, {0: 12.7, 1: 13.0, 2: 12.8})]
    runs += make_method("sp", FULL, {1: 13.5, 2: 13.6})
    (one,) = compare_methods(group_runs(runs))
    assert [method.label for method in one.methods] == ["dkd", "kd", "sp"]
    dkd, control, sp = one.methods
    assert control is one.control
    assert control.difference is None
    assert dkd.difference.mean == pytest.approx(-1.1 / 3)
    assert (sp.difference.seeds, sp.difference.mean) == ((1, 2), pytest.approx(0.25))
    low, high = sp.difference.interval
    assert high - low == pytest.approx(2 * one.quantile * one.residual_std)  # times sqrt(2 / 2 seeds)
    assert f"q = {one.quantile:.2f} and s = {one.residual_std:.3f} points" in methods_markdown([one])
    rows = table_of(one)
    assert rows[0][:5] == ["method", "error (%)", "n", "difference from kd", "simultaneous 95 % interval"]
    assert rows[2][:5] == ["kd", "13.20 ± 0.20", "3", "control", "-"]
    assert rows[3][:5] == ["sp", "13.55 ± 0.07", "2", "+0.25", f"{low:+.2f} to {high:+.2f}"]


def test_without_kd_there_are_no_differences():
    (one,) = compare_methods(group_runs([*make_method("dkd", FULL, shifted(0.1)), *make_method("dist", FULL, ERRORS)]))
    assert one.control is None
    assert [method.label for method in one.methods] == ["dist", "dkd"]
    text = methods_markdown([one])
    assert "There is no run of kd with this teacher, so there are no differences." in text
    assert "difference from kd" not in text.replace("A difference from kd", "")
    assert "interval" not in table_of(one)[0]


def test_one_seed_has_no_interval():
    (one,) = compare_methods(group_runs([*make_method("kd", FULL, {0: 13.0}), *make_method("dkd", FULL, {0: 12.5})]))
    assert one.methods[0].difference.mean == -0.5
    assert one.methods[0].difference.interval is None
    assert "One seed leaves no variance to estimate, so there are no intervals." in methods_markdown([one])
    assert table_of(one)[1][:4] == ["dkd", "12.50", "1", "-0.50"]


def test_methods_without_common_seeds_have_no_difference():
    (one,) = compare_methods(group_runs([*make_method("kd", FULL, {0: 13.0}), *make_method("dkd", FULL, {1: 12.5})]))
    assert [method.difference for method in one.methods] == [None, None]
    assert "No method has a seed in common with kd" in methods_markdown([one])


@pytest.mark.parametrize(
    "runs",
    [
        [*make_method("kd", FULL, ERRORS), *make_method("none", None, ERRORS)],
        [*make_method("kd", FULL, ERRORS), *make_method("dkd", EARLY, ERRORS)],
        [*make_method("kd", FULL, ERRORS), *make_method("dkd", {**FULL, "seed": 1}, ERRORS)],
        [*make_method("kd", FULL, ERRORS), *make_method("dkd", FULL, ERRORS, lr=0.05)],
        [*make_method("kd", FULL, ERRORS), *make_method("dkd", FULL, ERRORS, schedule="15-50")],
        [*make_method("kd", FULL, ERRORS), *make_method("kd", FULL, ERRORS, temperature=2.0)],
    ],
    ids=["scratch", "teacher", "teacher's seed", "recipe", "schedule", "one method"],
)
def test_what_has_no_comparison(runs):
    assert compare_methods(group_runs(runs)) == []


def test_comparisons_of_teachers_have_no_section():
    runs = make_sweep(("wrn16-2", "wrn16-4"), ("10-35", "15-50"), 2, student="6-20")
    assert methods_markdown(compare_methods(group_runs(runs.values()))) == ""


def test_the_usual_kd_is_the_control():
    runs = [*make_method("dkd", FULL, ERRORS), *make_method("kd", FULL, shifted(0.1), temperature=2.0)]
    runs += [*make_method("kd", FULL, shifted(0.2), kd_until=0.5), *make_method("kd", FULL, shifted(0.3))]
    (one,) = compare_methods(group_runs(runs))
    labels = [
        "dkd",
        "kd (temperature 2, kd_until 1)",
        "kd (temperature 4, kd_until 0.5)",
        "kd (temperature 4, kd_until 1)",
    ]
    assert [method.label for method in one.methods] == labels
    assert one.control is one.methods[3]


def test_variants_differ_in_their_arguments():
    runs = [*make_method("kd", FULL, ERRORS), *make_method("dkd", FULL, shifted(0.1), method_args='{"beta": 2.0}')]
    runs += [*make_method("dkd", FULL, shifted(0.2)), *make_method("dkd", FULL, shifted(0.3), method_weight=2.0)]
    groups = group_runs(runs)
    assert len(groups) == 4
    labels = ["kd", "dkd (beta 2, method_weight 1)", "dkd (method_weight 1)", "dkd (method_weight 2)"]
    assert [method.label for method in compare_methods(groups)[0].methods] == labels
    table = comparison_markdown(groups)
    assert "method_args" in table.splitlines()[0]
    assert "| beta 2 " in table
    assert [group_label(group, groups) for group in groups[1:]] == [
        "dkd by wrn16-2 (10/35), method_weight 1",
        "dkd by wrn16-2 (10/35), beta 2, method_weight 1",
        "dkd by wrn16-2 (10/35), method_weight 2",
    ]


def test_weights_that_the_method_implies_do_not_vary():
    groups = group_runs(make_methods().values())
    students = [group for group in groups if group.model == "wrn16-1"]
    assert varying(students) == []
    other = group_runs([*make_method("dkd", FULL, ERRORS), *make_method("dkd", FULL, ERRORS, method_weight=2.0)])
    assert varying(other) == ["method_weight"]


def test_order_of_methods():
    names = ["zoo10", "zoo9", "at+kd", "dkd", "none", "at", "kd", "label_smoothing"]
    alone = ("none", "label_smoothing")
    runs = [run for name in names for run in make_method(name, None if name in alone else FULL, {0: 13.0})]
    found = [group.method for group in group_runs(runs)]
    assert found == ["none", "kd", "at", "at+kd", "dkd", "label_smoothing", "zoo9", "zoo10"]


def test_labels_of_methods_that_are_not_known():
    groups = group_runs(
        [*make_method("dkd", FULL, ERRORS, kd_until=0.5), *make_method("label_smoothing", None, ERRORS)]
    )
    assert [method_label(group) for group in groups] == ["dkd until 50%", "label_smoothing"]
    assert [group_label(group, groups) for group in groups] == ["dkd until 50% by wrn16-2 (10/35)", "label_smoothing"]
    assert variant_label(groups[0], groups) == "dkd"
    texts = ('{"beta": 2.0, "mode": "paper", "norm": true}', "", None, "not JSON", "[1]", "3")
    assert list(map(format_arguments, texts)) == ["beta 2, mode paper, norm true", "", "", "not JSON", "[1]", "3"]


def test_a_method_without_teacher_is_not_from_scratch():
    runs = [*make_method("label_smoothing", None, ERRORS), *make_method("none", None, shifted(0.5))]
    groups = group_runs([*runs, *make_method("dkd", FULL, ERRORS)])
    assert scratch_of(groups[1], groups[1:]) is None
    smoothed = next(row for row in comparison_rows(groups) if row["method"] == "label_smoothing")
    assert (smoothed["compared_with"], smoothed["difference_mean"]) == ("scratch", pytest.approx(-0.5))


def session(**values):
    return {"sessions": [{"epoch": 0, "step": 0, "teacher_cache": "cache", **values}]}


def test_costs_are_means_of_a_run():
    runs = make_method("dkd", FULL, ERRORS)
    for run, computed, hours in zip(runs, (900, 60, 0), (2, 1, 1.5), strict=True):
        run |= session(teacher_rows={"needed": 1000, "asked": computed}) | {"wall_seconds": 3600 * hours}
    (group,) = group_runs(runs)
    assert costs.of_training(group) == costs.TrainingCost(1.5, 1000, 320)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (session(teacher_rows={"needed": 1000, "asked": 7}), (1000, 7)),
        (session(teacher_rows={"needed": 1000, "asked": 7}, epoch=3), (None, None)),  # resumed: not all are counted
        (session(), (None, None)),
        (session(teacher_cache="off"), (35 * 390 * 128,) * 2),  # live in the step: each step computes its own
        ({"sessions": []}, (None, None)),
    ],
)
def test_teacher_outputs_of_a_run(change, expected):
    (run,) = make_method("dkd", FULL, {0: 13.0})
    found = costs.of_training(group_runs([run | change])[0])
    assert (found.needed, found.computed) == expected


def test_records_of_earlier_versions_have_hours_alone():
    old = make_record(teachers=(FULL,))
    del old["sessions"]
    found = costs.of_training(group_runs([old])[0])
    assert found == costs.TrainingCost(old["wall_seconds"] / 3600, None, None)
    assert costs.of_training(group_runs([make_record()])[0]).needed == 0


def test_parameters_have_a_column_where_a_method_adds_some():
    runs = [*make_method("kd", FULL, ERRORS), *make_method("simkd", FULL, ERRORS)]
    for run in runs[3:]:
        run["parameters"] = 200_000
    (one,) = compare_methods(group_runs(runs))
    assert [row[1] for row in table_of(one)] == ["parameters", "175,066", "200,000"]
