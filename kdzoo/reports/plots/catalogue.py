"""Which plots a set of runs has, and which curves one of them shows."""

import collections
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kdzoo.reports import costs
from kdzoo.reports.contexts import contexts, families
from kdzoo.reports.groups import METHOD_ARGS, Group, Record, TeacherName, group_runs, varying
from kdzoo.reports.labels import describe_setting, method_label
from kdzoo.reports.methods import MethodComparison
from kdzoo.reports.plots.cost import plot_cost
from kdzoo.reports.plots.curves import plot_curves
from kdzoo.reports.plots.figures import NothingToShow
from kdzoo.reports.plots.heat_map import plot_heat_map
from kdzoo.reports.plots.methods import plot_methods
from kdzoo.reports.plots.teacher_length import plot_teacher_length
from kdzoo.reports.plots.teacher_size import plot_teacher_size
from kdzoo.reports.schedule_scale import scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[], "Figure"]
_BY_TEACHER = {"teacher_size": plot_teacher_size, "teacher_length": plot_teacher_length, "heat_map": plot_heat_map}


def possible_plots(
    groups: Sequence[Group], chosen: Sequence[Record], methods: Sequence[MethodComparison] = ()
) -> Iterator[tuple[str, Draw]]:
    """Yields a file name and a function that draws, for each plot; the function may raise NothingToShow.

    Args:
        groups: of all runs, with teachers of other seeds merged.
        chosen: records of the runs whose learning curves to draw; none: those of `choose_curves` for each student.
        methods: comparisons of methods, see `kdzoo.reports.methods`.
    """
    used: collections.Counter[str] = collections.Counter()
    by_teacher, curves = _plots_by_teacher(groups), _plots_of_curves(groups, chosen)
    for parts, draw in (*_plots_of_methods(methods), *by_teacher, *curves, *_plots_of_cost(groups)):
        name = "_".join(re.sub(r"[^\w.+-]+", "-", part).strip("-") for part in parts)
        used[name] += 1
        yield name if used[name] == 1 else f"{name}_{used[name]}", draw


def _plots_by_teacher(groups: Sequence[Group]) -> Iterator[tuple[list[str], Draw]]:
    """Yields the parts of a name, and what draws the plot."""
    found = contexts(groups)
    if not found:
        yield ["teacher_size"], _draw_nothing
    settings = varying(group for context in found for group in context.distilled)
    settings = [key for key in settings if key != "kd_until"]  # the method's name has it
    for context in found:
        first = context.distilled[0]
        extra = {key: first.settings.get(key) for key in settings}
        # An argument's names are in the arguments themselves.
        described = [
            describe_setting(key, value) if key == METHOD_ARGS else f"{key}{value}" for key, value in extra.items()
        ]
        described = [part for part in described if part]
        if len({group.dataset for group in groups}) > 1:
            described.insert(0, first.dataset)
        if context.scales[1] != context.scales[0]:
            described.append(f"teachers-x{float(context.scales[1])}")
        for kind, draw in _BY_TEACHER.items():
            parts = [kind, first.model, str(first.schedule), method_label(first).lower(), *described]
            yield parts, functools.partial(draw, context, extra)


def _plots_of_curves(groups: Sequence[Group], chosen: Sequence[Record]) -> Iterator[tuple[list[str], Draw]]:
    if chosen:
        yield ["curves"], functools.partial(plot_curves, group_runs(chosen, merge_teachers=True))
        return
    for family in families(groups):
        if any(member.teachers for member in family):
            parts = ["curves", family[0].model, str(family[0].schedule)]
            yield parts, functools.partial(plot_curves, choose_curves(family))


def _plots_of_cost(groups: Sequence[Group]) -> Iterator[tuple[list[str], Draw]]:
    """Yields a plot for each data set, of the groups whose records hold costs."""
    of_dataset: dict[tuple[str, str], list[Group]] = {}
    for group in filter(costs.is_known, groups):
        of_dataset.setdefault((group.dataset, group.fingerprint), []).append(group)
    for (dataset, _), members in of_dataset.items():
        yield ["cost", *([dataset] if len(of_dataset) > 1 else [])], functools.partial(plot_cost, members)


def _plots_of_methods(methods: Sequence[MethodComparison]) -> Iterator[tuple[list[str], Draw]]:
    """Yields a plot for each student."""
    of_student: dict[str, list[MethodComparison]] = {}
    for one in methods:
        of_student.setdefault(one.student.student_key, []).append(one)
    for comparisons in of_student.values():
        student = comparisons[0].student
        yield ["methods", student.model, str(student.schedule)], functools.partial(plot_methods, comparisons)


def _draw_nothing() -> "Figure":
    raise NothingToShow("no run has a teacher")


def choose_curves(family: Sequence[Group]) -> list[Group]:
    """Returns at most five groups of one student to compare by their curves.

    They are the student from scratch, the student of the biggest fully trained teacher, with and without an early end
    of the KD term, and the student of the best early-stopped teacher of the same architecture.
    """
    scratch = [group for group in family if not group.teachers]
    by_teacher = [(group.teacher, group) for group in family if group.teacher]
    if not by_teacher:
        return [*scratch, *(group for group in family if group.teachers)][:5]
    # A teacher that also has a run with early-stopped distillation shows more than a bigger one.
    with_eskd = {teacher for teacher, group in by_teacher if group.stops_early}

    def rank(pair: tuple[TeacherName, Group]) -> tuple[bool, int, float]:
        teacher, group = pair
        return teacher in with_eskd, teacher.schedule.epochs, group.of_teacher("parameters") or 0

    full, _ = max(by_teacher, key=rank)
    same = [group for teacher, group in by_teacher if teacher == full]
    shorter = [
        group
        for teacher, group in by_teacher
        if teacher.architecture == full.architecture
        and teacher.schedule.epochs < full.schedule.epochs
        and scale(teacher.schedule) == scale(full.schedule)
    ]
    best = sorted(shorter, key=lambda group: group.error.mean)[:1]
    return [*scratch[:1], *same[: 4 - len(best)], *best]
