"""The supplement of "On the Efficacy of Knowledge Distillation" (Cho & Hariharan, ICCV 2019), as data.

arXiv:1910.01348. Its ten tables are table1.csv to table10.csv here, row by row. What is printed once for several rows
is repeated, what is not printed is empty, and where the print is at odds with itself `notes` says so.
"""

import csv
import dataclasses
import functools
import pathlib
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

from zoo import InputError

TABLES = range(1, 11)
IMAGENET_TABLE = 4
STUDENT_SCHEDULE = {"step": "60-200", "cosine": "cos-200"}  # the cosine's length is not printed: assumed to be the same
_ERRORS = ("teacher_error", "student_error", "student_std")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table. Errors are means over runs, in percent of the test images; None where none is printed.

    Attributes:
        table: from 1.
        line: from 1 within the table.
        student: architecture; None for a network trained by itself, told of in the teacher's columns (table 4).
        teacher: architecture; None for a student from scratch.
        mode: the teacher's k/N, from scratch the student's own: LR step every k epochs, N in all. Table 4: epochs.
        method: key of `kdzoo.config.METHODS`.
        schedule_type: the student's, step or cosine.
        parameters: the teacher's, in millions, as printed.
        teacher_error: top-1 where there are two.
        student_error, student_std: mean and standard deviation.
        notes: marks and faults of the print, and what had to be assumed.
    """

    table: int
    line: int
    student: str | None
    teacher: str | None
    mode: str
    method: str
    schedule_type: str
    parameters: str | None
    teacher_error: float | None
    student_error: float | None
    student_std: float | None
    notes: str

    @property
    def teacher_schedule(self) -> str | None:
        """As `kdzoo.schedules` names it: 20-65; None from scratch."""
        return self.mode.replace("/", "-") if self.teacher else None

    @property
    def student_schedule(self) -> str | None:
        """As `kdzoo.schedules` names it: 60-200 or cos-200; None without a student."""
        return STUDENT_SCHEDULE[self.schedule_type] if self.student else None

    @property
    def dataset(self) -> str:
        """What the networks learn to tell apart: cifar10 or imagenet."""
        return "imagenet" if self.table == IMAGENET_TABLE else "cifar10"

    @property
    def label(self) -> str:
        """What is trained, in a few words: wrn16-1 from wrn16-8 20/65 kd."""
        if not self.student:
            return f"{self.teacher} {self.mode}"
        taught = f"{self.teacher} {self.mode} {self.method}" if self.teacher else "scratch"
        return f"{self.student} from {taught}" + (" cosine" if self.schedule_type == "cosine" else "")

    def teacher_flags(self, *, schedule_scale: str = "") -> dict[str, Any] | None:
        """The teacher, as an entry of a grid: see `kdzoo.sweep.expand`. None from scratch.

        Args:
            schedule_scale: share to shrink every schedule to, for example 0.25; "" for the paper's own.
        """
        if not self.teacher:
            return None
        return {"model": self.teacher, "schedule": _scaled(self.teacher_schedule, schedule_scale)}

    def student_flags(self, *, schedule_scale: str = "") -> dict[str, Any] | None:
        """The student, as an entry of a grid in which its teacher comes earlier, with seed 0. None without a student.

        Args:
            schedule_scale: share to shrink every schedule to, for example 0.25; "" for the paper's own.
        """
        if not self.student:
            return None
        schedule = _scaled(self.student_schedule, schedule_scale)
        if not self.teacher:
            return {"model": self.student, "schedule": schedule}
        teacher = f"{self.teacher}_{_scaled(self.teacher_schedule, schedule_scale)}_seed0"
        return {"student": self.student, "schedule": schedule, "method": self.method, "teacher": teacher}


@functools.cache
def rows(table: int) -> tuple[Row, ...]:
    """The rows of a table, in its order.

    Raises:
        InputError: if there is no such table.
    """
    if table not in TABLES:
        raise InputError(f"table must be one of the supplement's, 1 to 10, for example 7. Received: {table}")
    text = pathlib.Path(__file__).with_name(f"table{table}.csv").read_text("utf-8")
    return tuple(_row(table, line, cells) for line, cells in enumerate(csv.DictReader(text.splitlines()), start=1))


def architectures(table: int) -> tuple[str, ...]:
    """The networks a table names, students and teachers, each once.

    Raises:
        InputError: if there is no such table.
    """
    named = (name for row in rows(table) for name in (row.student, row.teacher) if name)
    return tuple(dict.fromkeys(named))


def parameters_match(printed: str, count: int) -> bool:
    """Whether so many parameters are the printed millions: the paper rounds some counts and cuts others off."""
    digits, millions = Decimal(printed), Decimal(count) / 1_000_000
    return any(millions.quantize(digits, rounding) == digits for rounding in (ROUND_HALF_UP, ROUND_DOWN))


def _row(table: int, line: int, cells: dict[str, str]) -> Row:
    errors = {name: float(cells[name]) if cells[name] else None for name in _ERRORS}
    names = {name: cells[name] or None for name in ("student", "teacher", "parameters")}
    return Row(table=table, line=line, **{**cells, **names, **errors})


def _scaled(schedule: str, scale: str) -> str:
    return f"{schedule}x{scale}" if scale else schedule
