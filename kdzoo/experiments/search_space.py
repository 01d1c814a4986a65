"""The space of a search: students, teachers, methods, temperatures and weights. Imports no backend."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from kdzoo.distillation import registry, schedules
from kdzoo.models import names, specs
from kdzoo.ranges import Range
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.runs.settings import RANGES
from kdzoo.teachers import resolve
from zoo import InputError

NONE = "none"
ALGORITHMS = ("hyperband", "bayesian", "random")
KD_WEIGHT = Range(above=0, most=1, example=0.9)  # the cross-entropy has the rest
LIMITS = ("max_mflops", "max_mb", "max_latency_ms")  # on what a student may cost
LIMIT = Range(above=0, example=300)
TRIALS = 20  # the default of random and bayesian search
_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class Search:
    """The space of a search and its algorithm.

    Attributes:
        student: the student's run without a teacher. Teachers that the search trains share its data, optimiser and
            seed. The search compares trials on its `val_examples`; 0 stands for a tenth of the training examples.
        teachers: each is "none", an architecture to train on each of `teacher_schedules`, or the spec of a trained
            teacher. A trained teacher may have seen the examples that the search holds out.
        teacher_schedules: schedules of the architectures.
        methods: names of methods other than "none", also with arguments, such as dkd:beta=2.
        temperatures: T of the KD term.
        kd_weights: weights of the KD term, above 0 and at most 1; the cross-entropy has 1 - kd_weight.
        kd_untils: shares of the student's epochs that distil, above 0 and at most 1.
        algorithm: one of `ALGORITHMS`.
        max_trials: limit of random and bayesian search; None stands for `TRIALS`. The student's schedule determines the
            number of Hyperband's trials.
        students: architectures to compare as students, the student's own first; empty: the student alone. They share
            everything else of its run.
        max_mflops: most multiply-adds of a student for one image, in millions: see
            `kdzoo.models.count_multiply_adds`. A student beyond a limit is not trained.
        max_mb: most memory of a student's parameters in float32, in 10^6 bytes.
        max_latency_ms: most time of a student for one image, in milliseconds: the median on the machine that begins the
            search, which keeps it.
        teacher_init: a trained model whose weights the teachers that the search trains begin with: see
            `RunConfig.init`. Empty: they begin anew.
    """

    student: RunConfig
    teachers: tuple[str, ...]
    teacher_schedules: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("kd",)
    temperatures: tuple[float, ...] = (RunConfig.temperature,)
    kd_weights: tuple[float, ...] = (METHODS["kd"]["kd_weight"],)
    kd_untils: tuple[float, ...] = (RunConfig.kd_until,)
    algorithm: str = "hyperband"
    max_trials: int | None = None
    students: tuple[str, ...] = ()
    max_mflops: float | None = None
    max_mb: float | None = None
    max_latency_ms: float | None = None
    teacher_init: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """Architectures of the students."""
        return self.students or (self.student.model,)

    @property
    def has_limits(self) -> bool:
        """Whether the cost of a student is limited."""
        return any(getattr(self, name) is not None for name in LIMITS)

    @property
    def architectures(self) -> tuple[str, ...]:
        """Teachers that the search trains."""
        return tuple(teacher for teacher in self.teachers if teacher != NONE and is_architecture(teacher))

    @property
    def epochs(self) -> int:
        """Epochs of the student's whole schedule."""
        return schedules.parse(self.student.schedule).epochs

    def check(self) -> None:
        """Checks everything that needs neither data nor a backend.

        Raises:
            InputError: if the space or the algorithm is impossible.
        """
        for model in self.models:
            dataclasses.replace(self.student, model=model).check()
        if self.student.teachers:
            raise InputError(f"student must have no teacher, trials do. Received: {', '.join(self.student.teachers)}")
        self._check_lists()
        self._check_teachers()
        self._check_values()
        if self.max_trials is not None and (self.algorithm == "hyperband" or self.max_trials < 1):
            raise InputError(
                "max_trials must be at least 1, for example 20, and is for random and bayesian search: hyperband's"
                f" follow from the schedule. Received: {self.max_trials} for {self.algorithm}"
            )
        if self.student.dtype_policy == "auto":
            raise InputError(
                "dtype_policy must be the same for all trials of a search, for example mixed_bfloat16. Received: auto"
            )

    def _check_lists(self) -> None:
        lists = ("students", "teachers", "teacher_schedules", "methods", "temperatures", "kd_weights", "kd_untils")
        for name in lists:
            values = getattr(self, name)
            if len(set(values)) != len(values) or not (values or name in ("students", "teacher_schedules")):
                raise InputError(f"{name} must be one or more, each once. Received: {', '.join(map(str, values))}")

    def _check_teachers(self) -> None:
        for teacher in self.teachers:
            if teacher != NONE and not is_architecture(teacher):
                try:
                    resolve.check_exists(teacher)
                except InputError as error:
                    raise InputError(
                        f"A teacher must be none, an architecture to train, for example wrn16-2, or exist. {error}"
                    ) from None
        if self.teacher_init and len(self.architectures) != 1:
            raise InputError(
                "teacher_init needs one architecture among the teachers, its own."
                f" Received: {self.teacher_init} for {', '.join(self.architectures) or 'none'}"
            )
        if bool(self.architectures) != bool(self.teacher_schedules):
            raise InputError(
                "teacher_schedules must be set for teachers that are architectures, for example 10-35,20-65, and for"
                f" no others. Received: {', '.join(self.teacher_schedules) or 'none'} for {', '.join(self.teachers)}"
            )
        for schedule in self.teacher_schedules:
            schedules.parse(schedule)

    def _check_values(self) -> None:
        known = ", ".join(name for name in registry.names() if name != NONE)
        rule = f"methods must be of {known}, also with arguments, such as dkd:beta=2"
        _check_each(self.methods, lambda method: method.partition(":")[0] in registry.names() and method != NONE, rule)
        for method in self.methods:
            registry.candidate_fields(method)
        for name, values, accepted in (
            ("kd_weights", self.kd_weights, KD_WEIGHT),
            ("kd_until", self.kd_untils, RANGES["kd_until"]),
            ("temperature", self.temperatures, RANGES["temperature"]),
        ):
            for value in values:
                accepted.check(name, value)
        for name in LIMITS:
            if getattr(self, name) is not None:
                LIMIT.check(name, getattr(self, name))
        _check_each((self.algorithm,), ALGORITHMS.__contains__, f"search must be one of {', '.join(ALGORITHMS)}")


def _check_each(values: Sequence[_Value], is_valid: Callable[[_Value], bool], rule: str) -> None:
    for value in values:
        if not is_valid(value):
            raise InputError(f"{rule}. Received: {value}")


def is_architecture(teacher: str) -> bool:
    """Whether the search trains this teacher: no zoo name with a schedule, no file, and nothing that a file has."""
    try:
        spec = specs.parse(teacher)
    except InputError:
        return False
    if spec.kind == specs.ZOO and names.parse(teacher).schedule:
        return False
    return spec.kind != specs.FILE and not os.path.exists(teacher)


def tunes_kd(method: str) -> bool:
    """Whether the search also chooses T and the weight of KD: of the methods that are made of KD and AT alone."""
    return bool(METHODS.get(method, {}).get("kd_weight"))


def count_candidates(search: Search) -> int:
    """Number of different trials in the search space."""
    terms = len(search.temperatures) * len(search.kd_weights)
    ways = len(search.kd_untils) * sum(terms if tunes_kd(method) else 1 for method in search.methods)
    specs = [teacher for teacher in search.teachers if teacher != NONE]
    teachers = len(specs) + len(search.architectures) * (len(search.teacher_schedules) - 1)
    return len(search.models) * ((NONE in search.teachers) + ways * teachers)
