"""The runs that reproduce rows of the paper, and their order."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.experiments import grid
from kdzoo.experiments.grid import Run
from kdzoo.paper import printed
from kdzoo.reports.schedule_scale import scale
from kdzoo.runs import records
from kdzoo.training import finished
from zoo import InputError


@dataclasses.dataclass(frozen=True)
class Variant:
    """A method for any row that has a teacher.

    Attributes:
        kd_until: share of the student's epochs that distil; below 1: ESKD.
        via: architectures trained one after another between teacher and student: sequential distillation.
    """

    kd_until: float = 1.0
    via: tuple[str, ...] = ()

    def __str__(self) -> str:
        stopped = f"ESKD {self.kd_until:g}" if self.kd_until < 1 else ""
        return ", ".join(part for part in (stopped, f"via {', '.join(self.via)}" if self.via else "") if part)


@dataclasses.dataclass
class Experiment:
    """The runs of one row in one variant.

    Attributes:
        row: a row of the paper, or one like it.
        variant: the variant.
        teachers: runs that teach, one after another, with seed 0. Their errors are not the row's.
        students: seed -> the run whose error is the row's. Empty for a network trained alone.
    """

    row: printed.Row
    variant: Variant
    teachers: tuple[Run, ...]
    students: dict[int, Run]

    def runs(self, seed: int) -> tuple[Run, ...]:
        """The runs that the row with this seed needs, in order."""
        return (*self.teachers, *([self.students[seed]] if seed in self.students else ()))

    @property
    def line(self) -> str:
        """Line of the table; + for a row that the paper lacks."""
        return f"{self.row.line}" if self.row.line >= 0 else "+"

    @property
    def schedule_scale(self) -> str:
        """Scale of the schedules, for example 0.25; "" for the paper's own."""
        run = next(iter((*self.students.values(), *self.teachers)))
        share = scale(schedules.parse(run.config.schedule))
        return "" if share == 1 else f"{float(share)}"


def plan(
    rows: Iterable[printed.Row],
    *,
    root: pathlib.Path,
    seeds: Sequence[int],
    common: Mapping[str, Any],
    schedule_scale: str = "",
    variants: Sequence[Variant] = (Variant(),),
) -> list[Experiment]:
    """Returns the experiments of these rows. Rows, tables and variants share the runs of their teachers.

    Args:
        rows: the rows, from `paper_rows.choose`.
        root: directory of the runs. Each `schedule_scale` needs its own.
        seeds: seeds of students. Teachers have seed 0, as the paper prints no deviation of theirs.
        common: flags of every run, for example dataset and dtype_policy.
        schedule_scale: for example "0.25"; "" for the paper's own schedules.
        variants: variants of each row that has a student and a teacher.

    Raises:
        InputError: if a run is impossible.
    """
    made: dict[str, Run] = {}

    def make(flags: Mapping[str, Any]) -> Run:
        run = grid.make_run({**common, **flags}, root, made)
        return made.setdefault(run.name, run)

    def make_experiment(row: printed.Row, variant: Variant) -> Experiment:
        student, teachers = row.student_flags(schedule_scale=schedule_scale), []
        if teacher := row.teacher_flags(schedule_scale=schedule_scale):
            teachers.append(make({**teacher, "seed": 0}))
        if not student:
            return Experiment(row, variant, tuple(teachers), {})
        if teachers and variant.kd_until < 1:
            student["kd_until"] = variant.kd_until
        for architecture in variant.via:
            teachers.append(make({**student, "student": architecture, "teacher": teachers[-1].name, "seed": 0}))
        if teachers:
            student["teacher"] = teachers[-1].name
        return Experiment(row, variant, tuple(teachers), {seed: make({**student, "seed": seed}) for seed in seeds})

    return [
        make_experiment(row, variant)
        for row in rows
        for variant in (variants if row.student and row.teacher else (Variant(),))
    ]


def order(experiments: Sequence[Experiment], seeds: Sequence[int], cost: Callable[[Run], float]) -> list[Run]:
    """Returns every run once, the most valuable first.

    The first seed of each row comes before the second of any: a row without a number is worth the least. Among those
    the row that costs least comes first, without the teachers that an earlier row trains.
    """
    ordered: dict[str, Run] = {}
    for seed in seeds:
        left = list(experiments)
        while left:
            new = [[run for run in one.runs(seed) if run.name not in ordered] for one in left]
            cheapest = min(range(len(left)), key=lambda i: sum(map(cost, new[i])))
            ordered |= {run.name: run for run in new[cheapest]}
            del left[cheapest]
    return list(ordered.values())


def epochs(run: Run) -> int:
    """Number of epochs of a run."""
    return schedules.parse(run.config.schedule).epochs


def networks(run: Run) -> tuple[str, ...]:
    """Architectures of a run's network and of its teachers."""
    return (run.config.model, *(pathlib.Path(teacher).name.partition("_")[0] for teacher in run.config.teachers))


def find_record(run: Run) -> tuple[dict[str, Any] | None, str]:
    """Returns the record of a run if it is finished, and what is wrong with the one in its directory, if anything."""
    if not (run.workdir / records.RECORD).exists():
        return None, ""
    try:
        record = records.read(run.workdir)
        changed = finished.changes(run.config, record)
    except InputError as error:
        return None, str(error)
    return (None, f"finished with another configuration: {'; '.join(changed)}") if changed else (record, "")


def folder(dataset: str, schedule_scale: str) -> str:
    """Name of the directory of runs on a data set; runs on scaled schedules have another."""
    return f"{dataset}_x{schedule_scale}" if schedule_scale else dataset
