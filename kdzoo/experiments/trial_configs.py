"""The runs of a trial: its hyperparameters become the student's RunConfig and, if need be, the teacher's."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kdzoo.distillation import registry
from kdzoo.experiments.search_space import NONE, Search
from kdzoo.runs.config import RunConfig


def student_config(search: Search, values: Mapping[str, Any], teacher: str) -> RunConfig:
    """Returns the RunConfig of a trial's student.

    Args:
        search: the search.
        values: the trial's hyperparameters.
        teacher: spec of its teacher; ignored if the trial has none.
    """
    student = dataclasses.replace(search.student, model=name_student(search, values))
    if values["teacher"] == NONE:
        return student
    weights: dict[str, Any] = registry.candidate_fields(values["method"])
    if "kd_weight" in values:
        # Rounded, so that 1 - 0.9 is 0.1.
        weights = weights | {"kd_weight": values["kd_weight"], "ce_weight": round(1 - values["kd_weight"], 10)}
    terms: dict[str, Any] = {name: values[name] for name in ("temperature", "kd_until") if name in values}
    return dataclasses.replace(student, teachers=(teacher,), **(weights | terms))


def teacher_config(search: Search, values: Mapping[str, Any]) -> RunConfig | None:
    """Returns the RunConfig of a trial's teacher, or None if the search does not train it."""
    if "teacher_schedule" not in values:
        return None
    own = {"model": values["teacher"], "schedule": values["teacher_schedule"], "init": search.teacher_init}
    of_student: dict[str, Any] = {"model_args": "", "name": "", "freeze": "", "backbone_lr": 0.0}
    return dataclasses.replace(search.student, **own, **of_student)


def run_name(config: RunConfig) -> str:
    """Returns the directory's name of a run without a teacher."""
    return f"{config.architecture}_{config.schedule}_seed{config.seed}"


def describe(values: Mapping[str, Any]) -> str:
    """Describes a trial's hyperparameters in one line: teacher wrn10-2_1-2, at+kd, T 2, kd weight 0.9, kd until 0.5.

    In a search of several students, the line begins with the student.
    """
    parts = [f"student {values['student']}"] if "student" in values else []
    if values["teacher"] == NONE:
        return ", ".join([*parts, "no teacher"])
    parts += [f"teacher {name_teacher(values)}", values["method"]]
    parts += [f"T {values['temperature']:g}"] if "temperature" in values else []
    parts += [f"kd weight {values['kd_weight']:g}"] if "kd_weight" in values else []
    parts += [f"kd until {values['kd_until']:g}"] if values["kd_until"] != 1 else []
    return ", ".join(parts)


def name_student(search: Search, values: Mapping[str, Any]) -> str:
    """Names a trial's student."""
    model: str = values.get("student", search.student.model)
    return model


def name_teacher(values: Mapping[str, Any]) -> str:
    """Names a trial's teacher, with its schedule if the search trains it: wrn10-2_1-2."""
    return values["teacher"] + (f"_{values['teacher_schedule']}" if "teacher_schedule" in values else "")
