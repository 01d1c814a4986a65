"""The forest plot: what it draws, where it draws nothing, and that its files are the same each time."""

import itertools

import pytest

from kdzoo.reports.comparison import compare
from kdzoo.reports.groups import group_runs
from kdzoo.reports.methods import compare_methods
from kdzoo.reports.plots.figures import NothingToShow
from kdzoo.reports.plots.files import save
from kdzoo.reports.plots.methods import plot_methods
from synthetic_records import METHOD_TEACHERS, make_method, make_methods


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def rows_of(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def bars(axes):
    """Returns row -> ends of the interval."""
    lines = [line.get_xydata() for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2]
    return {int(ends[0, 1]): (ends[0, 0], ends[1, 0]) for ends in lines if ends[0, 1] == ends[1, 1]}


def marks(axes):
    """Returns row -> x of its marker."""
    return {int(y): x for line in axes.lines if line.get_marker() != "None" for x, y in line.get_xydata()}


def test_a_panel_for_each_teacher_from_the_best_method_to_the_worst():
    comparisons = compare_methods(group_runs(make_methods().values()))
    figure = plot_methods(comparisons)
    titles = [axes.get_title() for axes in panels(figure)]
    assert [title.splitlines()[0] for title in titles] == [
        "teacher wrn16-2 (5/16), early-stopped",
        "teacher wrn16-2 (10/35), fully trained",
    ]
    for axes, one in zip(panels(figure), comparisons, strict=True):
        assert rows_of(axes) == [method.label for method in one.methods]
        expected = {i: method.difference for i, method in enumerate(one.methods) if method.difference}
        assert bars(axes) == {i: pytest.approx(difference.interval) for i, difference in expected.items()}
        control = one.methods.index(one.control)
        assert marks(axes) == {i: difference.mean for i, difference in expected.items()} | {control: 0}
        numbers = [text.get_text() for text in axes.texts]
        assert numbers == [*(str(method.group.n) for method in one.methods), "n"]
        top, bottom = axes.get_ylim()
        assert top > bottom  # the first row, the best method, is on top
    assert len({axes.get_xlim() for axes in panels(figure)}) == 1


def test_markers_are_filled_where_the_interval_leaves_out_0():
    (one,) = compare_methods(group_runs(make_methods(teachers=METHOD_TEACHERS[:1]).values()))
    (axes,) = panels(plot_methods([one]))
    faces = {line.get_ydata()[0]: line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"}
    for row, method in enumerate(one.methods):
        if method.difference:
            low, high = method.difference.interval
            assert (faces[row] == "white") == (low <= 0 <= high)
    assert "white" in faces.values()
    assert len(set(faces.values())) == 3


def test_one_seed_has_markers_alone():
    runs = [
        run
        for name, error in (("kd", 13.0), ("dkd", 12.5))
        for run in make_method(name, METHOD_TEACHERS[0], {0: error})
    ]
    figure = plot_methods(compare_methods(group_runs(runs)))
    (axes,) = panels(figure)
    assert bars(axes) == {}
    assert marks(axes) == {0: -0.5, 1: 0}
    assert "one seed, so no intervals" in figure.get_suptitle()


def test_without_kd_there_is_nothing_to_show():
    runs = [run for name in ("dist", "dkd") for run in make_method(name, METHOD_TEACHERS[0], {0: 13.0})]
    with pytest.raises(NothingToShow, match="methods without runs of kd to compare with"):
        plot_methods(compare_methods(group_runs(runs)))


def test_long_labels_leave_room_for_the_intervals():
    long = '{"alpha": 0.75, "beta": 5.25, "temperature": 3.5, "warmup_epochs": 10}'
    runs = list(make_methods(teachers=METHOD_TEACHERS).values())
    runs += make_method("mlkd", METHOD_TEACHERS[0], {0: 13.1, 1: 13.3}, method_args=long)
    figure = plot_methods(compare_methods(group_runs(runs)))
    figure.draw_without_rendering()
    for axes in panels(figure):
        assert axes.bbox.width > 2 * figure.dpi
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert all(one.y0 > other.y1 for one, other in itertools.pairwise(boxes))
        tight = axes.get_tightbbox()
        assert figure.bbox.x0 <= tight.x0
        assert tight.x1 <= figure.bbox.x1 + 1


def test_the_report_has_the_section_and_the_plot(tmp_path):
    runs = make_methods({"kd": (0.0, 2), "dkd": (-0.3, 2), "none": (0.5, 2)})
    made = compare(runs, tmp_path)
    text = (tmp_path / "compare.md").read_text()
    assert made.methods in text
    assert text.count("### student wrn16-1 on 10/35, teacher wrn16-2 (") == 2
    assert "![methods_wrn16-1_10-35](methods_wrn16-1_10-35.svg)" in text
    paths = [tmp_path / f"methods_wrn16-1_10-35.{kind}" for kind in ("png", "svg")]
    before = [path.read_bytes() for path in paths]
    again = save(plot_methods(compare_methods(group_runs(runs.values()))), tmp_path / "methods_wrn16-1_10-35")
    assert [*again] == paths
    assert [path.read_bytes() for path in paths] == before
