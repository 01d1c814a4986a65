"""Groups of runs that differ only in their seed."""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdzoo.distillation import schedules
from kdzoo.models import names
from kdzoo.models.names import natural_key
from kdzoo.reports.spreads import Spread, spread
from kdzoo.runs import identity
from kdzoo.runs.config import METHODS, STAGES
from zoo import InputError

Record = Mapping[str, Any]
METHOD_ARGS = "method_args"  # setting: JSON of the method's arguments that are not its defaults
_WEIGHTS = (*METHODS["none"], "method_weight")
# Settings of the method: students of one kind may differ in them.
_OF_METHOD = {*_WEIGHTS, "distillation_method", METHOD_ARGS, "temperature", "at_mode", *STAGES, *identity.WITH_TEACHERS}


@dataclasses.dataclass(frozen=True)
class TeacherName:
    """A zoo model as a teacher: its architecture and the schedule it was trained on. Prints as the model's name."""

    family: str
    architecture: str
    schedule: schedules.Schedule

    def __str__(self) -> str:
        return f"{self.architecture}_{self.schedule}"


@dataclasses.dataclass(frozen=True, eq=False)  # by identity: a comparison of all records takes long
class Group:
    """Runs that differ only in their seed, or, with merged teachers, in their seed and their teachers' seeds.

    Attributes:
        settings: their configuration; None for a setting that does not change the result, such as T without a KD term.
        dataset: name of the data set.
        fingerprint: of the data set.
        teachers: the teachers' entries in the first run's record.
        runs: the runs' records, by seed.
        teacher_key: text that is equal for groups of the same teachers.
    """

    settings: Mapping[str, Any]
    dataset: str
    fingerprint: str
    teachers: tuple[Record, ...]
    runs: tuple[Record, ...]
    teacher_key: str = ""

    @property
    def model(self) -> str:
        """The student's architecture."""
        return self.settings["model"]

    @property
    def schedule(self) -> schedules.Schedule:
        """The student's schedule."""
        return schedules.parse(self.settings["schedule"])

    @property
    def method(self) -> str:
        """For example kd, at+kd, dkd, or none for labels alone."""
        return self.runs[0]["method"]

    @property
    def stops_early(self) -> bool:
        """Whether the teacher's terms end part-way (ESKD)."""
        return bool((self.settings["kd_until"] or 1) < 1)

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The runs' seeds, in order."""
        return tuple(run["config"]["seed"] for run in self.runs)

    @property
    def parameters(self) -> int:
        """The student's number of parameters."""
        return self.runs[0]["parameters"]

    def spread(self, key: str) -> Spread | None:
        """Returns the spread of the records' values under `key`, over the runs that have one; None if none has."""
        return spread(run.get(key) for run in self.runs)

    @property
    def error(self) -> Spread:
        """The headline: test error at the last epoch, in percent."""
        found = self.spread("test_error_last")
        assert found  # every finished run has one
        return found

    @functools.cached_property
    def teacher(self) -> TeacherName | None:
        """The only teacher, if its architecture and schedule identify it.

        None for a run from scratch, for several teachers, for a distilled teacher and for an external model.
        """
        if len(self.teachers) != 1 or self.teachers[0].get("method") != "none":
            return None
        return teacher_name(self.teachers[0])

    def of_teacher(self, key: str) -> float | None:
        """Returns the only teacher's value under `key`: the mean if several teachers share the name."""
        if len(self.teachers) != 1:
            return None
        distinct = {stable_text(run["teachers"][0]): run["teachers"][0].get(key) for run in self.runs}
        values = [value for value in distinct.values() if value is not None]
        return values[0] if len(set(values)) == 1 else float(np.mean(values)) if values else None

    @functools.cached_property
    def student_key(self) -> str:
        """Text that is equal for groups of the same student, whatever its teachers, its method and their settings."""
        student = {key: value for key, value in self.settings.items() if key not in _OF_METHOD}
        return stable_text([student, identity.name_dataset(self.dataset), self.fingerprint])


def group_runs(records: Iterable[Record], *, merge_teachers: bool = False) -> list[Group]:
    """Groups runs that differ only in their seed, in natural order: wrn16-2 before wrn16-11, 10-35 before 60-200.

    Two teachers are the same if their entries have the same digest; where one has none, as in records of versions
    before 0.5, the same name, method, seed and test error. Of two runs of one seed the one that started last counts:
    see `repeats`.

    Args:
        records: of finished runs.
        merge_teachers: whether teachers of one name and method, but of different seeds, count as one teacher.
    """
    records = list(records)
    digests = None if merge_teachers else identity.complete_digests(records)
    groups: dict[str, list[Record]] = {}
    for record in _newest(records).values():
        groups.setdefault(stable_text(_identity(record, digests)), []).append(record)
    return sorted((_make_group(runs, digests) for runs in groups.values()), key=_order)


def repeats(records: Sequence[Record]) -> list[Record]:
    """Returns the records that `group_runs` leaves out: of each, a later run has the same settings and seed."""
    newest = {id(record) for record in _newest(records).values()}
    return [record for record in records if id(record) not in newest]


def settings(record: Record) -> dict[str, Any]:
    """Returns a run's configuration without its seed and paths; None for a setting that does not change the result."""
    found = identity.settings(record["config"], has_teachers=bool(record["teachers"]))
    return {key: value for key, value in found.items() if key != "seed"}


def varying(groups: Iterable[Group]) -> list[str]:
    """Returns the settings in which groups differ, but not those that model, schedule and method imply."""
    groups = list(groups)
    hidden = {"model", "schedule", "distillation_method", *_implied_weights(groups)}
    keys = dict.fromkeys(key for group in groups for key in group.settings if key not in hidden)
    values = {key: {stable_text(group.settings.get(key)) for group in groups} - {"null"} for key in keys}
    return [key for key in keys if len(values[key]) > 1]


def _implied_weights(groups: Sequence[Group]) -> list[str]:
    """Returns the weights that the method implies: usual ones or, where those are not known here, the same in all."""
    if not all(METHODS.get(group.method, {}).items() <= group.settings.items() for group in groups):
        return []
    methods = {group.method for group in groups}
    values = {(key, group.method, stable_text(group.settings.get(key))) for group in groups for key in _WEIGHTS}
    return [key for key in _WEIGHTS if sum(of_key == key for of_key, *_ in values) == len(methods)]


def teacher_name(teacher: Record) -> TeacherName | None:
    """Returns architecture and schedule from a teacher's entry in a record; None for an external model."""
    try:
        name = names.parse_trained(
            teacher["name"].rpartition("/")[2]
        )  # a published model's name may start with a folder
    except InputError:
        return None
    return TeacherName(name.family, name.architecture, name.schedule) if name.schedule else None


def stable_text(value: Any) -> str:
    """Returns JSON text that is equal for equal values: a key to group by."""
    return json.dumps(value, sort_keys=True, default=str)


def _newest(records: Sequence[Record]) -> dict[str, Record]:
    digests = identity.complete_digests(records)
    newest: dict[str, Record] = {}
    for record in records:
        key = stable_text([_identity(record, digests), record["config"]["seed"]])
        if key not in newest or record.get("started", "") > newest[key].get("started", ""):
            newest[key] = record
    return newest


def _identity(record: Record, digests: Mapping[Any, str] | None) -> list[Any]:
    """Returns what the runs of a group share.

    Args:
        record: of a run.
        digests: of teachers whose entries have none; None if teachers of one name and method count as one teacher.
    """
    dataset = record["dataset"]
    return [
        settings(record),
        [identity.name_dataset(dataset["name"]), dataset.get("fingerprint"), dataset.get(identity.UNLABELLED)],
        [_teacher_identity(teacher, digests) for teacher in record["teachers"]],
    ]


def _teacher_identity(teacher: Record, digests: Mapping[Any, str] | None) -> list[Any]:
    name = str(teacher_name(teacher) or teacher["name"])
    known = [name, teacher.get("method")]
    if digests is not None:
        if digest := teacher.get("digest") or digests.get(identity.without_digest(teacher)):
            return [digest]
        known += [teacher.get("seed"), teacher.get("test_error_last")]
    return [known, [_teacher_identity(one, digests) for one in teacher.get("teachers", ())]]


def _make_group(runs: Sequence[Record], digests: Mapping[Any, str] | None) -> Group:
    runs = sorted(runs, key=lambda run: run["config"]["seed"])
    dataset, teachers = runs[0]["dataset"], tuple(runs[0]["teachers"])
    key = stable_text([_teacher_identity(teacher, digests) for teacher in teachers])
    return Group(settings(runs[0]), dataset["name"], dataset.get("fingerprint", ""), teachers, tuple(runs), key)


def _order(group: Group) -> tuple[Any, ...]:
    teachers = [(teacher["name"], str(teacher.get("method")), str(teacher.get("seed"))) for teacher in group.teachers]
    method = list(METHODS).index(group.method) if group.method in METHODS else len(METHODS)
    texts = [group.dataset, group.model, str(group.schedule)]
    # Numbers by value: 0.05 before 0.1, which `natural_key` reads as 0, 05 and 0, 1.
    numbers = [(key, value) for key, value in sorted(group.settings.items()) if isinstance(value, (int, float))]
    keys = natural_key(stable_text(group.settings)), natural_key(stable_text(teachers))
    return natural_key(" ".join(texts)), method, natural_key(group.method), numbers, *keys
