"""Plots: their numbers, and their look against images in golden/.

`PYTHONPATH=tests:tests/reports:. python tests/reports/test_plots.py` draws those images anew.
"""

import copy
import functools
import itertools

import matplotlib
import pytest

from conftest import ROOT
from kdzoo.reports.comparison import compare
from kdzoo.reports.comparison_table import SCALED
from kdzoo.reports.contexts import contexts
from kdzoo.reports.groups import group_runs
from kdzoo.reports.plots.catalogue import choose_curves
from kdzoo.reports.plots.curves import plot_curves
from kdzoo.reports.plots.files import save
from kdzoo.reports.plots.heat_map import plot_heat_map
from kdzoo.reports.plots.students import plot_students
from kdzoo.reports.plots.teacher_length import plot_teacher_length
from kdzoo.reports.plots.teacher_size import plot_teacher_size
from synthetic_records import TEACHER, make_record, make_sweep
from zoo import InputError

GOLDEN = ROOT / "tests/golden"
GOLDEN_DPI = 60
GOLDEN_TOLERANCE = 3  # root mean square, of 255
GOLDEN_MATPLOTLIB = "3.11."  # another release lays out text, and so everything, differently


def test_plot_of_students_shows_their_errors(tmp_path):
    student = make_record(error=10.25, teachers=(make_record("wrn16-2", error=8.5),))
    plot_students([student, make_record(error=11.0)], tmp_path / "students.svg")
    svg = (tmp_path / "students.svg").read_text()
    assert "<!-- 10.25 -->" in svg
    assert "<!-- 8.50 -->" in svg


@functools.cache
def sweep(scale=""):
    """Returns runs with teachers of three sizes and two lengths, without the biggest on the shorter one."""
    runs = make_sweep(("wrn16-2", "wrn16-4", "wrn16-8"), ("20-65", "60-200"), 3, scale)
    return {label: record for label, record in runs.items() if f"wrn16-8_20-65{scale}" not in label}


def context(scale=""):
    return contexts(group_runs(sweep(scale).values(), merge_teachers=True))[-1]


def curves():
    family = [group for group in group_runs(sweep().values()) if group.model == "wrn16-1"]
    return choose_curves(family)


PLOTS = {
    "teacher_size": lambda: plot_teacher_size(context()),
    "teacher_length": lambda: plot_teacher_length(context()),
    "heat_map": lambda: plot_heat_map(context()),
    "curves": lambda: plot_curves(curves()),
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
    plotted = contexts(group_runs(runs))[-1]
    plot_teacher_size(plotted).savefig(tmp_path / "other.png", dpi=GOLDEN_DPI)
    assert compare_images(GOLDEN / "teacher_size.png", tmp_path / "other.png", tol=GOLDEN_TOLERANCE)


def lines_of(figure):
    """Returns label -> y values of its line."""
    (axes,) = figure.axes
    return {container.get_label(): container.lines[0].get_ydata().tolist() for container in axes.containers}


def test_error_by_teacher_size_holds_the_means():
    groups = {str(teacher): group.error for teacher, group in context().by_teacher}
    figure = plot_teacher_size(context())
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
    groups = {str(teacher): group.error.mean for teacher, group in context().by_teacher}
    figure = plot_teacher_length(context())
    assert lines_of(figure) == {
        "wrn16-2 (0.69 M)": [groups["wrn16-2_20-65"], groups["wrn16-2_60-200"]],
        "wrn16-4 (2.75 M)": [groups["wrn16-4_20-65"], groups["wrn16-4_60-200"]],
        "wrn16-8 (10.96 M)": [groups["wrn16-8_60-200"]],
    }
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["20/65", "60/200"]


def test_heat_map_is_blank_without_runs():
    student, teacher, agreement, calibration = plot_heat_map(context()).axes
    assert [len(axes.texts) for axes in (student, teacher, agreement, calibration)] == [5] * 4
    at = {text.get_position(): text.get_text() for text in student.texts}
    assert (0, 2) not in at
    error = next(group.error for teacher, group in context().by_teacher if str(teacher) == "wrn16-4_20-65")
    assert at[0, 1] == f"{error.mean:.2f}\n±{error.std:.2f}"


def test_curves_mark_the_end_of_kd():
    groups = curves()
    assert [(len(group.teachers), group.settings["kd_until"]) for group in groups] == [(0, None), (1, 0.5), (1, 1.0)]
    figure = plot_curves(groups)
    labels = ["test error (%)", "training cross-entropy (nats)", "training KD term (nats)"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    ends = [line for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert [line.get_xdata()[0] for line in ends] == [100]
    assert "KD ends after epoch 100" in figure.get_suptitle()
    assert len(figure.axes[2].lines[0].get_xdata()) == 100


def test_labels_of_curves_differ():
    chosen = [make_record(), make_record(lr=0.05), make_record("wrn16-2", "6-20")]
    chosen += [make_record(teachers=(TEACHER,), kd_until=until) for until in (0.25, 1.0)]
    (legend,) = plot_curves(group_runs(chosen)).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "wrn16-1 (60/200) from scratch, lr 0.05",
        "wrn16-1 (60/200) from scratch, lr 0.1",
        "wrn16-1 (60/200) ESKD 25% by wrn16-2 (60/200), lr 0.1",
        "wrn16-1 (60/200) KD by wrn16-2 (60/200), lr 0.1",
        "wrn16-2 (6/20) from scratch, lr 0.1",
    ]


def test_curves_do_not_mix_scales():
    groups = group_runs([make_record(), make_record(schedule="60-200x0.25")])
    with pytest.raises(InputError, match=r"scaled alike\. Received: scaled by 0\.25, 1\.0"):
        plot_curves(groups)


def test_teachers_of_kept_epochs_have_a_line_of_their_own():
    lengths = ("20-65", "60-200", "60-200@35", "60-200@65")
    runs = [make_record(teachers=({**make_record(schedule=n), "name": f"wrn16-4_{n}"},)) for n in lengths]
    (axes,) = plot_teacher_length(contexts(group_runs(runs))[0]).axes
    assert {label.get_text() for label in axes.get_xticklabels()} == {"20/65", "60/200", "@35"}
    labels = axes.get_legend_handles_labels()[1]
    assert [label.partition(")")[2] for label in labels] == ["", ", cut"]


def test_titles_name_the_scale_of_schedules():
    plotted = context("x0.25")
    for figure in (plot_teacher_size(plotted), plot_teacher_length(plotted)):
        assert "schedules scaled by 0.25" in figure.get_suptitle()
    assert "its schedule scaled by 0.25" in plot_curves(list(plotted.distilled)).get_suptitle()


def test_scaled_and_unscaled_are_never_in_one_plot(tmp_path):
    made = compare({**sweep(), **sweep("x0.25")}, tmp_path)
    names = {path.name for path in made.paths}
    assert {"heat_map_wrn16-1_60-200_kd.svg", "heat_map_wrn16-1_60-200x0.25_kd.svg"} <= names
    assert SCALED in (tmp_path / "compare.md").read_text()


def test_saved_plots_are_the_same_to_the_byte(tmp_path):
    for name in ("a", "b"):
        save(PLOTS["teacher_size"](), tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("size", [1, 12])
def test_labels_do_not_overlap(size):
    """Lays out labels of teachers of neighbouring and of equal sizes and lengths."""
    sizes = [f"wrn16-{width}" for width in range(1, 1 + size)] + ["dn100-12"]
    runs = []
    for rank, name in enumerate(sizes):
        for length in ("10-35", "15-50", "20-65", "cos-65", "25-80", "60-200"):
            teacher = {**make_record(schedule=length), "name": f"{name}_{length}", "parameters": 700_000 * (1 + rank)}
            runs.append(make_record(teachers=(teacher,)))
    (plotted,) = contexts(group_runs(runs))
    for figure in (plot_teacher_size(plotted), plot_teacher_length(plotted)):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        for ticked in (axes, *axes.child_axes):
            labels = [label for label in ticked.get_xticklabels() if label.get_text()]
            boxes = [label.get_window_extent() for label in labels]
            rotated = labels[0].get_rotation()
            for one, other in itertools.pairwise(boxes):
                # Boxes of rotated labels may overlap although their texts, side by side, do not.
                assert (other.x0 - one.x0 if rotated else other.x0 - one.x1) > 0.7 * labels[0].get_fontsize()
        legend = figure.legends[0].get_window_extent()
        assert not legend.overlaps(axes.get_tightbbox())
        assert figure.bbox.y0 <= legend.y0
        assert legend.y1 <= figure.bbox.y1


if __name__ == "__main__":
    for name, draw in PLOTS.items():
        draw().savefig(GOLDEN / f"{name}.png", dpi=GOLDEN_DPI)
