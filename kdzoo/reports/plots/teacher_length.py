"""Student's error against the length of the teacher's training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdzoo.distillation.schedules import CutSchedule, Schedule
from kdzoo.reports.contexts import Context
from kdzoo.reports.groups import Group
from kdzoo.reports.plots.axes import error_bars, label_ticks, log_ticks, scratch_band, set_limits
from kdzoo.reports.plots.figures import NothingToShow, finish_line_figure, line_figure
from kdzoo.reports.plots.style import line_shifts, line_style
from kdzoo.reports.schedule_scale import unscaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_teacher_length(context: Context, extra: Mapping[str, Any] | None = None) -> "Figure":
    """Draws the student's error against the teacher's epochs N, a line for each architecture and kind of schedule.

    Args:
        context: groups to show, and the student from scratch.
        extra: settings to name in the title.

    Raises:
        NothingToShow: for teachers of one length.
    """
    lengths, sizes = context.lengths, context.sizes
    if len(lengths) < 2:
        raise NothingToShow(f"teachers of {'one' if lengths else 'no known'} training length")
    lines: dict[tuple[str, str], list[tuple[Schedule, Group]]] = {}
    for architecture in sizes:
        for teacher, group in context.by_teacher:
            if teacher.architecture == architecture:
                lines.setdefault((architecture, teacher.schedule.kind), []).append((teacher.schedule, group))
    figure, axes = line_figure(context, extra, lines=len(lines))
    epochs = [unscaled(length).epochs for length in lengths]
    shifts = line_shifts(len(lines), epochs)
    for i, (shift, ((architecture, kind), of_line)) in enumerate(zip(shifts, lines.items(), strict=True)):
        error_bars(
            axes,
            [(unscaled(length).epochs * shift, group.error) for length, group in of_line],
            style=line_style(i, len(lines)),
            label=f"{architecture} ({sizes[architecture] / 1e6:.2f} M){kind and f', {kind}'}",
        )
    scratch_band(axes, context)
    axes.set_xscale("log")
    log_ticks(axes.xaxis, (1,), lambda value, _: "")
    set_limits(axes, epochs)
    cut = {unscaled(length).epochs for length in lengths if isinstance(length, CutSchedule)}
    whole = {length.paper_form: unscaled(length).epochs for length in lengths if not isinstance(length, CutSchedule)}
    ends = {f"@{n}": n for n in cut - set(whole.values())}
    label_ticks(axes, whole | ends, limits=axes.get_xlim())
    end = "; @M: cut after M epochs" if cut else ""
    axes.set_xlabel(f"teacher's schedule: LR step every k of N epochs, k/N{end}")
    finish_line_figure(figure, axes, legend="teacher (parameters)")
    return figure
