"""Forest plot: each method's difference from KD, with its simultaneous interval."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdzoo.reports.labels import student_label
from kdzoo.reports.methods import CONTROL, Method, MethodComparison, stopped_early
from kdzoo.reports.plots.figures import NothingToShow, new_figure, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BETTER, _WORSE, _OPEN = "#21618c", "#b03a2e", "0.35"
_PANELS_WIDE = 2
_LABEL = 34  # characters in a line


def plot_methods(comparisons: Sequence[MethodComparison]) -> "Figure":
    """Draws the differences from KD, from the best method to the worst, a panel for each teacher with one scale.

    A filled marker is a method whose interval does not hold 0. An interval is left out where there is one seed.

    Args:
        comparisons: of one student.

    Raises:
        NothingToShow: without runs of KD.
    """
    shown = [one for one in comparisons if one.control and any(method.difference for method in one.methods)]
    if not shown:
        raise NothingToShow(f"methods without runs of {CONTROL} to compare with")
    columns = min(len(shown), _PANELS_WIDE)
    lines = -(-len(shown) // columns)
    rows = max(len(_rows(one)) for one in shown)
    labels = [textwrap.wrap(method.label, _LABEL) for one in shown for method in _rows(one)]
    width = 3.2 + 0.075 * max(len(line) for label in labels for line in label)
    height = 0.07 + 0.17 * max(map(len, labels))  # of a row
    figure = new_figure(1 + columns * width, 1.1 + lines * (0.9 + height * rows))
    all_axes = figure.subplots(lines, columns, squeeze=False, sharex=True).flat
    for axes, one in zip(all_axes, shown, strict=False):
        _draw(axes, one)
        _finish(axes, one, stopped_early(one, shown))
    for axes in list(all_axes)[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel(f"test error minus {CONTROL}'s (points of percent); below 0 is better", fontsize="medium")
    student = shown[0].student
    intervals = "simultaneous 95 % intervals, filled where they leave out 0"
    note = intervals if any(one.quantile for one in shown) else "one seed, so no intervals"
    set_title(figure, f"{student_label(student).rstrip(',')}, {student.dataset}\n{note}")
    return figure


def _rows(one: MethodComparison) -> list[Method]:
    return [method for method in one.methods if method.difference or method is one.control]


def _draw(axes: "Axes", one: MethodComparison) -> None:
    axes.axvline(0, color="0.5", linewidth=1, zorder=0)
    for row, method in enumerate(_rows(one)):
        if not method.difference:
            axes.plot(0, row, marker="D", color="black", markersize=5)
            continue
        mean, interval = method.difference.mean, method.difference.interval
        low, high = interval or (mean, mean)
        colour = _BETTER if high < 0 else _WORSE if low > 0 else _OPEN
        if interval is None:
            colour = _OPEN
        else:
            axes.plot([low, high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        face = "white" if colour == _OPEN else colour
        axes.plot(mean, row, marker="o", color=colour, markerfacecolor=face, markersize=5.5)


def _finish(axes: "Axes", one: MethodComparison, stopped: bool | None) -> None:
    """Labels the rows with methods and numbers of seeds, and the panel with its teacher and the control's error."""
    rows = _rows(one)
    axes.set_yticks(range(len(rows)), [textwrap.fill(method.label, _LABEL) for method in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for text, method in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if method is one.control else "normal")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelbottom=True)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    for row, method in enumerate(rows):
        n = method.difference.n if method.difference else method.group.n
        axes.text(1.04, row, f"{n}", transform=axes.get_yaxis_transform(), ha="right", va="center_baseline")
    axes.text(1.04, -0.6, "n", transform=axes.get_yaxis_transform(), ha="right", va="bottom", style="italic")
    kind = {True: ", early-stopped", False: ", fully trained", None: ""}[stopped]
    title = f"teacher {one.teacher}{kind}"
    if one.control:
        error = one.control.group.error
        spread = "" if error.std is None else f" ± {error.std:.2f}"
        title += f"\n{one.control.label}: {error.mean:.2f}{spread} %"
    axes.set_title(title, fontsize="medium", parse_math=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
