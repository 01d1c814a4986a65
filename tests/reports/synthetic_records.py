"""Records that look like those of a training or a sweep, without any training."""

import copy
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

from conftest import ROOT
from kdzoo.distillation import schedules
from kdzoo.runs.config import METHODS

EXAMPLE = ROOT / "results/cifar10/wrn16-1_10-35_kd_wrn16-2_5-16_seed0/record.json"
PARAMETERS = {
    "wrn16-1": 175_066,
    "wrn16-2": 691_674,
    "wrn16-3": 1_549_850,
    "wrn16-4": 2_748_890,
    "wrn16-6": 6_171_354,
    "wrn16-8": 10_961_370,
    "wrn16-11": 20_698_234,
    "dn100-12": 769_162,
}


def make_record(
    model: str = "wrn16-1",
    schedule: str = "60-200",
    *,
    seed: int = 0,
    error: float = 8.0,
    teachers: tuple[Mapping[str, Any], ...] = (),
    **changed: Any,
) -> dict[str, Any]:
    """Returns a record as training writes it; its smooth history ends at this error, and `changed` is in its config."""
    record = copy.deepcopy(json.loads(EXAMPLE.read_text()))
    weights = METHODS["kd" if teachers else "none"]
    keys = ("name", "method", "seed", "parameters", "test_error_last", "test_ece_last", "teachers")
    record["config"] |= {"model": model, "schedule": schedule, "seed": seed, "kd_until": 1.0, **weights, **changed}
    record["config"]["teachers"] = [f"runs/{teacher['name']}_seed{teacher['seed']}" for teacher in teachers]
    terms = [term for term in ("at", "kd") if record["config"][f"{term}_weight"]]
    epochs = schedules.parse(schedule).epochs
    with_teacher = max(1, math.floor(record["config"]["kd_until"] * epochs + 0.5))
    history = []
    for epoch in range(1, epochs + 1):
        left = (1 - epoch / epochs) ** 2
        row = {"epoch": epoch, "lr": 0.1 * 0.2 ** (3 * (epoch - 1) // epochs), "train_error": 0.6 * error + 50 * left}
        row |= {"loss": 0.3 + 2 * left, "ce": error / 20 + 1.5 * left, "images_per_second": 500.0}
        row |= {"test_error": error + 55 * left, "test_ce": error / 25 + left, "test_ece": 0.04 + 0.02 * left}
        if teachers:
            row |= {"test_agreement": 91.0 - 40 * left}
        if teachers and epoch <= with_teacher:
            row |= dict.fromkeys(terms, 0.3 + 3 * left) | {"teacher_kl": 0.1 + left, "agreement": 92.0 - 40 * left}
        history.append(row | {"time": 1_795_000_000.0 + 60 * epoch})
    record |= {
        "name": f"{model}_{schedule}",
        "method": "+".join(terms) or "none",
        "seed": seed,
        "parameters": PARAMETERS[model],
        "teachers": [{key: teacher[key] for key in keys if key in teacher} for teacher in teachers],
        "history": history,
        "test_error_last": error,
        "test_error_best": error - 0.1,
        "test_ece_last": 0.04,
        "test_agreement_last": 91.0,
    }
    if not teachers:
        del record["test_agreement_last"]
    return record


def make_sweep(
    sizes: tuple[str, ...] = ("wrn16-2", "wrn16-3", "wrn16-4", "wrn16-6", "wrn16-8", "wrn16-11"),
    lengths: tuple[str, ...] = ("10-35", "15-50", "20-65", "60-200"),
    seeds: int = 5,
    scale: str = "",
    student: str = "60-200",
) -> dict[str, dict[str, Any]]:
    """Returns label -> record: a student from scratch and with every teacher, and ESKD with the biggest full one.

    The errors have the paper's form: the biggest fully trained teacher is the worst, and shorter training helps.
    """
    runs = {}

    def add(record: dict[str, Any]) -> dict[str, Any]:
        teachers = [f"{record['method']}_{teacher['name']}" for teacher in record["teachers"]]
        until = record["config"]["kd_until"]
        parts = [record["name"], *teachers, *([f"kd_until{until}"] if until < 1 else []), f"seed{record['seed']}"]
        runs["_".join(parts)] = record
        return record

    def noise(*key: Any) -> float:
        return (zlib.crc32(repr(key).encode()) % 1000 / 1000 - 0.5) * 0.4

    student = f"{student}{scale}"
    for seed in range(seeds):
        add(make_record(schedule=student, seed=seed, error=8.75 + noise("scratch", seed)))
    for rank, size in enumerate(sizes):
        for length in lengths:
            epochs = schedules.parse(length).epochs
            short = math.log(200 / epochs)
            teacher = make_record(size, f"{length}{scale}", error=6.2 - 0.35 * rank + 1.1 * short)
            teacher["test_ece_last"] = max(0.001, 0.02 + 0.004 * rank - 0.006 * short)
            add(teacher)
            for seed in range(seeds):
                agreement = 93 - 0.4 * rank + 0.8 * short
                error = 7.6 + 0.09 * rank - 0.08 * rank * short + 0.25 * (short - 0.9) ** 2 + noise(size, length, seed)
                student_run = add(make_record(schedule=student, seed=seed, error=error, teachers=(teacher,)))
                student_run["test_agreement_last"] = agreement
                if (size, length) == (sizes[-1], lengths[-1]):
                    changed = {"teachers": (teacher,), "kd_until": 0.5}
                    add(make_record(schedule=student, seed=seed, error=error - 0.3, **changed))
    return runs


TEACHER = make_record("wrn16-2", "60-200", error=6.0)
SHORT = make_record("wrn16-2", "20-65", error=7.0)


def make_students(
    teacher: Mapping[str, Any] | None, errors: Mapping[int, float], **changed: Any
) -> list[dict[str, Any]]:
    """Returns a record of each seed; `errors` is seed -> error."""
    teachers = (teacher,) if teacher else ()
    return [make_record(seed=seed, error=error, teachers=teachers, **changed) for seed, error in errors.items()]


# Method -> its true difference from KD in points of percent, and its number of seeds.
METHOD_DIFFERENCES = {"kd": (0.0, 5), "dkd": (-0.35, 5), "dist": (-0.15, 5), "nkd": (0.05, 5), "at": (0.4, 3)}
METHOD_DIFFERENCES |= {"fitnets": (0.6, 3), "label_smoothing": (0.45, 5), "none": (0.7, 5)}
METHOD_TEACHERS = tuple(
    make_record("wrn16-2", schedule, error=error) for schedule, error in (("5-16", 13.5), ("10-35", 12.4))
)


def make_method(
    method: str,
    teacher: Mapping[str, Any] | None,
    errors: Mapping[int, float],
    *,
    method_args: str = "",
    **changed: Any,
) -> list[dict[str, Any]]:
    """Returns a record of each seed with this method; without a teacher for labels and teacher-free methods."""
    known = METHODS.get(method)
    named = {"distillation_method": method, "method_weight": 1.0, **METHODS["none"]} if known is None else known
    changed = {**named, "method_args": method_args, **changed}
    return [
        record | {"method": method, "sessions": [{"epoch": 0, "step": 0, "teacher_cache": "off"}]}
        for record in make_students(teacher, errors, **{"schedule": "10-35", **changed})
    ]


def make_methods(
    differences: Mapping[str, tuple[float, int]] = METHOD_DIFFERENCES,
    teachers: tuple[Mapping[str, Any], ...] = METHOD_TEACHERS,
) -> dict[str, dict[str, Any]]:
    """Returns label -> record: a student with each method and teacher; `differences` as in `METHOD_DIFFERENCES`."""
    records: list[dict[str, Any]] = list(teachers)

    def noise(*key: Any) -> float:
        return (zlib.crc32(repr(key).encode()) % 1000 / 1000 - 0.5) * 0.4

    for rank, teacher in enumerate(teachers):
        for method, (difference, n) in differences.items():
            alone = method in ("none", "label_smoothing")
            if alone and rank:
                continue
            spread = {
                seed: noise("seed", seed) + 0.7 * noise(method, alone or teacher["name"], seed) for seed in range(n)
            }
            errors = {seed: 13.5 + difference + (0 if alone else 0.15 * rank) + spread[seed] for seed in range(n)}
            records += make_method(method, None if alone else teacher, errors)
    return {f"{record['method']}_{i}": record for i, record in enumerate(records)}
