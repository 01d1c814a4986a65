"""Text of table cells, titles, legends and ticks."""

import json
from collections.abc import Sequence
from typing import Any

from kdzoo.reports.groups import METHOD_ARGS, Group, Record, teacher_name, varying
from kdzoo.reports.schedule_scale import scale
from kdzoo.runs.config import METHODS
from kdzoo.runs.settings import to_text


def describe_teachers(record: Record) -> str:
    """Returns the names of a run's teachers, or a dash."""
    return ", ".join(teacher["name"] for teacher in record["teachers"]) or "-"


def format_setting(value: Any) -> str:
    """Returns a setting as text; a dash for None and for empty text."""
    if isinstance(value, bool):
        return to_text(value)
    if isinstance(value, float):
        return f"{value:g}"
    return "0" if value == 0 else str(value or "-")


def format_arguments(text: str | None) -> str:
    """Returns a method's arguments, a JSON object of those that are not its defaults, as text: beta 2, warmup 20."""
    try:
        arguments = dict(json.loads(text or "{}"))
    except (ValueError, TypeError):  # no object
        return str(text)
    return ", ".join(f"{name} {format_setting(value)}" for name, value in arguments.items())


def describe_setting(key: str, value: Any) -> str:
    """Returns a setting with its name, or a method's arguments with theirs."""
    return format_arguments(value) if key == METHOD_ARGS else f"{key} {format_setting(value)}"


def method_label(group: Group) -> str:
    """Returns for example KD, dkd, or ESKD 50% if the KD term ends after half of the epochs."""
    known = group.method in METHODS
    method = group.method.upper() if known else group.method
    if not group.stops_early:
        return method
    share = f"{100 * group.settings['kd_until']:g}%"
    return f"ES{method} {share}" if known else f"{method} until {share}"


def variant_label(group: Group, groups: Sequence[Group]) -> str:
    """Returns a method's name with its arguments that are not defaults, and in what else it has variants in `groups`.

    Without a method it is "from scratch".
    """
    variants = [other for other in groups if other.method == group.method]
    found = {key: group.settings.get(key) for key in varying(variants) if key != METHOD_ARGS}
    parts = [format_arguments(group.settings.get(METHOD_ARGS))]
    parts += [describe_setting(key, value) for key, value in found.items() if value is not None]
    described = ", ".join(filter(None, parts))
    name = "from scratch" if group.method == "none" else group.method
    return f"{name} ({described})" if described else name


def student_label(group: Group, *, scaled: str = "its schedule") -> str:
    """Returns the student's architecture and schedule.

    Args:
        group: of the student.
        scaled: subject of the note that a schedule is scaled.
    """
    share = scale(group.schedule)
    note = "" if share == 1 else f", {scaled} scaled by {float(share)},"
    return f"student {group.model} on {group.schedule.paper_form}{note}"


def teacher_label(teacher: Record) -> str:
    """Returns architecture and schedule of a teacher's entry in a record; an external model's name as it is."""
    name = teacher_name(teacher)
    if not name:
        return str(teacher["name"])
    share = scale(name.schedule)
    return f"{name.architecture} ({name.schedule.paper_form}{f' x{float(share)}' if share != 1 else ''})"


def seeds_label(groups: Sequence[Group]) -> str:
    """Returns over how many seeds the groups' means are."""
    counts = sorted({group.n for group in groups})
    if counts == [1]:
        return "one seed"
    seeds = f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    return f"mean ± sample standard deviation over {seeds}"


def of_several_students(groups: Sequence[Group]) -> bool:
    """Whether the groups differ in their students' architecture or schedule."""
    return len({(group.model, group.schedule) for group in groups}) > 1


def group_label(group: Group, groups: Sequence[Group]) -> str:
    """Returns a group's method and teachers, and what else the groups differ in: student and settings."""
    student = f"{group.model} ({group.schedule.paper_form}) " if of_several_students(groups) else ""
    teachers = ", ".join(teacher_label(teacher) for teacher in group.teachers)
    alone = "from scratch" if group.method == "none" else method_label(group)
    method = f"{method_label(group)} by {teachers}" if teachers else alone
    others = {key: group.settings.get(key) for key in varying(groups) if key != "kd_until"}
    settings = [describe_setting(key, value) for key, value in others.items() if value is not None]
    return ", ".join(filter(None, [f"{student}{method}", *settings]))
