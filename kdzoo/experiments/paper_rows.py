"""Rows of the paper's tables to reproduce: printed ones, the student from scratch, and teachers the paper lacks."""

import dataclasses
import re

from kdzoo.models import names
from kdzoo.paper import printed
from zoo import InputError

_RULE = (
    "rows must be lines of the table, 0 being its students from scratch, or TEACHER:k/N (on ImageNet TEACHER:N) for one"
    " that it lacks, for example 0,3-5,wrn16-2:20/65"
)


def choose(table: int | str, lines: str = "") -> list[printed.Row]:
    """Returns rows of a table.

    Args:
        table: number of the table, 1 to 10, or `printed.FIGURE1`.
        lines: lines, ranges and TEACHER:k/N, separated by commas; line 0 is each student of the others from
            scratch, "" stands for all lines.

    Raises:
        InputError: if a part of `lines` is neither a line of the table nor TEACHER:k/N.
    """
    every = (*scratch(table), *printed.rows(table))
    if not lines:
        return list(every)
    of_table = {row.line for row in every}
    chosen: list[printed.Row] = []
    for part in lines.split(","):
        bounds = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if bounds:
            numbers = range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1)
            if not numbers or not set(numbers) <= of_table:
                there = f"{every[0].title.lower()} has lines {min(of_table)} to {max(of_table)}"
                raise InputError(f"{_RULE}; {there}. Received: {part}")
            chosen += [row for row in every if row.line in numbers]
        else:
            chosen.append(_unpublished(table, part))
    students = {row.student for row in chosen if row.line}
    return [row for row in dict.fromkeys(chosen) if row.line or not students or row.student in students]


def scratch(table: int | str) -> list[printed.Row]:
    """Returns the table's students trained on labels alone as line 0, with the errors that the paper prints anywhere.

    Without students that have such a row in the table.
    """
    rows = [row for row in printed.rows(table) if row.student]
    alone = {(row.student, row.schedule_type) for row in rows if not row.teacher}
    first: dict[tuple[str | None, str], printed.Row] = {}
    for row in rows:
        first.setdefault((row.student, row.schedule_type), row)
    return [_scratch(row) for student, row in first.items() if student not in alone]


def _scratch(like: printed.Row) -> printed.Row:
    """Returns the row of this row's student, trained on labels alone."""
    assert like.student
    error, std, notes = _published_scratch(like.student, like.schedule_type)
    return dataclasses.replace(
        like,
        line=0,
        teacher=None,
        mode=printed.FULL[like.dataset],
        method="none",
        parameters=None,
        teacher_error=None,
        teacher_top5_error=None,
        student_error=error,
        student_std=std,
        notes=notes,
    )


def _published_scratch(student: str, schedule_type: str) -> tuple[float | None, float | None, str]:
    """Returns error, standard deviation and a note; of the student's own rows if there are any, else of a teacher's."""
    if schedule_type != "step":
        return None, None, "the paper prints no error of it"
    rows = [row for number in printed.TABLES for row in printed.rows(number)]
    for row in rows:
        if row.student == student and not row.teacher:
            return row.student_error, row.student_std, f"published in table {row.table}"
    for row in reversed(rows):
        if (row.teacher, row.mode) == (student, printed.FULL[row.dataset]):
            return row.teacher_error, None, f"published as a teacher in table {row.table}"
    return None, None, "the paper prints no error of it"


def _unpublished(table: int | str, text: str) -> printed.Row:
    """Returns the row of a teacher, TEACHER:k/N or on ImageNet TEACHER:N, that the table lacks."""
    teacher, _, mode = text.partition(":")
    on_imagenet = printed.rows(table)[0].dataset == printed.IMAGENET
    if not re.fullmatch(r"(\d+/)?\d+" if on_imagenet else r"\d+/\d+", mode):
        raise InputError(f"{_RULE}. Received: {text}")
    like = next((row for row in printed.rows(table) if row.student and row.teacher), None)
    try:
        names.parse(f"{teacher}_{mode.replace('/', '-')}")
    except InputError as error:
        raise InputError(f"{_RULE}. Received: {text}: {error}") from None
    if like is None:
        raise InputError(f"{_RULE}; {printed.rows(table)[0].title.lower()} has no students. Received: {text}")
    return dataclasses.replace(
        like,
        line=-1,
        teacher=teacher,
        mode=mode,
        parameters=None,
        teacher_error=None,
        teacher_top5_error=None,
        student_error=None,
        student_std=None,
        notes="not in the paper",
    )
