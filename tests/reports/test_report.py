"""Tables, and plots: their numbers, and what they look like against images in golden/.

`python -m pytest is not needed: `PYTHONPATH=tests:. python tests/reports/test_report.py`` draws those images anew.
"""

import copy
import csv
import functools
import io
import itertools

import matplotlib
import pytest

from conftest import ROOT
from kdzoo.distillation import schedules
from kdzoo.reports import plots, statistics, tables
from test_statistics import make_record, make_sweep
from zoo import InputError

GOLDEN = ROOT / "tests/golden"
GOLDEN_DPI = 60
GOLDEN_TOLERANCE = 3  # root of the mean square, of 255
GOLDEN_MATPLOTLIB = "3.11."  # another release lays text out otherwise, and with it all the rest

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
    assert tables.table([TEACHER, STUDENT]).splitlines() == [
        "| model         | method | teacher       | parameters | test error (%) | agreement (%) | images/s | minutes |",
        "| ------------- | ------ | ------------- | ---------: | -------------: | ------------: | -------: | ------: |",
        "| wrn16-2_10-35 | none   | -             |    691,674 |           8.50 |             - |      700 |    50.0 |",
        "| wrn16-1_10-35 | kd     | wrn16-2_10-35 |    175,066 |          10.25 |          91.3 |      700 |    50.0 |",
    ]


def test_plot_is_saved(tmp_path):
    plots.plot_students([STUDENT, {**STUDENT, "teachers": []}], tmp_path / "students.svg")
    svg = (tmp_path / "students.svg").read_text()
    assert "<!-- 10.25 -->" in svg
    assert "<!-- 8.50 -->" in svg


@functools.cache
def sweep(scale=""):
    """Teachers of three sizes on two lengths, but for the biggest on the shorter: a hole in the heat map."""
    runs = make_sweep(("wrn16-2", "wrn16-4", "wrn16-8"), ("20-65", "60-200"), 3, scale)
    return {label: record for label, record in runs.items() if f"wrn16-8_20-65{scale}" not in label}


def context(scale=""):
    return statistics.contexts(statistics.group(sweep(scale).values(), merge_teachers=True))[-1]


def curves():
    family = [group for group in statistics.group(sweep().values()) if group.model == "wrn16-1"]
    return plots.choose_curves(family)


PLOTS = {
    "teacher_size": lambda: plots.plot_teacher_size(context()),
    "teacher_length": lambda: plots.plot_teacher_length(context()),
    "heat_map": lambda: plots.plot_heat_map(context()),
    "curves": lambda: plots.plot_curves(curves()),
}


needs_matplotlib = pytest.mark.skipif(
    not matplotlib.__version__.startswith(GOLDEN_MATPLOTLIB),
    reason=f"golden images are of matplotlib {GOLDEN_MATPLOTLIB}",
)


@needs_matplotlib
@pytest.mark.parametrize("name", PLOTS)
def test_plots_look_as_they_did(name, tmp_path):
    from matplotlib.testing.compare import compare_images

    PLOTS[name]().savefig(tmp_path / f"{name}.png", dpi=GOLDEN_DPI)
    assert compare_images(GOLDEN / f"{name}.png", tmp_path / f"{name}.png", tol=GOLDEN_TOLERANCE) is None


@needs_matplotlib
def test_a_plot_of_other_numbers_does_not_look_so(tmp_path):
    from matplotlib.testing.compare import compare_images

    runs = copy.deepcopy(list(sweep().values()))
    for run in runs:
        if run["teachers"] and run["teachers"][0]["name"] == "wrn16-4_60-200":
            run["test_error_last"] -= 0.3
    plotted = statistics.contexts(statistics.group(runs))[-1]
    plots.plot_teacher_size(plotted).savefig(tmp_path / "other.png", dpi=GOLDEN_DPI)
    assert compare_images(GOLDEN / "teacher_size.png", tmp_path / "other.png", tol=GOLDEN_TOLERANCE)


def lines_of(figure):
    """Label -> what its line goes through."""
    (axes,) = figure.axes
    return {container.get_label(): container.lines[0].get_ydata().tolist() for container in axes.containers}


def test_error_by_teacher_size_holds_the_means():
    groups = {str(group.teacher): group.error for group in context().plain}
    figure = plots.plot_teacher_size(context())
    sizes = ("wrn16-2", "wrn16-4", "wrn16-8")
    assert lines_of(figure) == {
        "60/200, fully trained": [groups[f"{size}_60-200"].mean for size in sizes],
        "20/65": [groups[f"{size}_20-65"].mean for size in sizes[:2]],
    }
    (axes,) = figure.axes
    (top,) = axes.child_axes
    assert [label.get_text() for label in top.get_xticklabels()] == list(sizes)
    # The lines stand beside each other, less than 3 % from the true size.
    assert axes.containers[0].lines[0].get_xdata()[0] == pytest.approx(691_674, rel=0.03)
    bars = axes.containers[0].lines[2][0].get_segments()
    error = groups["wrn16-2_60-200"]
    assert bars[0][:, 1].tolist() == pytest.approx([error.mean - error.std, error.mean + error.std])


def test_error_by_teacher_length_holds_the_means():
    groups = {str(group.teacher): group.error.mean for group in context().plain}
    figure = plots.plot_teacher_length(context())
    assert lines_of(figure) == {
        "wrn16-2 (0.69 M)": [groups["wrn16-2_20-65"], groups["wrn16-2_60-200"]],
        "wrn16-4 (2.75 M)": [groups["wrn16-4_20-65"], groups["wrn16-4_60-200"]],
        "wrn16-8 (10.96 M)": [groups["wrn16-8_60-200"]],
    }
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["20/65", "60/200"]


def test_heat_map_is_blank_where_nothing_ran():
    student, teacher, agreement, calibration = plots.plot_heat_map(context()).axes
    assert [len(axes.texts) for axes in (student, teacher, agreement, calibration)] == [5] * 4
    at = {text.get_position(): text.get_text() for text in student.texts}
    assert (0, 2) not in at
    error = next(group.error for group in context().plain if str(group.teacher) == "wrn16-4_20-65")
    assert at[0, 1] == f"{error.mean:.2f}\n±{error.std:.2f}"


def test_curves_mark_where_kd_ends():
    groups = curves()
    assert [(len(group.teachers), group.settings["kd_until"]) for group in groups] == [(0, None), (1, 0.5), (1, 1.0)]
    figure = plots.plot_curves(groups)
    labels = ["test error (%)", "training cross-entropy (nats)", "training KD term (nats)"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    ends = [line for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert [line.get_xdata()[0] for line in ends] == [100]
    assert "KD ends after epoch 100" in figure.get_suptitle()
    assert len(figure.axes[2].lines[0].get_xdata()) == 100


def test_curves_are_told_apart():
    chosen = [make_record(), make_record(lr=0.05), make_record("wrn16-2", "6-20")]
    chosen += [make_record(teachers=(FULL,), kd_until=until) for until in (0.25, 1.0)]
    (legend,) = plots.plot_curves(statistics.group(chosen)).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "wrn16-1 (60/200) from scratch, lr 0.05",
        "wrn16-1 (60/200) from scratch, lr 0.1",
        "wrn16-1 (60/200) ESKD 25% by wrn16-2 (60/200), lr 0.1",
        "wrn16-1 (60/200) KD by wrn16-2 (60/200), lr 0.1",
        "wrn16-2 (6/20) from scratch, lr 0.1",
    ]


def test_curves_do_not_mix_scales():
    groups = statistics.group([make_record(), make_record(schedule="60-200x0.25")])
    with pytest.raises(InputError, match=r"scaled alike\. Received: scaled by 0\.25, 1\.0"):
        plots.plot_curves(groups)


def test_plots_of_scaled_schedules_say_so():
    plotted = context("x0.25")
    for figure in (plots.plot_teacher_size(plotted), plots.plot_teacher_length(plotted)):
        assert "schedules scaled by 0.25" in figure.get_suptitle()
    assert "its schedule scaled by 0.25" in plots.plot_curves(list(plotted.plain)).get_suptitle()


def test_scaled_and_unscaled_are_never_in_one_plot(tmp_path):
    made = tables.compare({**sweep(), **sweep("x0.25")}, tmp_path)
    names = {path.name for path in made.paths}
    assert {"heat_map_wrn16-1_60-200_kd.svg", "heat_map_wrn16-1_60-200x0.25_kd.svg"} <= names
    assert tables.SCALED in (tmp_path / "compare.md").read_text()


def test_saved_plots_are_the_same_to_the_byte(tmp_path):
    for name in ("a", "b"):
        plots.save(PLOTS["teacher_size"](), tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("size", [1, 12])
def test_labels_do_not_overlap(size):
    """As they are laid out: of teachers of neighbouring and of equal sizes and lengths."""
    sizes = [f"wrn16-{width}" for width in range(1, 1 + size)] + ["dn100-12"]
    runs = []
    for rank, name in enumerate(sizes):
        for length in ("10-35", "15-50", "20-65", "cos-65", "25-80", "60-200"):
            teacher = {**make_record(schedule=length), "name": f"{name}_{length}", "parameters": 700_000 * (1 + rank)}
            runs.append(make_record(teachers=(teacher,)))
    (plotted,) = statistics.contexts(statistics.group(runs))
    for figure in (plots.plot_teacher_size(plotted), plots.plot_teacher_length(plotted)):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        for ticked in (axes, *axes.child_axes):
            labels = [label for label in ticked.get_xticklabels() if label.get_text()]
            boxes = [label.get_window_extent() for label in labels]
            turned = labels[0].get_rotation()
            for one, other in itertools.pairwise(boxes):
                # Turned boxes may overlap where their texts, side by side, do not.
                assert (other.x0 - one.x0 if turned else other.x0 - one.x1) > 0.7 * labels[0].get_fontsize()
        legend = figure.legends[0].get_window_extent()
        assert not legend.overlaps(axes.get_tightbbox())
        assert figure.bbox.y0 <= legend.y0
        assert legend.y1 <= figure.bbox.y1


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
    groups = statistics.group(runs)
    table = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in tables.comparison(groups).split("\n")]
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
    rows = list(csv.DictReader(io.StringIO(tables.comparison_csv(groups))))
    assert [row["seeds"] for row in rows] == ["0 1 2", "0 1", "0 1 2"]
    assert float(rows[1]["error_mean"]) == groups[1].error.mean
    assert float(rows[1]["difference_low"]) == statistics.paired(groups[1], groups[2]).interval[0]
    assert (rows[0]["teacher"], rows[0]["temperature"], rows[1]["temperature"]) == ("", "", "4.0")


def test_comparison_shows_the_settings_that_vary():
    runs = [make_record(teachers=(FULL,), temperature=t, kd_until=until) for t in (2.0, 4.0) for until in (0.5, 1.0)]
    runs.append(make_record(teachers=(FULL,), kd_weight=0.5))
    head, _, *rows = tables.comparison(statistics.group(runs)).split("\n")
    head = [cell.strip() for cell in head.split("|")]
    assert head[4:8] == ["kd_weight", "temperature", "kd_until", "teacher"]
    assert len(rows) == 5


def test_paper_form():
    printed = [plots.paper_form(schedules.parse(text)) for text in ("20-65", "60-200x0.25", "cos-65", "50")]
    assert printed == ["20/65", "60/200", "cos 65", "50"]


if __name__ == "__main__":
    for name, draw in PLOTS.items():
        draw().savefig(GOLDEN / f"{name}.png", dpi=GOLDEN_DPI)
