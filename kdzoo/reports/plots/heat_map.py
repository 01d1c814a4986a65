"""Teacher's size x training length: the student's error beside the teacher's own figures."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdzoo.reports.contexts import Context
from kdzoo.reports.groups import Group
from kdzoo.reports.plots.figures import NothingToShow, context_title, new_figure, set_title
from kdzoo.reports.spreads import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERROR = "student's error (%)"


def _agreement(group: Group) -> float | None:
    found = group.spread("test_agreement_last")
    return found.mean if found else None


# title -> value of a group, and its format
_PANELS: dict[str, tuple[Callable[[Group], float | None], str]] = {
    ERROR: (lambda group: group.error.mean, ".2f"),
    "teacher's own error (%)": (lambda group: group.of_teacher("test_error_last"), ".2f"),
    "agreement (%)": (_agreement, ".1f"),
    "teacher's ECE": (lambda group: group.of_teacher("test_ece_last"), ".3f"),
}


def plot_heat_map(context: Context, extra: Mapping[str, Any] | None = None) -> "Figure":
    """Draws a panel for each of `_PANELS` that has values: a row an architecture, a column a schedule of the teacher.

    Args:
        context: groups to show.
        extra: settings to name in the title.

    Raises:
        NothingToShow: for teachers of one size or of one length.
    """
    sizes, lengths = context.sizes, context.lengths
    for quantity, values in (("size", sizes), ("training length", lengths)):
        if len(values) < 2:
            raise NothingToShow(f"teachers of {'one' if values else 'no known'} {quantity}")
    groups = {(teacher.architecture, teacher.schedule): group for teacher, group in context.by_teacher}
    cells = [[groups.get((architecture, length)) for length in lengths] for architecture in sizes]
    grids = {
        title: [[value(group) if group else None for group in row] for row in cells]
        for title, (value, _) in _PANELS.items()
    }
    grids = {title: grid for title, grid in grids.items() if any(value is not None for row in grid for value in row)}
    across = len(grids) if len(lengths) <= 3 else min(2, len(grids))
    down = -(-len(grids) // across)
    figure = new_figure(1.6 + across * (0.7 + 0.72 * len(lengths)), 1.2 + down * (0.9 + 0.48 * len(sizes)))
    set_title(figure, context_title(context, extra))
    panels = figure.subplots(down, across, squeeze=False)
    for panel in panels.flat[len(grids) :]:
        panel.set_visible(False)
    for i, (panel, (title, grid)) in enumerate(zip(panels.flat, grids.items(), strict=False)):
        errors = [[group.error if group and title == ERROR else None for group in row] for row in cells]
        _draw_panel(panel, grid, errors, digits=_PANELS[title][1])
        panel.set_title(title, fontsize="medium")
        panel.set_xticks(range(len(lengths)), [length.paper_form for length in lengths])
        labels = [f"{architecture}  {size / 1e6:.2f} M" for architecture, size in sizes.items()]
        panel.set_yticks(range(len(sizes)), labels if i % across == 0 else [""] * len(labels))
        if i >= len(grids) - across:
            panel.set_xlabel("teacher's schedule k/N")
    return figure


def _draw_panel(
    axes: "Axes", grid: Sequence[Sequence[float | None]], spreads: Sequence[Sequence[Spread | None]], *, digits: str
) -> None:
    """Draws grey cells with their numbers, and a frame around the lowest of those with a spread."""
    import numpy as np
    from matplotlib.patches import Rectangle

    values = np.array(grid, np.float64)  # nan for a cell without runs
    low, span = np.nanmin(values), np.nanmax(values) - np.nanmin(values) or 1
    # The lightest grey is not white, which marks a cell without runs; the darkest is not black, so that a frame shows.
    image = axes.imshow(values, cmap="Greys", vmin=low - 0.12 * span, vmax=low + 1.25 * span, aspect="auto")
    greys = image.to_rgba(values)[..., 0]
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        spread = spreads[row][column]
        text = f"{value:{digits}}" + (f"\n±{spread.std:{digits}}" if spread and spread.std is not None else "")
        dark = greys[row, column] < 0.46  # at this grey black and white have the same contrast
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        if spread and value == low:
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=2, clip_on=False))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
