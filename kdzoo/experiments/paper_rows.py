"""Rows of the paper's tables to reproduce: printed ones, the student from scratch, and teachers the paper lacks."""

import dataclasses
import re

from kdzoo.paper import printed
from kdzoo.runs import names
from zoo import InputError

_RULE = (
    "rows must be lines of the table, 0 being the student from scratch, or TEACHER:k/N for one that it lacks, for"
    " example 0,3-5,wrn16-2:20/65"
)


def choose(table: int, lines: str = "") -> list[printed.Row]:
    """Returns rows of a table.

    Args:
        table: number of the table, 1 to 10.
        lines: lines, ranges and TEACHER:k/N, separated by commas; line 0 is the student from scratch, "" stands for all
            lines.

    Raises:
        InputError: if a part of `lines` is neither a line of the table nor TEACHER:k/N.
    """
    of_table = {row.line: row for row in (scratch(table), *printed.rows(table)) if row}
    if not lines:
        return list(of_table.values())
    chosen = []
    for part in lines.split(","):
        bounds = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if bounds:
            numbers = range(int(bounds[1]), int(bounds[2] or bounds[1]) + 1)
            if not numbers or not set(numbers) <= of_table.keys():
                raise InputError(f"{_RULE}; table {table} has lines 0 to {max(of_table)}. Received: {part}")
            chosen += [of_table[number] for number in numbers]
        else:
            chosen.append(_unpublished(table, part))
    return list(dict.fromkeys(chosen))


def scratch(table: int) -> printed.Row | None:
    """Returns the table's student trained on labels alone as line 0, with the error that the paper prints anywhere.

    None if the table has such a row, or no students.
    """
    rows = printed.rows(table)
    if any(row.student and not row.teacher for row in rows) or not rows[0].student:
        return None
    error, std, notes = _published_scratch(rows[0].student, rows[0].schedule_type)
    return dataclasses.replace(
        rows[0],
        line=0,
        teacher=None,
        mode="60/200",
        method="none",
        parameters=None,
        teacher_error=None,
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
        if (row.teacher, row.mode) == (student, "60/200"):
            return row.teacher_error, None, f"published as a teacher in table {row.table}"
    return None, None, "the paper prints no error of it"


def _unpublished(table: int, text: str) -> printed.Row:
    """Returns the row of a teacher, TEACHER:k/N, that the table lacks."""
    teacher, _, mode = text.partition(":")
    if not re.fullmatch(r"\d+/\d+", mode):
        raise InputError(f"{_RULE}. Received: {text}")
    like = next((row for row in printed.rows(table) if row.student and row.teacher), None)
    try:
        names.parse(f"{teacher}_{mode.replace('/', '-')}")
    except InputError as error:
        raise InputError(f"{_RULE}. Received: {text}: {error}") from None
    if like is None:
        raise InputError(f"{_RULE}; table {table} has no students. Received: {text}")
    return dataclasses.replace(
        like,
        line=-1,
        teacher=teacher,
        mode=mode,
        parameters=None,
        teacher_error=None,
        student_error=None,
        student_std=None,
        notes="not in the paper",
    )
