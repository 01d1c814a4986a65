"""Student's error against the teacher's size."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.distillation.schedules import Schedule
from kdzoo.reports.contexts import Context
from kdzoo.reports.groups import Group, TeacherName
from kdzoo.reports.plots.axes import error_bars, label_ticks, log_ticks, scratch_band, set_limits
from kdzoo.reports.plots.figures import NothingToShow, finish_line_figure, line_figure
from kdzoo.reports.plots.style import line_shifts, line_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_teacher_size(context: Context, extra: Mapping[str, Any] | None = None) -> "Figure":
    """Draws the student's error against the teacher's parameters, a line for each length of the teachers' training.

    Args:
        context: groups to show, and the student from scratch.
        extra: settings to name in the title.

    Raises:
        NothingToShow: for teachers of one size.
    """
    sizes = context.sizes
    if len(sizes) < 2:
        raise NothingToShow(f"teachers of {'one' if sizes else 'no known'} size")
    lengths = sorted(context.lengths, key=lambda length: length.epochs != context.full_epochs)  # fully trained first
    families = sorted({teacher.family for teacher, _ in context.by_teacher})
    lines = _lines(context, families, lengths)
    figure, axes = line_figure(context, extra, lines=len(lines))
    shifts = line_shifts(len(lines), list(sizes.values()))
    for shift, ((length, family), of_line) in zip(shifts, lines.items(), strict=True):
        full = length.epochs == context.full_epochs
        style = line_style(lengths.index(length), len(lengths)) | ({"color": "black", "linewidth": 2.2} if full else {})
        if families.index(family):
            style["markerfacecolor"] = ("white", "0.7")[families.index(family) % 2 - 1]
        label = f"{length.paper_form}{', fully trained' if full else ''}"
        error_bars(
            axes,
            [(sizes[teacher.architecture] * shift, group.error) for teacher, group in of_line],
            style=style,
            label=label if len(families) == 1 else f"{family} {label}",
        )
    scratch_band(axes, context)
    axes.set_xscale("log")
    log_ticks(axes.xaxis, (1, 2, 5), lambda value, _: f"{value / 1e6:g} M")
    set_limits(axes, list(sizes.values()))
    axes.set_xlabel("teacher's parameters")
    label_ticks(axes.secondary_xaxis("top"), sizes, limits=axes.get_xlim(), rotation=60, align="left")
    finish_line_figure(figure, axes, legend="teacher trained on k/N")
    return figure


def _lines(
    context: Context, families: list[str], lengths: list[Schedule]
) -> dict[tuple[Schedule, str], list[tuple[TeacherName, Group]]]:
    """Returns the teachers, with their groups, by length and family."""
    lines = {
        (length, family): [
            (teacher, group)
            for teacher, group in context.by_teacher
            if (teacher.schedule, teacher.family) == (length, family) and teacher.architecture in context.sizes
        ]
        for family in families
        for length in lengths
    }
    return {line: of_line for line, of_line in lines.items() if of_line}
