"""What a search tries: students, teachers, methods, temperatures and weights, and the run that a trial is."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from kdzoo.distillation import schedules
from kdzoo.distillation.checks import check_temperature
from kdzoo.runs import names
from kdzoo.runs.config import METHODS, RunConfig
from kdzoo.teachers import resolve as teachers_of
from zoo import InputError

NONE = "none"
ALGORITHMS = ("hyperband", "bayesian", "random")
TRIALS = 20  # of random and bayesian search, where nothing is said


@dataclasses.dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        student: the student's run without a teacher; teachers trained on demand share its data, optimiser and seed. Its
            `val_examples` are what trials are compared by; 0: a tenth of the training examples.
        teachers: each "none", an architecture to train on each of `teacher_schedules`, or a trained one, wherever it
            lies. The latter may have learnt from the examples held out here.
        teacher_schedules: of the architectures.
        methods: of `kdzoo.config.METHODS`, but for "none".
        temperatures: T of the KD term.
        kd_weights: of the KD term; the cross-entropy's is what is missing to 1.
        kd_untils: shares of the student's epochs in which the teacher's terms count.
        algorithm: of `ALGORITHMS`.
        max_trials: of random and bayesian search; None: `TRIALS`. Hyperband's follow from the student's schedule.
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

    @property
    def architectures(self) -> tuple[str, ...]:
        """Teachers that are trained on demand."""
        return tuple(teacher for teacher in self.teachers if teacher != NONE and is_architecture(teacher))

    @property
    def epochs(self) -> int:
        """Of the student's whole schedule."""
        return schedules.parse(self.student.schedule).epochs

    def check(self) -> None:
        """Raises InputError for what is wrong with it, as far as can be told without data or a backend."""
        self.student.check()
        if self.student.teachers:
            raise InputError(f"student must have no teacher, trials do. Received: {', '.join(self.student.teachers)}")
        lists = ("teachers", "teacher_schedules", "methods", "temperatures", "kd_weights", "kd_untils")
        for name in lists:
            values = getattr(self, name)
            if len(set(values)) != len(values) or not (values or name == "teacher_schedules"):
                raise InputError(f"{name} must be one or more, each once. Received: {', '.join(map(str, values))}")
        for teacher in self.teachers:
            if teacher != NONE and not is_architecture(teacher):
                try:
                    teachers_of.check_exists(teacher)
                except InputError as error:
                    raise InputError(
                        f"A teacher must be none, an architecture to train, for example wrn16-2, or be there. {error}"
                    ) from None
        if bool(self.architectures) != bool(self.teacher_schedules):
            raise InputError(
                "teacher_schedules must be given for teachers that are architectures, for example 10-35,20-65, and for"
                f" no others. Received: {', '.join(self.teacher_schedules) or 'none'} for {', '.join(self.teachers)}"
            )
        for schedule in self.teacher_schedules:
            schedules.parse(schedule)
        taught = [method for method in METHODS if method != NONE]
        for values, passes, rule in (
            (self.methods, lambda method: method in taught, f"methods must be of {', '.join(taught)}"),
            (self.kd_weights, lambda weight: 0 < weight <= 1, "kd_weights must be above 0 and at most 1, as 0.9"),
            (self.kd_untils, lambda share: 0 < share <= 1, "kd_until must be above 0 and at most 1, for example 0.5,1"),
            ((self.algorithm,), lambda name: name in ALGORITHMS, f"search must be one of {', '.join(ALGORITHMS)}"),
        ):
            for value in values:
                if not passes(value):
                    raise InputError(f"{rule}. Received: {value}")
        for temperature in self.temperatures:
            check_temperature(temperature)
        if self.max_trials is not None and (self.algorithm == "hyperband" or self.max_trials < 1):
            raise InputError(
                "max_trials must be at least 1, for example 20, and is for random and bayesian search: hyperband's"
                f" follow from the schedule. Received: {self.max_trials} for {self.algorithm}"
            )
        if self.student.dtype_policy == "auto":
            raise InputError(
                "dtype_policy must be the same for all trials of a search, for example mixed_bfloat16. Received: auto"
            )


def is_architecture(teacher: str) -> bool:
    """Whether a teacher is to be trained: named as a network without a schedule, and nothing that is there."""
    try:
        return names.parse(teacher).schedule is None and not os.path.exists(teacher)
    except InputError:
        return False


def count_candidates(search: Search) -> int:
    """Different trials there are in the search space."""
    terms = len(search.temperatures) * len(search.kd_weights)
    ways = len(search.kd_untils) * sum(terms if METHODS[method]["kd_weight"] else 1 for method in search.methods)
    taught = [teacher for teacher in search.teachers if teacher != NONE]
    count = len(taught) + len(search.architectures) * (len(search.teacher_schedules) - 1)
    return (NONE in search.teachers) + ways * count


# What a trial is.


def student_config(search: Search, values: Mapping[str, Any], teacher: str) -> RunConfig:
    """The student's run of a trial.

    Args:
        search: that it is of.
        values: the trial's hyperparameters.
        teacher: where its teacher is.
    """
    if values["teacher"] == NONE:
        return search.student
    weights = METHODS[values["method"]]
    if "kd_weight" in values:
        # Rounded, so that what is missing to 0.9 is 0.1.
        weights = weights | {"kd_weight": values["kd_weight"], "ce_weight": round(1 - values["kd_weight"], 10)}
    terms = {name: values[name] for name in ("temperature", "kd_until") if name in values}
    return dataclasses.replace(search.student, teachers=(teacher,), **weights, **terms)


def teacher_config(search: Search, values: Mapping[str, Any]) -> RunConfig | None:
    """The run of a trial's teacher, if it is one to be trained."""
    if "teacher_schedule" not in values:
        return None
    return dataclasses.replace(search.student, model=values["teacher"], schedule=values["teacher_schedule"])


def run_name(config: RunConfig) -> str:
    """Of the directory of a run without a teacher."""
    return f"{config.model}_{config.schedule}_seed{config.seed}"


def describe(values: Mapping[str, Any]) -> str:
    """What a trial tries."""
    if values["teacher"] == NONE:
        return "no teacher"
    said = [f"teacher {name_teacher(values)}", values["method"]]
    said += [f"T {values['temperature']:g}"] if "temperature" in values else []
    said += [f"kd weight {values['kd_weight']:g}"] if "kd_weight" in values else []
    said += [f"kd until {values['kd_until']:g}"] if values["kd_until"] != 1 else []
    return ", ".join(said)


def name_teacher(values: Mapping[str, Any]) -> str:
    """A trial's teacher, with the schedule it is trained on if it is one to be trained."""
    return values["teacher"] + (f"_{values['teacher_schedule']}" if "teacher_schedule" in values else "")
