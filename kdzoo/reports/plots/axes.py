"""What several plots draw on their axes: error bars, the band from scratch, logarithmic ticks."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kdzoo.reports.contexts import Context
from kdzoo.reports.spreads import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axes._secondary_axes import SecondaryAxis
    from matplotlib.axis import Axis


def error_bars(axes: "Axes", points: Sequence[tuple[float, Spread]], *, style: Mapping[str, Any], label: str) -> None:
    """Draws a line through the means at each x, with a bar of one standard deviation; no bar for one seed."""
    points = sorted(points, key=lambda point: point[0])
    bars = [float("nan") if found.std is None else found.std for _, found in points]
    axes.errorbar([x for x, _ in points], [found.mean for _, found in points], bars, label=label, capsize=3, **style)


def scratch_band(axes: "Axes", context: Context) -> None:
    """Draws the error of the student from scratch: a line at the mean, a band of one standard deviation."""
    if context.scratch:
        error = context.scratch.error
        axes.axhline(error.mean, color="0.45", linewidth=1, label="from scratch", zorder=0)
        if error.std is not None:
            axes.axhspan(error.mean - error.std, error.mean + error.std, color="0.88", zorder=-1)


def log_ticks(axis: "Axis", subs: Sequence[float], form: Callable[[float, float], str]) -> None:
    """Sets ticks on a logarithmic axis at these multiples of powers of ten, labelled by `form(value, position)`."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(form)
    axis.set_minor_locator(NullLocator())


def set_limits(axes: "Axes", values: Sequence[float]) -> None:
    """Sets a logarithmic x axis to these values with a margin."""
    margin = max((max(values) / min(values)) ** 0.08, 1.1)
    axes.set_xlim(min(values) / margin, max(values) * margin)


def label_ticks(
    axes: "Axes | SecondaryAxis",
    labels: Mapping[str, float],
    *,
    limits: tuple[float, float],
    rotation: float = 0,
    align: Literal["left", "right"] = "right",
) -> None:
    """Sets labelled ticks on a logarithmic x axis; labels that would overlap share a tick.

    Args:
        axes: with the x axis to label.
        labels: text -> value.
        limits: of the x axis.
        rotation: of the labels, in degrees; 0: none, but 30 if labels are close to each other.
        align: the end of a rotated label that lies at its tick.
    """
    low, high = (math.log(value) for value in limits)
    at = {name: (math.log(value) - low) / (high - low) for name, value in labels.items()}  # from 0 to 1
    ordered = sorted(at, key=lambda name: at[name])
    if any(0 < at[b] - at[a] < 0.13 for a, b in itertools.pairwise(ordered)):
        rotation = rotation or 30
    merged: list[list[str]] = []
    for name in ordered:
        if merged and at[name] - at[merged[-1][0]] < 0.035:
            merged[-1].append(name)
        else:
            merged.append([name])
    texts = [(", " if rotation else "\n").join(names) for names in merged]
    rotated: dict[str, Any] = {"rotation": rotation, "ha": align, "rotation_mode": "anchor"} if rotation else {}
    axes.set_xticks([labels[names[0]] for names in merged], texts, **rotated)
    axes.minorticks_off()
