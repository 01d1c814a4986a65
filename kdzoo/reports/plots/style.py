"""Colour, marker and line style of the lines in a plot: each line differs in all three, so also in print."""

from collections.abc import Sequence
from typing import Any

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (4, 3, 1, 3)), (0, (1, 3)))


def line_style(i: int, count: int, *, points: int = 0) -> dict[str, Any]:
    """Returns matplotlib's keywords for line i of `count`.

    Args:
        i: the line, from 0.
        count: number of lines.
        points: number of points of a long line, of which some eight get a marker; 0: each point gets one.
    """
    import matplotlib

    # The brightest end of the map would not show on white.
    colour = matplotlib.colormaps["viridis"](0.8 * i / max(1, count - 1))
    style = {"color": colour, "marker": _MARKERS[i % len(_MARKERS)], "linestyle": _LINES[i % len(_LINES)]}
    every = max(1, points // 8)
    return style | ({"markevery": (i * every // max(1, count), every), "markersize": 5} if points else {})


def line_shifts(count: int, values: Sequence[float]) -> list[float]:
    """Returns a factor for each of `count` lines on a logarithmic axis, so that error bars stand beside each other."""
    step = (max(values) / min(values)) ** 0.011
    return [step ** (i - (count - 1) / 2) for i in range(count)]
