"""The tables of the supplement of "On the Efficacy of Knowledge Distillation" (Cho & Hariharan, ICCV 2019), as data.

arXiv:1910.01348. The ten tables are table1.csv to table10.csv in this folder, row by row, and figure1.csv holds the
runs of its Figure 1 in the same form. A value that is printed once for several rows is repeated, a value that is not
printed is empty, and `notes` describes contradictions in the print.
"""

import csv
import dataclasses
import functools
import pathlib
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Any

from zoo import InputError

TABLES = range(1, 11)
FIGURE1 = "figure1"  # students of ResNet18 on ImageNet, by the teachers of table 4
IMAGENET = "imagenet2012"
_ON_IMAGENET = (4, FIGURE1)
# Data set -> its training and test examples, all of which the printed errors are of.
EXAMPLES = {"cifar10": (50_000, 10_000), IMAGENET: (1_281_167, 50_000)}
FULL = {"cifar10": "60/200", IMAGENET: "90"}  # data set -> mode of a fully trained network
STUDENT_SCHEDULE = {"step": "60-200", "cosine": "cos-200"}  # the length of the cosine is not printed: an assumption
_ERRORS = ("teacher_error", "student_error", "student_std", "teacher_top5_error")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table. Errors are means over runs, in percent of the test images; None if not printed.

    Attributes:
        table: from 1, or `FIGURE1`.
        line: from 1, within the table.
        student: architecture; None in table 4, whose rows describe only teachers.
        teacher: architecture; None for a student from scratch.
        mode: the teacher's k/N (LR step every k of N epochs), on ImageNet N; from scratch, the student's own.
        method: a key of `kdzoo.runs.METHODS`.
        schedule_type: step or cosine, of the student.
        parameters: of the teacher, in millions, as printed.
        teacher_error: top-1.
        student_error, student_std: mean and standard deviation over runs.
        notes: marks and faults of the print, and assumptions.
        teacher_top5_error: on ImageNet.
    """

    table: int | str
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
    teacher_top5_error: float | None = None

    @property
    def title(self) -> str:
        """Table 7, for example, or Figure 1."""
        return "Figure 1" if self.table == FIGURE1 else f"Table {self.table}"

    @property
    def teacher_schedule(self) -> str | None:
        """Name of the teacher's schedule, for example 20-65; None from scratch."""
        return self.mode.replace("/", "-") if self.teacher else None

    @property
    def student_schedule(self) -> str | None:
        """Name of the student's schedule, 60-200, cos-200 or, on ImageNet, 90; None without a student."""
        if not self.student:
            return None
        return FULL[IMAGENET] if self.dataset == IMAGENET else STUDENT_SCHEDULE[self.schedule_type]

    @property
    def dataset(self) -> str:
        """The data set: cifar10 or imagenet2012."""
        return IMAGENET if self.table in _ON_IMAGENET else "cifar10"

    @property
    def label(self) -> str:
        """A short description of the run, for example "wrn16-1 from wrn16-8 20/65 kd"."""
        if not self.student:
            return f"{self.teacher} {self.mode}"
        origin = f"{self.teacher} {self.mode} {self.method}" if self.teacher else "scratch"
        return f"{self.student} from {origin}" + (" cosine" if self.schedule_type == "cosine" else "")

    def teacher_flags(self, *, schedule_scale: str = "") -> dict[str, Any] | None:
        """Returns the teacher's run as an entry of a grid (`kdzoo.experiments.expand`); None from scratch.

        Args:
            schedule_scale: share to shrink every schedule to, for example 0.25; "" for the paper's own.
        """
        schedule = self.teacher_schedule
        if schedule is None:
            return None
        return {"model": self.teacher, "schedule": _scaled(schedule, schedule_scale)}

    def student_flags(self, *, schedule_scale: str = "") -> dict[str, Any] | None:
        """Returns the student's run as an entry of a grid after its teacher of seed 0; None without a student.

        Args:
            schedule_scale: share to shrink every schedule to, for example 0.25; "" for the paper's own.
        """
        schedule, teacher_schedule = self.student_schedule, self.teacher_schedule
        if schedule is None:
            return None
        schedule = _scaled(schedule, schedule_scale)
        if teacher_schedule is None:
            return {"model": self.student, "schedule": schedule}
        teacher = f"{self.teacher}_{_scaled(teacher_schedule, schedule_scale)}_seed0"
        return {"student": self.student, "schedule": schedule, "method": self.method, "teacher": teacher}


@functools.cache
def rows(table: int | str) -> tuple[Row, ...]:
    """Returns the rows of a table, or of `FIGURE1`, in printed order.

    Raises:
        InputError: if the supplement has no such table.
    """
    if table not in (*TABLES, FIGURE1):
        raise InputError(f"table must be one of the supplement's, 1 to 10, for example 7. Received: {table}")
    text = pathlib.Path(__file__).with_name(f"{stem(table)}.csv").read_text("utf-8")
    return tuple(_row(table, line, cells) for line, cells in enumerate(csv.DictReader(text.splitlines()), start=1))


def stem(table: int | str) -> str:
    """Name of a table in files: table7, figure1."""
    return table if isinstance(table, str) else f"table{table}"


def architectures(table: int | str) -> tuple[str, ...]:
    """Returns the architectures of a table, students and teachers, each once.

    Raises:
        InputError: if the supplement has no such table.
    """
    every = (name for row in rows(table) for name in (row.student, row.teacher) if name)
    return tuple(dict.fromkeys(every))


def parameters_match(printed: str, count: int) -> bool:
    """Returns whether a count matches the printed millions: the paper rounds some counts and truncates others."""
    digits, millions = Decimal(printed), Decimal(count) / 1_000_000
    return any(millions.quantize(digits, rounding) == digits for rounding in (ROUND_HALF_UP, ROUND_DOWN))


def _row(table: int | str, line: int, cells: dict[str, str]) -> Row:
    errors = {name: float(cells[name]) if cells.get(name) else None for name in _ERRORS}
    names = {name: cells[name] or None for name in ("student", "teacher", "parameters")}
    fields: dict[str, Any] = {**cells, **names, **errors}
    return Row(table=table, line=line, **fields)


def _scaled(schedule: str, scale: str) -> str:
    return f"{schedule}x{scale}" if scale else schedule
