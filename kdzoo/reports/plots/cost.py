"""Student's error against what the student costs, with the Pareto front."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kdzoo.reports import costs
from kdzoo.reports.groups import Group
from kdzoo.reports.labels import group_label, seeds_label
from kdzoo.reports.pareto import pareto_front
from kdzoo.reports.plots.axes import error_bars, log_ticks, set_limits
from kdzoo.reports.plots.figures import NothingToShow, new_figure, set_title
from kdzoo.reports.plots.style import line_style
from kdzoo.runs.records import LATENCY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Cost -> label of its axis, and what a tick at a value reads.
_PANELS: dict[str, tuple[str, Callable[[float], str]]] = {
    "multiply_adds": ("multiply-adds", lambda value: f"{value / 1e6:g} M" if value < 1e9 else f"{value / 1e9:g} G"),
    "weight_bytes": ("weights in float32", lambda value: f"{value / 1e6:g} MB"),
    LATENCY: ("latency, batch 1", lambda value: f"{value:g} ms"),
}
_WIDE = 30  # ratio of costs from which on ticks are at powers of ten alone


def plot_cost(groups: Sequence[Group]) -> "Figure":
    """Draws the student's test error against multiply-adds, bytes and latency, a point for each group.

    A line joins the points of each Pareto front: no other point has both a lower error and a lower cost. They are
    numbered, and the legend names them.

    Args:
        groups: of one data set, whose costs are known.

    Raises:
        NothingToShow: for students of one network.
    """
    models = list(dict.fromkeys(group.model for group in groups))
    if len(models) < 2:
        raise NothingToShow("students of one network")
    points = {
        panel: [(cost, group.error.mean) for cost, group in zip(values, groups, strict=True)]
        for panel, values in costs.to_plot(groups).items()
    }
    fronts = {panel: pareto_front(points[panel]) for panel in _PANELS}
    in_front = list(dict.fromkeys(i for front in fronts.values() for i in front))
    numbers = {i: number for number, i in enumerate(in_front, start=1)}
    entries = len(models) + len(in_front)
    figure = new_figure(1 + 3.8 * len(_PANELS), 4.2 + 0.21 * -(-entries // 2))
    set_title(figure, f"test error and cost of a student\n{groups[0].dataset}, {seeds_label(groups)}")
    all_axes = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (panel, (label, tick)) in zip(all_axes, _PANELS.items(), strict=True):
        for rank, model in enumerate(models):
            of_model = [i for i, group in enumerate(groups) if group.model == model]
            style = line_style(rank, len(models)) | {"linestyle": "none"}
            error_bars(axes, [(points[panel][i][0], groups[i].error) for i in of_model], style=style, label=model)
        _draw_front(axes, {numbers[i]: points[panel][i] for i in fronts[panel]})
        _finish(axes, [cost for cost, _ in points[panel]], tick, label=label)
    all_axes[0].set_ylabel("student's test error (%)")
    _add_legend(figure, all_axes[0], {number: group_label(groups[i], groups) for i, number in numbers.items()})
    return figure


def _draw_front(axes: "Axes", front: Mapping[int, tuple[float, float]]) -> None:
    """Draws the numbered points of a front as steps: at each cost the lowest error that is to be had for it."""
    x, errors = zip(*front.values(), strict=True)
    axes.step(x, errors, where="post", color="black", linewidth=1, zorder=0, label="Pareto front")
    for number, point in front.items():
        axes.annotate(str(number), point, xytext=(-6, -6), textcoords="offset points", ha="right", va="top")


def _finish(axes: "Axes", values: Sequence[float], tick: Callable[[float], str], *, label: str) -> None:
    axes.set_xscale("log")
    subs = (1,) if max(values) > _WIDE * min(values) else (1, 2, 5)
    log_ticks(axes.xaxis, subs, lambda value, _: tick(value))
    set_limits(axes, values)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(figure: "Figure", axes: "Axes", numbered: Mapping[int, str]) -> None:
    """Adds the students' markers, and the names of the numbered points, below the axes."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    handles += [Line2D([], [], linestyle="none", marker=f"${number}$", color="black") for number in numbered]
    labels += numbered.values()
    columns = 1 if max(map(len, labels)) > 55 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
