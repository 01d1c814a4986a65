"""Aggregation against hand-worked numbers; and records that look like a sweep's, for the tests of tables and plots."""

import copy
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import pytest

from conftest import ROOT
from kdzoo.distillation import schedules
from kdzoo.reports import statistics
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
    """A record as training writes it, with a smooth history that ends at this error; `changed` goes into its config."""
    record = copy.deepcopy(json.loads(EXAMPLE.read_text()))
    weights = METHODS["kd" if teachers else "none"]
    told = ("name", "method", "seed", "parameters", "test_error_last", "test_ece_last", "teachers")
    record["config"] |= {"model": model, "schedule": schedule, "seed": seed, "kd_until": 1.0, **weights, **changed}
    record["config"]["teachers"] = [f"runs/{teacher['name']}_seed{teacher['seed']}" for teacher in teachers]
    terms = [term for term in ("at", "kd") if record["config"][f"{term}_weight"]]
    epochs = schedules.parse(schedule).epochs
    taught = max(1, math.floor(record["config"]["kd_until"] * epochs + 0.5))
    history = []
    for epoch in range(1, epochs + 1):
        left = (1 - epoch / epochs) ** 2
        row = {"epoch": epoch, "lr": 0.1 * 0.2 ** (3 * (epoch - 1) // epochs), "train_error": 0.6 * error + 50 * left}
        row |= {"loss": 0.3 + 2 * left, "ce": error / 20 + 1.5 * left, "images_per_second": 500.0}
        row |= {"test_error": error + 55 * left, "test_ce": error / 25 + left, "test_ece": 0.04 + 0.02 * left}
        if teachers:
            row |= {"test_agreement": 91.0 - 40 * left}
        if teachers and epoch <= taught:
            row |= dict.fromkeys(terms, 0.3 + 3 * left) | {"teacher_kl": 0.1 + left, "agreement": 92.0 - 40 * left}
        history.append(row | {"time": 1_795_000_000.0 + 60 * epoch})
    record |= {
        "name": f"{model}_{schedule}",
        "method": "+".join(terms) or "none",
        "seed": seed,
        "parameters": PARAMETERS[model],
        "teachers": [{key: teacher[key] for key in told if key in teacher} for teacher in teachers],
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
    """Label -> record: a student from scratch and by every teacher, KD to the end, and ESKD by the biggest full one.

    The errors have the paper's form: of fully trained teachers the biggest is the worst, and shorter training helps.
    """
    runs = {}

    def add(record: dict[str, Any]) -> dict[str, Any]:
        taught = [f"{record['method']}_{teacher['name']}" for teacher in record["teachers"]]
        until = record["config"]["kd_until"]
        parts = [record["name"], *taught, *([f"kd_until{until}"] if until < 1 else []), f"seed{record['seed']}"]
        runs["_".join(parts)] = record
        return record

    def noise(*what) -> float:
        return (zlib.crc32(repr(what).encode()) % 1000 / 1000 - 0.5) * 0.4

    student = f"{student}{scale}"
    for seed in range(seeds):
        add(make_record(schedule=student, seed=seed, error=8.75 + noise("scratch", seed)))
    for rank, size in enumerate(sizes):
        for length in lengths:
            epochs = schedules.parse(length).epochs
            short = math.log(200 / epochs)
            teacher = make_record(size, f"{length}{scale}", error=6.2 - 0.35 * rank + 1.1 * short)
            teacher["test_ece_last"] = 0.02 + 0.004 * rank - 0.006 * short
            add(teacher)
            for seed in range(seeds):
                agreement = 93 - 0.4 * rank + 0.8 * short
                error = 7.6 + 0.09 * rank - 0.08 * rank * short + 0.25 * (short - 0.9) ** 2 + noise(size, length, seed)
                taught = add(make_record(schedule=student, seed=seed, error=error, teachers=(teacher,)))
                taught["test_agreement_last"] = agreement
                if (size, length) == (sizes[-1], lengths[-1]):
                    changed = {"teachers": (teacher,), "kd_until": 0.5}
                    add(make_record(schedule=student, seed=seed, error=error - 0.3, **changed))
    return runs


TEACHER = make_record("wrn16-2", "60-200", error=6.0)
SHORT = make_record("wrn16-2", "20-65", error=7.0)


def students(teacher, errors, **changed):
    """One of each seed: seed -> error."""
    taught = {"teachers": (teacher,)} if teacher else {}
    return [make_record(seed=seed, error=error, **taught, **changed) for seed, error in errors.items()]


def test_spread_worked_by_hand():
    # mean (1 + 2 + 4 + 9) / 4 = 4; squares 9 + 4 + 0 + 25 = 38; std sqrt(38 / 3)
    found = statistics.spread([1, 2, None, 4, 9])
    assert found == statistics.Spread(4, 4.0, pytest.approx(math.sqrt(38 / 3), rel=1e-15))
    assert statistics.spread([7.5]) == statistics.Spread(1, 7.5, None)
    assert statistics.spread([None]) is None


def test_runs_that_differ_in_their_seed_are_a_group():
    runs = [*students(TEACHER, {2: 8.3, 0: 8.0, 1: 8.6}), *students(None, {0: 9.0}), TEACHER]
    del runs[0]["test_ece_last"]
    scratch, taught, teacher = statistics.group(runs)
    assert (taught.model, str(taught.schedule), taught.method, taught.seeds) == ("wrn16-1", "60-200", "kd", (0, 1, 2))
    # mean 24.9 / 3 = 8.3; squares 0.09 + 0.09 + 0 = 0.18; std sqrt(0.18 / 2) = 0.3
    assert taught.error == statistics.Spread(3, pytest.approx(8.3), pytest.approx(0.3))
    assert taught.spread("test_error_best") == statistics.Spread(3, pytest.approx(8.2), pytest.approx(0.3))
    assert taught.spread("test_ece_last").n == 2
    assert taught.spread("test_error_val_chosen") is None
    assert (str(taught.teacher), taught.of_teacher("test_error_last")) == ("wrn16-2_60-200", 6.0)
    assert (scratch.teachers, scratch.teacher, scratch.error) == ((), None, statistics.Spread(1, 9.0, None))
    assert teacher.parameters == 691_674


@pytest.mark.parametrize(
    ("change", "groups"),
    [
        ({"dataset": "npz:elsewhere.npz", "fused_steps": 8}, 1),
        ({"at_mode": "paper"}, 1),  # without AT, its mode has no part
        ({"teacher_dtype": "bfloat16"}, 1),  # what auto amounts to here
        ({"temperature": 2.0}, 2),
        ({"kd_until": 0.5}, 2),
        ({"kd_weight": 0.5}, 2),
        ({"batch_size": 64}, 2),
        ({"dtype_policy": "float32"}, 2),
        ({"schedule": "60-200x0.25"}, 2),  # a scaled run is never in a group with an unscaled one
    ],
)
def test_what_belongs_in_a_group(change, groups):
    runs = [make_record(teachers=(TEACHER,)), make_record(seed=1, teachers=(TEACHER,), **change)]
    assert len(statistics.group(runs)) == groups


def test_settings_that_have_no_part_from_scratch():
    assert len(statistics.group([make_record(), make_record(seed=1, temperature=2.0, teacher_input="raw")])) == 1


def test_teachers_are_told_apart_by_what_records_say():
    other = {**TEACHER, "seed": 1, "test_error_last": 6.4}
    published = {**TEACHER, "name": "folder/wrn16-2_60-200"}
    runs = [make_record(seed=i, teachers=(it,)) for i, it in enumerate((TEACHER, other, published))]
    assert [group.seeds for group in statistics.group(runs)] == [(0, 2), (1,)]
    (merged,) = statistics.group(runs, merge_teachers=True)
    assert merged.seeds == (0, 1, 2)
    assert merged.of_teacher("test_error_last") == pytest.approx((6.0 + 6.4 + 6.0) / 3)


def test_a_teacher_that_is_not_told_by_its_name():
    taught = {**TEACHER, "method": "kd", "teachers": [SHORT]}
    foreign = {"name": "score@host", "method": None, "seed": None, "parameters": None, "test_error_last": 5.0}
    runs = [make_record(teachers=teachers) for teachers in ((taught,), (foreign,), (TEACHER, SHORT))]
    groups = statistics.group(runs)
    assert len(groups) == 3
    assert [group.teacher for group in groups] == [None] * 3


def test_the_run_started_last_counts():
    runs = [make_record(error=8.0), make_record(error=9.0), make_record(error=7.0)]
    runs[1]["started"] = "2099-01-01T00:00:00+00:00"
    assert statistics.group(runs)[0].error.mean == 9.0
    assert statistics.repeats(runs) == [runs[0], runs[2]]


def test_natural_order():
    models = ["wrn16-11", "wrn16-2", "dn100-12"]
    runs = [make_record(model, schedule) for model in models for schedule in ("60-200", "10-35")]
    assert [f"{group.model}_{group.schedule}" for group in statistics.group(runs)] == [
        *("dn100-12_10-35", "dn100-12_60-200", "wrn16-2_10-35", "wrn16-2_60-200", "wrn16-11_10-35", "wrn16-11_60-200")
    ]


def test_paired_difference_worked_by_hand():
    full = students(TEACHER, {0: 8.0, 1: 8.4, 2: 8.1, 3: 8.5, 9: 1.0})
    short = students(SHORT, {0: 7.8, 1: 8.0, 2: 8.0, 3: 8.2, 7: 1.0})
    short, full = statistics.group([*full, *short])
    # 7.8 - 8.0 = -0.2, -0.4, -0.1, -0.3: mean -0.25; deviations 0.05, -0.15, 0.15, -0.05, their squares' sum 0.05;
    # std sqrt(0.05 / 3) = 0.1290994; t of 3 degrees of freedom at 97.5 % is 3.182446; half 3.182446 * 0.1290994 / 2
    found = statistics.paired(short, full)
    assert (found.seeds, found.n) == ((0, 1, 2, 3), 4)
    assert found.mean == pytest.approx(-0.25)
    assert found.std == pytest.approx(0.1290994, abs=1e-7)
    assert found.interval == pytest.approx((-0.25 - 0.2054260, -0.25 + 0.2054260), abs=1e-6)
    # 90 %: t is 2.353363, half 0.1519084
    assert statistics.paired(short, full, confidence=0.9).interval[1] == pytest.approx(-0.25 + 0.1519084, abs=1e-6)


def test_paired_difference_of_one_seed_and_of_none():
    one, other = statistics.group([*students(SHORT, {0: 7.5}), *students(TEACHER, {0: 8.0, 1: 8.5})])
    assert statistics.paired(one, other) == statistics.Paired((0,), -0.5, None, None)
    one, other = statistics.group([*students(SHORT, {2: 7.5}), *students(TEACHER, {0: 8.0, 1: 8.5})])
    assert statistics.paired(one, other) is None


def test_against_the_paper():
    (group,) = statistics.group(students(None, {0: 8.6, 1: 9.0}))
    found = statistics.against(group, mean=8.751, std=0.129)
    assert found == statistics.Against(pytest.approx(8.8 - 8.751), 8.751, 0.129)


def test_baseline_is_the_fully_trained_teacher_or_scratch():
    runs = [
        *students(None, {0: 8.8}),
        *students(None, {0: 8.9}, lr=0.05),  # another student
        *students(TEACHER, {0: 8.0}),
        *students(SHORT, {0: 7.6}),
        *students(make_record("wrn16-4", "60-200x0.25"), {0: 7.0}),
        *students(make_record("wrn16-4", "20-65"), {0: 7.5}),
    ]
    groups = statistics.group(runs)
    found = {}
    for group in groups:
        other = statistics.baseline(group, groups)
        found[group.error.mean] = other and other.error.mean
    assert found == {8.8: None, 8.9: None, 8.0: 8.8, 7.6: 8.0, 7.0: 8.8, 7.5: 8.8}


def test_scaled_teachers_are_a_context_of_their_own():
    runs = [
        *students(None, {0: 8.8}),
        *students(TEACHER, {0: 8.0}),
        *students(SHORT, {0: 7.6}),
        *students(make_record("wrn16-2", "60-200x0.25"), {0: 7.0}),
    ]
    first, second = statistics.contexts(statistics.group(runs))
    assert [group.error.mean for group in first.plain] == [7.6, 8.0]
    assert [first.is_full(group) for group in first.plain] == [False, True]
    assert [group.error.mean for group in second.taught] == [7.0]
    assert [float(share) for share in second.scales] == [1.0, 0.25]
    assert first.scratch is second.scratch
