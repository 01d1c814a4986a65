"""What run records amount to: groups over seeds, means and spreads, differences over common seeds. Pure functions."""

import dataclasses
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from kdzoo.distillation import schedules
from kdzoo.runs import names
from kdzoo.runs.config import METHODS, RunConfig
from zoo import InputError

Record = Mapping[str, Any]
# What a group is over, and what has no part in a result: where files lie, and how steps are put into calls.
_ASIDE = ("seed", "teachers", "dataset", "dataset_name", "fused_steps")
_WEIGHTS = ("ce_weight", "kd_weight", "at_weight")
# What only a run with teachers has: without, students that differ in it are the same student from scratch.
_TAUGHT = ("kd_until", "teacher_dtype", "teacher_input", "teacher_logits", "teacher_signature")
_DEFAULTS = {
    field.name: field.default for field in dataclasses.fields(RunConfig) if field.default is not dataclasses.MISSING
}


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1; None for one value) of n values."""

    n: int
    mean: float
    std: float | None


@dataclasses.dataclass(frozen=True)
class Paired:
    """Difference of two groups' last test errors, in points of percent, over the seeds both have.

    Attributes:
        seeds: the n common seeds.
        mean: of the n differences; below 0 where the first group is better.
        std: their sample standard deviation; None for one.
        interval: of Student's t, in which the true mean difference lies with 95 %; None for one.
    """

    seeds: tuple[int, ...]
    mean: float
    std: float | None
    interval: tuple[float, float] | None

    @property
    def n(self) -> int:
        return len(self.seeds)


@dataclasses.dataclass(frozen=True)
class Against:
    """A group beside what was published of it, in percent: `difference` is its mean minus theirs."""

    difference: float
    published_mean: float
    published_std: float | None


@dataclasses.dataclass(
    frozen=True, eq=False
)  # one group is equal to itself alone: comparing all its records takes long
class Group:
    """Runs that differ only in their seed.

    Attributes:
        settings: what they were configured with; None where it has no part in the result, as T without a KD term.
        dataset: its name.
        fingerprint: of the data set.
        teachers: as the first run's record has them.
        runs: their records, by seed.
    """

    settings: Mapping[str, Any]
    dataset: str
    fingerprint: str
    teachers: tuple[Record, ...]
    runs: tuple[Record, ...]

    @property
    def model(self) -> str:
        return self.settings["model"]

    @property
    def schedule(self) -> schedules.Schedule:
        return schedules.parse(self.settings["schedule"])

    @property
    def method(self) -> str:
        return self.runs[0]["method"]

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run["config"]["seed"] for run in self.runs)

    @property
    def parameters(self) -> int:
        return self.runs[0]["parameters"]

    def spread(self, key: str) -> Spread | None:
        """Of what the records hold under this key, over the runs that hold it; None where none does."""
        return spread(run.get(key) for run in self.runs)

    @property
    def error(self) -> Spread:
        """The headline: test error at the last epoch, in percent."""
        return self.spread("test_error_last")

    @functools.cached_property
    def teacher(self) -> names.ModelName | None:
        """Architecture and schedule of the teacher; None for a run from scratch, and where these two do not say all.

        That is of several teachers, of one that was itself taught, and of a foreign one.
        """
        if len(self.teachers) != 1 or self.teachers[0].get("method") != "none":
            return None
        return teacher_name(self.teachers[0])

    def of_teacher(self, key: str) -> float | None:
        """What the records hold of the only teacher: the mean over several that go by one name."""
        if len(self.teachers) != 1:
            return None
        distinct = {_text(run["teachers"][0]): run["teachers"][0].get(key) for run in self.runs}
        values = [value for value in distinct.values() if value is not None]
        return values[0] if len(set(values)) == 1 else float(np.mean(values)) if values else None


# Taking records together.


def group(records: Iterable[Record], *, merge_teachers: bool = False) -> list[Group]:
    """Runs that differ only in their seed, in natural order: wrn16-2 before wrn16-11, 10-35 before 60-200.

    Teachers are the same if their records say the same of them: name, method, seed, test error. Where a seed was run
    twice, the run started last counts: see `repeats`.

    Args:
        records: of runs.
        merge_teachers: whether teachers of one name and method, but of different seeds, count as one teacher.
    """
    groups: dict[str, list[Record]] = {}
    for record in _newest(records).values():
        groups.setdefault(_text(_identity(record, merge_teachers=merge_teachers)), []).append(record)
    return sorted((_make_group(runs) for runs in groups.values()), key=_order)


def repeats(records: Sequence[Record]) -> list[Record]:
    """Records that `group` leaves out, because a later run of the same seed differs in nothing else."""
    newest = {id(record) for record in _newest(records).values()}
    return [record for record in records if id(record) not in newest]


def _newest(records: Iterable[Record]) -> dict[str, Record]:
    newest: dict[str, Record] = {}
    for record in records:
        key = _text([_identity(record, merge_teachers=False), record["config"]["seed"]])
        if key not in newest or record.get("started", "") > newest[key].get("started", ""):
            newest[key] = record
    return newest


def settings(record: Record) -> dict[str, Any]:
    """A run's configuration without its seed and paths; None for what has no part in the result."""
    config = {key: value for key, value in {**_DEFAULTS, **record["config"]}.items() if key not in _ASIDE}
    if config["teacher_dtype"] == "auto":
        config["teacher_dtype"] = config["dtype_policy"].removeprefix("mixed_")
    idle = [] if record["teachers"] else list(_TAUGHT)
    idle += [] if config["kd_weight"] else ["temperature"]
    idle += [] if config["at_weight"] else ["at_mode"]
    return config | dict.fromkeys(idle)


def _identity(record: Record, *, merge_teachers: bool) -> list:
    dataset = record["dataset"]
    return [
        settings(record),
        [dataset["name"], dataset.get("fingerprint")],
        [_teacher_identity(teacher, merge=merge_teachers) for teacher in record["teachers"]],
    ]


def _teacher_identity(teacher: Record, *, merge: bool) -> list:
    name = teacher_name(teacher) or teacher["name"]
    told = [str(name), teacher.get("method")]
    if not merge:
        told += [teacher.get("seed"), teacher.get("test_error_last")]
    return [told, [_teacher_identity(its, merge=merge) for its in teacher.get("teachers", ())]]


def _make_group(runs: Sequence[Record]) -> Group:
    runs = sorted(runs, key=lambda run: run["config"]["seed"])
    dataset = runs[0]["dataset"]
    return Group(
        settings(runs[0]), dataset["name"], dataset.get("fingerprint", ""), tuple(runs[0]["teachers"]), tuple(runs)
    )


def _order(group: Group) -> tuple:
    teachers = [(teacher["name"], str(teacher.get("method")), str(teacher.get("seed"))) for teacher in group.teachers]
    method = list(METHODS).index(group.method) if group.method in METHODS else len(METHODS)
    texts = [group.dataset, group.model, str(group.schedule)]
    # Numbers by their value: 0.05 before 0.1, which `natural` takes for 0 and 1.
    numbers = [(key, value) for key, value in sorted(group.settings.items()) if isinstance(value, (int, float))]
    return natural(" ".join(texts)), method, numbers, natural(_text(group.settings)), natural(_text(teachers))


def natural(text: str) -> list:
    """Key to sort by that takes numbers as numbers: wrn16-2 before wrn16-11, 10-35 before 60-200."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", text))]


def teacher_name(teacher: Record) -> names.ModelName | None:
    """The name in a record's entry of a teacher, taken apart; None for a foreign one's."""
    try:
        name = names.parse(teacher["name"].rpartition("/")[2])  # published ones may have a folder before the name
    except InputError:
        return None
    return name if name.schedule else None


def scale(schedule: schedules.Schedule) -> Fraction:
    """The share to which a schedule was shrunk, 1 for a full one."""
    return getattr(schedule, "scale", Fraction(1))


def unscaled(schedule: schedules.Schedule) -> schedules.Schedule:
    """The schedule that this one is a shrunk form of, or itself."""
    return getattr(schedule, "full", schedule)


def varying(groups: Iterable[Group]) -> list[str]:
    """Settings in which groups differ where they have a part, beside model, schedule and what the method says."""
    groups = list(groups)
    usual = all(METHODS.get(group.method, {}).items() <= group.settings.items() for group in groups)
    hidden = {"model", "schedule", *(_WEIGHTS if usual else ())}
    keys = dict.fromkeys(key for group in groups for key in group.settings if key not in hidden)
    values = {key: {group.settings.get(key) for group in groups} - {None} for key in keys}
    return [key for key in keys if len(values[key]) > 1]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


# What they amount to.


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of the values that are not None; None where there are none."""
    array = np.array([value for value in values if value is not None], np.float64)
    if not len(array):
        return None
    return Spread(len(array), float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None)


def paired(group: Group, other: Group, *, confidence: float = 0.95) -> Paired | None:
    """The group's last test error minus the other's, seed by seed, for any two; None without a common seed.

    Runs of one seed share initial weights, order and views, so the difference has less spread than the errors have.

    Args:
        group, other: to compare.
        confidence: with which the interval holds the true mean, above 0, below 1.
    """
    errors, others = (
        {run["config"]["seed"]: run["test_error_last"] for run in runs} for runs in (group.runs, other.runs)
    )
    seeds = tuple(sorted(errors.keys() & others.keys()))
    found = spread(errors[seed] - others[seed] for seed in seeds)
    if found is None:
        return None
    interval = None
    if found.std is not None:
        from scipy.special import stdtrit  # the quantile of Student's t

        half = float(stdtrit(found.n - 1, 0.5 + confidence / 2)) * found.std / found.n**0.5
        interval = (found.mean - half, found.mean + half)
    return Paired(seeds, found.mean, found.std, interval)


def against(group: Group, *, mean: float, std: float | None = None) -> Against:
    """The group beside a published mean and sample standard deviation of its error, in percent."""
    return Against(group.error.mean - mean, mean, std)


# Which groups belong beside each other.


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """Groups that differ only in their teacher, whose schedules are all shrunk to the same share, if at all.

    Attributes:
        taught: the groups.
        scratch: the same student learning from labels alone.
    """

    taught: tuple[Group, ...]
    scratch: Group | None

    @functools.cached_property
    def plain(self) -> tuple[Group, ...]:
        """Those whose one teacher is told by architecture and schedule."""
        return tuple(group for group in self.taught if group.teacher)

    @property
    def scales(self) -> tuple[Fraction, Fraction]:
        """To which the student's and the teachers' schedules were shrunk."""
        return scale(self.taught[0].schedule), _teacher_scale(self.taught[0])

    @functools.cached_property
    def full_epochs(self) -> int:
        """The longest training of a teacher: those trained as long count as fully trained, the others as stopped."""
        return max((group.teacher.schedule.epochs for group in self.plain), default=0)

    def is_full(self, group: Group) -> bool:
        """Whether the group's teacher is fully trained, as far as these runs go."""
        return group.teacher.schedule.epochs == self.full_epochs


def contexts(groups: Sequence[Group]) -> list[Context]:
    """Taught groups by what they have in common, in order."""
    found: dict[str, list[Group]] = {}
    for each in groups:
        if each.teachers:
            key = _text([each.settings, each.dataset, each.fingerprint, _teacher_scale(each)])
            found.setdefault(key, []).append(each)
    return [Context(tuple(taught), scratch_of(taught[0], groups)) for taught in found.values()]


def baseline(group: Group, groups: Sequence[Group]) -> Group | None:
    """What to compare a taught group with: the same with the fully trained teacher, else the student from scratch.

    Fully trained is the teacher of the same architecture with the most epochs, if they are more than its own.
    """
    if not group.teachers:
        return None
    longer = []
    for context in contexts(groups):
        if group.teacher and group in context.plain:
            own, seed = group.teacher, group.teachers[0].get("seed")
            longer = [
                (epochs, other.teachers[0].get("seed") == seed, other)
                for other in context.plain
                if other.teacher.architecture == own.architecture
                and (epochs := other.teacher.schedule.epochs) > own.schedule.epochs
            ]
    if longer:
        return max(longer, key=lambda found: found[:2])[2]
    return scratch_of(group, groups)


def scratch_of(group: Group, groups: Iterable[Group]) -> Group | None:
    """The same student, learning from labels alone."""
    family = _family(group)
    return next((other for other in groups if not other.teachers and _family(other) == family), None)


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of the same student, however taught, in order."""
    found: dict[str, list[Group]] = {}
    for each in groups:
        found.setdefault(_family(each), []).append(each)
    return list(found.values())


def _family(group: Group) -> str:
    aside = {*_WEIGHTS, "temperature", "at_mode", *_TAUGHT}
    kept = {key: value for key, value in group.settings.items() if key not in aside}
    return _text([kept, group.dataset, group.fingerprint])


def _teacher_scale(group: Group) -> Fraction:
    """To which the teacher's schedule was shrunk; of several teachers the first one's."""
    name = teacher_name(group.teachers[0])
    return scale(name.schedule) if name else Fraction(1)
