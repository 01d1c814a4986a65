"""Which groups to compare with each other: same student and method, other teachers."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from fractions import Fraction

from kdzoo.distillation.schedules import Schedule
from kdzoo.models.names import natural_key
from kdzoo.reports.groups import Group, TeacherName, stable_text, teacher_name
from kdzoo.reports.schedule_scale import scale


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
    """Groups that differ only in their teacher, with the teachers' schedules all scaled to the same share.

    Attributes:
        distilled: the groups, at least one.
        scratch: the same student, trained on labels alone.
    """

    distilled: tuple[Group, ...]
    scratch: Group | None

    @functools.cached_property
    def by_teacher(self) -> tuple[tuple[TeacherName, Group], ...]:
        """Teacher and group, of the groups whose one teacher is a zoo model trained on labels."""
        return tuple((group.teacher, group) for group in self.distilled if group.teacher)

    @property
    def scales(self) -> tuple[Fraction, Fraction]:
        """The shares to which the student's and the teachers' schedules are scaled."""
        return scale(self.distilled[0].schedule), _teacher_scale(self.distilled[0])

    @functools.cached_property
    def full_epochs(self) -> int:
        """Epochs of the longest training of a teacher: teachers trained that long count as fully trained."""
        return max((teacher.schedule.epochs for teacher, _ in self.by_teacher), default=0)

    @functools.cached_property
    def sizes(self) -> dict[str, float]:
        """The teachers' parameters by architecture, smallest first, if known."""
        found = {teacher.architecture: group.of_teacher("parameters") for teacher, group in self.by_teacher}
        sizes = {architecture: size for architecture, size in found.items() if size}
        return dict(sorted(sizes.items(), key=lambda item: (item[1], natural_key(item[0]))))

    @functools.cached_property
    def lengths(self) -> list[Schedule]:
        """The teachers' schedules, shortest first."""
        found = {teacher.schedule for teacher, _ in self.by_teacher}
        return sorted(found, key=lambda schedule: (schedule.epochs, natural_key(str(schedule))))


def contexts(groups: Sequence[Group]) -> list[Context]:
    """Returns the contexts of the groups with teachers, in order."""
    found: dict[str, list[Group]] = {}
    for each in groups:
        if each.teachers:
            key = stable_text([each.settings, each.dataset, each.fingerprint, _teacher_scale(each)])
            found.setdefault(key, []).append(each)
    return [Context(tuple(distilled), scratch_of(distilled[0], groups)) for distilled in found.values()]


def baseline(group: Group, groups: Sequence[Group]) -> Group | None:
    """Returns the group to compare a group with that has a method; None for a group from scratch.

    It is the same student with the fully trained teacher, else the student from scratch. The fully trained teacher is
    the one of the same architecture with the most epochs, if it has more epochs than the group's own teacher.
    """
    if _is_scratch(group):
        return None
    longer: list[tuple[int, bool, Group]] = []
    for context in contexts(groups):
        own = group.teacher
        if own and group in context.distilled:
            seed = group.teachers[0].get("seed")
            longer = [
                (teacher.schedule.epochs, other.teachers[0].get("seed") == seed, other)
                for teacher, other in context.by_teacher
                if teacher.architecture == own.architecture and teacher.schedule.epochs > own.schedule.epochs
            ]
    if longer:
        return max(longer, key=lambda found: found[:2])[2]
    return scratch_of(group, groups)


def scratch_of(group: Group, groups: Iterable[Group]) -> Group | None:
    """Returns the same student, trained on labels alone."""
    return next((other for other in groups if _is_scratch(other) and other.student_key == group.student_key), None)


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """Returns the groups of each student, with whatever teachers, in order."""
    found: dict[str, list[Group]] = {}
    for each in groups:
        found.setdefault(each.student_key, []).append(each)
    return list(found.values())


def _is_scratch(group: Group) -> bool:
    """Whether the group is trained on labels alone. Label smoothing, for one, needs no teacher but is a method."""
    return not group.teachers and group.method == "none"


def _teacher_scale(group: Group) -> Fraction:
    """Returns the share to which the first teacher's schedule is scaled."""
    name = teacher_name(group.teachers[0])
    return scale(name.schedule) if name else Fraction(1)
