"""A figure's frame: its size, its title, its legend."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.reports.contexts import Context
from kdzoo.reports.labels import describe_setting, method_label, seeds_label, student_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class NothingToShow(Exception):
    """A plot would be empty, or of one point. The message states the reason."""


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty figure of this size in inches, which lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def set_title(figure: "Figure", text: str) -> None:
    """Sets the figure's title, with lines that fit its width."""
    width = int(12 * figure.get_figwidth())  # characters of this size that fit
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, width)]
    figure.suptitle("\n".join(lines), fontsize="medium", parse_math=False)


def context_title(context: Context, extra: Mapping[str, Any] | None) -> str:
    """Returns the student and the method, its temperature and `extra` settings, the data set, seeds and scales."""
    first = context.distilled[0]
    student, teachers = context.scales
    text = student_label(first, scaled="schedules" if student == teachers else "its schedule")
    text += f" taught by {method_label(first)}"
    settings = [f"T = {first.settings['temperature']:g}"] if first.settings["temperature"] else []
    settings += [describe_setting(key, value) for key, value in (extra or {}).items() if key != "temperature"]
    if settings := [setting for setting in settings if setting]:
        text += f" ({', '.join(settings)})"
    shown = [group for _, group in context.by_teacher] + ([context.scratch] if context.scratch else [])
    note = f"{first.dataset}, {seeds_label(shown)}"
    if teachers != student:
        note += f"; teachers' schedules {f'scaled by {float(teachers)}' if teachers != 1 else 'not scaled'}"
    return f"{text}\n{note}"


def line_figure(context: Context, extra: Mapping[str, Any] | None, *, lines: int) -> tuple["Figure", "Axes"]:
    """Returns a titled figure with one pair of axes, high enough for a legend of so many lines."""
    figure = new_figure(7.5, max(4.8, 1.6 + 0.22 * lines))
    set_title(figure, context_title(context, extra))
    return figure, figure.add_subplot()


def finish_line_figure(figure: "Figure", axes: "Axes", *, legend: str) -> None:
    """Labels the axis of the error, and adds the legend beside the axes."""
    axes.set_ylabel("student's test error (%)")
    axes.spines[["right"]].set_visible(False)
    figure.legend(loc="outside right center", title=legend, frameon=False, handlelength=4)
