"""Learning curves: test error, training cross-entropy and KD term against the epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.reports.groups import Group
from kdzoo.reports.labels import group_label, of_several_students, seeds_label, student_label
from kdzoo.reports.plots.axes import log_ticks
from kdzoo.reports.plots.figures import NothingToShow, new_figure, set_title
from kdzoo.reports.plots.style import line_style
from kdzoo.reports.schedule_scale import scale
from kdzoo.reports.spreads import Spread, spread
from zoo import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = {"test_error": "test error (%)", "ce": "training cross-entropy (nats)", "kd": "training KD term (nats)"}


def plot_curves(groups: Sequence[Group]) -> "Figure":
    """Draws learning curves of groups, each the mean over its seeds, with a band of one standard deviation.

    A vertical line marks the end of the KD term (ESKD).

    Raises:
        NothingToShow: without any epoch.
        InputError: if the students' schedules are not all scaled alike.
    """
    shares = sorted({float(scale(group.schedule)) for group in groups})
    if len(shares) > 1:
        raise InputError(f"curves must be of schedules scaled alike. Received: scaled by {', '.join(map(str, shares))}")
    panels = {key: title for key, title in _PANELS.items() if any(_curve(group, key) for group in groups)}
    if not panels:
        raise NothingToShow("no run has a history")
    labels = [group_label(group, groups) for group in groups]
    columns = 1 if max(map(len, labels)) > 45 or len(panels) == 1 else 2
    legend_height = 0.21 * -(-len(labels) // columns)
    figure = new_figure(1 + 3.8 * len(panels), 4 + legend_height)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    ends = _kd_ends(groups)
    for axes, (key, title) in zip(all_axes, panels.items(), strict=True):
        for i, group in enumerate(groups):
            curve = _curve(group, key)
            if curve:
                _draw_curve(axes, curve, style=line_style(i, len(groups), points=len(curve)), label=labels[i])
        for end in ends:
            axes.axvline(end, color="0.35", linestyle=(0, (1, 1.5)), linewidth=1.2)
        axes.set_yscale("log")
        log_ticks(axes.yaxis, (1, 1.5, 2, 3, 5, 7), lambda value, _: f"{value:g}")
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    set_title(figure, _title(groups, share=shares[0], ends=ends))
    handles = all_axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=4)
    return figure


def _title(groups: Sequence[Group], *, share: float, ends: Sequence[int]) -> str:
    text, note = student_label(groups[0]).rstrip(","), f"{groups[0].dataset}, {seeds_label(groups)}"
    if ends:
        note += f"; dotted: KD ends after epoch {', '.join(map(str, ends))}"
    if of_several_students(groups):
        text = "learning curves" + (f", schedules scaled by {share}" if share != 1 else "")
    return f"{text}\n{note}"


def _kd_ends(groups: Sequence[Group]) -> list[int]:
    """Returns the epochs after which a teacher's terms end before the training does."""
    ends = set()
    for group in groups:
        history = group.runs[0]["history"]
        end = max((row["epoch"] for row in history if "kd" in row or "at" in row), default=None)
        if end and end < len(history):
            ends.add(end)
    return sorted(ends)


def _curve(group: Group, key: str) -> list[tuple[int, Spread]]:
    """Returns epoch and spread over the seeds, for the epochs that have values."""
    epochs: dict[int, list[float | None]] = {}
    for run in group.runs:
        for row in run["history"]:
            epochs.setdefault(row["epoch"], []).append(row.get(key))
    return [(epoch, found) for epoch, values in epochs.items() if (found := spread(values))]


def _draw_curve(axes: "Axes", curve: Sequence[tuple[int, Spread]], *, style: Mapping[str, Any], label: str) -> None:
    epochs, means = [epoch for epoch, _ in curve], [found.mean for _, found in curve]
    axes.plot(epochs, means, label=label, **style)
    stds = [found.std for _, found in curve if found.std is not None]
    if len(stds) == len(curve):
        low, high = ([mean + side * std for mean, std in zip(means, stds, strict=True)] for side in (-1, 1))
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, linewidth=0)
