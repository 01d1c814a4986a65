"""The experiments that make the paper's tables: which runs a row needs, in which order, at what cost."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.experiments import sweep
from kdzoo.paper import printed
from kdzoo.runs import names
from zoo import InputError

VIEWS = 162  # of an image: pad-4 crop and flip
ROWS_RULE = (
    "rows must be lines of the table, 0 being the student from scratch, or TEACHER:k/N for one that it lacks, for"
    " example 0,3-5,wrn16-2:20/65"
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to distil that any row can be taught in.

    Attributes:
        kd_until: share of the student's epochs in which its teacher has a part; below 1: ESKD.
        via: architectures taught one after another between teacher and student: sequential distillation.
    """

    kd_until: float = 1.0
    via: tuple[str, ...] = ()

    def __str__(self) -> str:
        stopped = f"ESKD {self.kd_until:g}" if self.kd_until < 1 else ""
        return ", ".join(part for part in (stopped, f"via {', '.join(self.via)}" if self.via else "") if part)


@dataclasses.dataclass
class Experiment:
    """A row, made in one way: which runs that takes.

    Attributes:
        row: of the paper, or like one.
        variant: the way.
        teachers: runs that teach, one after another, and are not counted; of seed 0.
        students: seed -> the run that counts. Empty for a network trained by itself.
    """

    row: printed.Row
    variant: Variant
    teachers: tuple[sweep.Run, ...]
    students: dict[int, sweep.Run]

    def runs(self, seed: int) -> tuple[sweep.Run, ...]:
        """What the row with this seed needs, in order."""
        return (*self.teachers, *([self.students[seed]] if seed in self.students else ()))


# Which rows.


def choose(table: int, which: str = "") -> list[printed.Row]:
    """Rows of a table, and the student from scratch beside them; "" for all.

    Raises:
        InputError: unless they are lines or TEACHER:k/N.
    """
    of_table = {row.line: row for row in (scratch(table), *printed.rows(table)) if row}
    if not which:
        return list(of_table.values())
    chosen = []
    for part in which.split(","):
        lines = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if lines:
            numbers = range(int(lines[1]), int(lines[2] or lines[1]) + 1)
            if not numbers or not set(numbers) <= of_table.keys():
                raise InputError(f"{ROWS_RULE}; table {table} has lines 0 to {max(of_table)}. Received: {part}")
            chosen += [of_table[number] for number in numbers]
        else:
            chosen.append(_extra(table, part))
    return list(dict.fromkeys(chosen))


def scratch(table: int) -> printed.Row | None:
    """The table's student learning from labels alone, with what the paper prints of it anywhere, as line 0.

    None where the table has such a row, or no students.
    """
    rows = printed.rows(table)
    if any(row.student and not row.teacher for row in rows) or not rows[0].student:
        return None
    student, schedule_type = rows[0].student, rows[0].schedule_type
    published, notes = (None, None), "the paper prints no error of it"
    for row in (row for number in printed.TABLES for row in printed.rows(number)):
        if schedule_type == "step" and row.student == student and not row.teacher:
            published, notes = (row.student_error, row.student_std), f"published in table {row.table}"
            break
        if schedule_type == "step" and (row.teacher, row.mode) == (student, "60/200"):
            published, notes = (row.teacher_error, None), f"published as a teacher in table {row.table}"
    return dataclasses.replace(
        rows[0],
        line=0,
        teacher=None,
        mode="60/200",
        method="none",
        parameters=None,
        teacher_error=None,
        student_error=published[0],
        student_std=published[1],
        notes=notes,
    )


def _extra(table: int, text: str) -> printed.Row:
    teacher, _, mode = text.partition(":")
    if not re.fullmatch(r"\d+/\d+", mode):
        raise InputError(f"{ROWS_RULE}. Received: {text}")
    like = next((row for row in printed.rows(table) if row.student and row.teacher), None)
    try:
        names.parse(f"{teacher}_{mode.replace('/', '-')}")
    except InputError as error:
        raise InputError(f"{ROWS_RULE}. Received: {text}: {error}") from None
    if like is None:
        raise InputError(f"{ROWS_RULE}; table {table} has no students. Received: {text}")
    unpublished = dict.fromkeys(("parameters", "teacher_error", "student_error", "student_std"))
    return dataclasses.replace(like, line=-1, teacher=teacher, mode=mode, notes="not in the paper", **unpublished)


# Which runs.


def plan(
    rows: Iterable[printed.Row],
    *,
    root: pathlib.Path,
    seeds: Sequence[int],
    common: Mapping[str, Any],
    schedule_scale: str = "",
    variants: Sequence[Variant] = (Variant(),),
) -> list[Experiment]:
    """The runs of these rows. Teachers shared between rows, tables and variants are the same runs.

    Args:
        rows: see `choose`.
        root: directory of the runs. Those of another `schedule_scale` belong into another.
        seeds: of students; teachers have seed 0, as the paper gives no spread of theirs.
        common: flags of every run: dataset, dtype_policy...
        schedule_scale: for example "0.25"; "" for the paper's own schedules.
        variants: in which to teach students that have teachers.

    Raises:
        InputError: if a run is impossible.
    """
    made: dict[str, sweep.Run] = {}

    def make(flags: Mapping[str, Any]) -> sweep.Run:
        run = sweep.make_run({**common, **flags}, root, made)
        return made.setdefault(run.name, run)

    experiments = []
    for row in rows:
        for variant in variants if row.student and row.teacher else (Variant(),):
            student, teachers = row.student_flags(schedule_scale=schedule_scale), []
            if row.teacher:
                teachers.append(make({**row.teacher_flags(schedule_scale=schedule_scale), "seed": 0}))
            if student and teachers and variant.kd_until < 1:
                student["kd_until"] = variant.kd_until
            for architecture in variant.via if student else ():
                teachers.append(make({**student, "student": architecture, "teacher": teachers[-1].name, "seed": 0}))
            taught = {"teacher": teachers[-1].name} if student and teachers else {}
            students = {seed: make({**student, **taught, "seed": seed}) for seed in seeds} if student else {}
            experiments.append(Experiment(row, variant, tuple(teachers), students))
    return experiments


# In which order, at what cost.


def order(
    experiments: Sequence[Experiment], seeds: Sequence[int], cost: Callable[[sweep.Run], float]
) -> list[sweep.Run]:
    """Every run once, most valuable first.

    Each row's first seed comes before any row's second, since a row without a number is worth the least; among those
    the row that costs least to complete, its teachers counted unless an earlier row has them already.
    """
    ordered: dict[str, sweep.Run] = {}
    for seed in seeds:
        left = list(experiments)
        while left:
            new = [[run for run in one.runs(seed) if run.name not in ordered] for one in left]
            cheapest = min(range(len(left)), key=lambda i: sum(map(cost, new[i])))
            ordered |= {run.name: run for run in new[cheapest]}
            del left[cheapest]
    return list(ordered.values())


def epochs(run: sweep.Run) -> int:
    """How many epochs the run trains."""
    return schedules.parse(run.config.schedule).epochs


def networks(run: sweep.Run) -> tuple[str, ...]:
    """Architectures of the network it trains and of those that teach."""
    return (run.config.model, *(pathlib.Path(teacher).name.partition("_")[0] for teacher in run.config.teachers))


@dataclasses.dataclass(frozen=True)
class Machine:
    """How long runs take here.

    Attributes:
        forward_seconds: architecture -> of one image's way forward; a training step is taken to cost three.
        train_examples, test_examples: of the data set.
    """

    forward_seconds: Mapping[str, float]
    train_examples: int
    test_examples: int

    def seconds(self, run: sweep.Run, *, before: int = 0) -> float:
        """Estimate for the run from its start to its end, with the machine to itself.

        A teacher is asked once a view of an image: `before` are the epochs that others have been taught by the same.
        """
        student, *teachers = networks(run)
        forward = epochs(run) * (3 * self.train_examples + self.test_examples)
        asked = _distinct(before + run.config.kd_epochs) - _distinct(before)
        taught = asked * self.train_examples + self.test_examples
        return forward * self.forward_seconds[student] + sum(taught * self.forward_seconds[name] for name in teachers)


def estimate(runs: Sequence[sweep.Run], machine: Machine) -> dict[str, float]:
    """Seconds of each run, by name, if they run in this order."""
    seconds, taught = {}, {}
    for run in runs:
        teachers = run.config.teachers
        seconds[run.name] = machine.seconds(run, before=taught.get(teachers, 0))
        taught[teachers] = taught.get(teachers, 0) + run.config.kd_epochs
    return seconds


def _distinct(epochs: int) -> float:
    """How many of its views an image has shown after so many epochs, on average."""
    return VIEWS * (1 - (1 - 1 / VIEWS) ** epochs)
