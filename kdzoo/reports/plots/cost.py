"""Student's error against what the student costs, with the Pareto front."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from kdzoo.reports import costs
from kdzoo.reports.groups import Group
from kdzoo.reports.labels import group_label, seeds_label
from kdzoo.reports.pareto import pareto_front
from kdzoo.reports.plots.axes import log_ticks, set_limits
from kdzoo.reports.plots.figures import NothingToShow, new_figure, set_title
from kdzoo.reports.plots.style import line_style
from kdzoo.runs.records import LATENCY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# label of the axis -> cost of a group, and what a tick at this cost reads
_PANELS: dict[str, tuple[Callable[[Group], float], Callable[[float], str]]] = {
    "multiply-adds": (lambda group: costs.of_group(group)["multiply_adds"], lambda value: f"{value / 1e6:g} M"),
    "weights in float32": (costs.weight_bytes, lambda value: f"{value / 1e6:g} MB"),
    "latency, batch 1": (lambda group: costs.of_group(group)[LATENCY], lambda value: f"{value:g} ms"),
}
_WIDE = 60  # ratio of costs from which on ticks are at powers of ten alone


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
    fronts = {
        panel: [groups[i] for i in pareto_front([(cost(group), group.error.mean) for group in groups])]
        for panel, (cost, _) in _PANELS.items()
    }
    in_front = list(dict.fromkeys(group for front in fronts.values() for group in front))
    numbers = {group: number for number, group in enumerate(in_front, start=1)}
    entries = len(models) + len(in_front)
    figure = new_figure(1 + 3.8 * len(_PANELS), 4.2 + 0.21 * -(-entries // 2))
    set_title(figure, f"test error and cost of a student\n{groups[0].dataset}, {seeds_label(groups)}")
    all_axes = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (panel, (cost, tick)) in zip(all_axes, _PANELS.items(), strict=True):
        for i, model in enumerate(models):
            of_model = [group for group in groups if group.model == model]
            _draw_points(axes, of_model, cost, colour=line_style(i, len(models))["color"], i=i)
        _draw_front(axes, fronts[panel], cost, numbers)
        _finish(axes, [cost(group) for group in groups], tick, label=panel)
    all_axes[0].set_ylabel("student's test error (%)")
    _add_legend(figure, all_axes[0], {number: group_label(group, groups) for group, number in numbers.items()})
    return figure


def _draw_points(
    axes: "Axes", groups: Sequence[Group], cost: Callable[[Group], float], *, colour: object, i: int
) -> None:
    marker = line_style(i, 1)["marker"]
    bars = [float("nan") if group.error.std is None else group.error.std for group in groups]
    axes.errorbar(
        [cost(group) for group in groups],
        [group.error.mean for group in groups],
        bars,
        color=colour,
        marker=marker,
        linestyle="none",
        capsize=3,
        label=groups[0].model,
    )


def _draw_front(
    axes: "Axes", front: Sequence[Group], cost: Callable[[Group], float], numbers: Mapping[Group, int]
) -> None:
    """Draws the front as steps: at each cost the lowest error that is to be had for it."""
    points = [(cost(group), group.error.mean) for group in front]
    x, errors = zip(*points, strict=True)
    axes.step(x, errors, where="post", color="black", linewidth=1, zorder=0, label="Pareto front")
    for group, point in zip(front, points, strict=True):
        axes.annotate(str(numbers[group]), point, xytext=(-6, -6), textcoords="offset points", ha="right", va="top")


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
