"""The comparison of distillation methods as a grid: one student, its teacher early-stopped and trained for longer."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from kdzoo.distillation import registry
from kdzoo.experiments.grid import Run, expand

STUDENT, TEACHER = "wrn16-1", "wrn16-2"
SCHEDULE = "10-35"
TEACHER_SCHEDULES = ("5-16", SCHEDULE)
FEATURE_SEEDS = 3  # at most: the teacher of most methods that compare features runs live


@dataclasses.dataclass(frozen=True)
class PlannedMethod:
    """A method to compare.

    Attributes:
        name: in the registry.
        kind: what it needs of the teacher, logits alone or features.
        has_teacher: whether it has a teacher: label smoothing has none.
        own_teacher: whether its teacher is the student from scratch, of seed 0.
    """

    name: str
    kind: Literal["logit", "feature"]
    has_teacher: bool = True
    own_teacher: bool = False


def registered() -> list[PlannedMethod]:
    """All methods but those that cannot distil this teacher: FSP needs stages of equal channels."""
    planned = []
    for name in registry.names():
        if name in registry.TERMS and name != "none":
            planned.append(PlannedMethod(name, "feature" if registry.TERMS[name]["at_weight"] else "logit"))
        elif name not in ("none", "fsp"):
            method = registry.make(name)
            kind: Literal["logit", "feature"] = "feature" if method.required else "logit"
            planned.append(PlannedMethod(name, kind, method.has_teacher, name == "tfkd_self"))
    return planned


def methods_grid(
    methods: Sequence[PlannedMethod],
    *,
    root: pathlib.Path,
    seeds: int = 5,
    teachers: Sequence[str] = (),
    common: Mapping[str, Any] | None = None,
    schedule_scale: str = "",
) -> dict[str, Any]:
    """Returns the grid: teachers, the student from scratch, and the student with each method and teacher.

    Each method's first seed comes before any method's second, so that a budget that ends leaves as much as possible to
    compare.

    Args:
        methods: to compare.
        root: directory of the runs. Each `schedule_scale` needs its own.
        seeds: number of seeds of the student from scratch and of logit methods, at least 1; others have three at most.
        teachers: runs or published models, each of which teaches with all methods; none: those of
            `TEACHER_SCHEDULES`, which are trained first.
        common: flags of every run, for example dataset and dtype_policy.
        schedule_scale: for example "0.25"; "" for full schedules.
    """

    def scaled(schedule: str) -> str:
        return f"{schedule}x{schedule_scale}" if schedule_scale else schedule

    runs: list[dict[str, Any]] = []
    if not teachers:
        runs.append({"model": TEACHER, "schedule": list(map(scaled, TEACHER_SCHEDULES)), "seed": 0})
        teachers = [f"{TEACHER}_{scaled(schedule)}_seed0" for schedule in TEACHER_SCHEDULES]
    for seed in range(seeds):
        runs.append({"model": STUDENT, "schedule": scaled(SCHEDULE), "seed": seed})
        for method in methods:
            if method.kind == "logit" or seed < FEATURE_SEEDS:
                run = {"student": STUDENT, "schedule": scaled(SCHEDULE), "method": method.name, "seed": seed}
                own = f"{STUDENT}_{scaled(SCHEDULE)}_seed0" if method.own_teacher else list(teachers)
                runs.append(run | ({"teacher": own} if method.has_teacher else {}))
    return {"workdir": str(root), "common": dict(common or {}), "runs": runs}


def plan(methods: Sequence[PlannedMethod], **options: Any) -> list[Run]:
    """Returns the runs of `methods_grid`, which has these options.

    Raises:
        InputError: if a run is impossible.
    """
    return expand(methods_grid(methods, **options))
