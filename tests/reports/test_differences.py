"""Spreads and differences against hand-worked numbers."""

import math

import pytest

from kdzoo.reports.differences import Against, Paired, against, paired
from kdzoo.reports.groups import group_runs
from kdzoo.reports.spreads import Spread, spread
from synthetic_records import SHORT, TEACHER, make_students


def test_spread_worked_by_hand():
    # mean (1 + 2 + 4 + 9) / 4 = 4; squares 9 + 4 + 0 + 25 = 38; std sqrt(38 / 3)
    found = spread([1, 2, None, 4, 9])
    assert found == Spread(4, 4.0, pytest.approx(math.sqrt(38 / 3), rel=1e-15))
    assert spread([7.5]) == Spread(1, 7.5, None)
    assert spread([None]) is None


def test_paired_difference_worked_by_hand():
    full = make_students(TEACHER, {0: 8.0, 1: 8.4, 2: 8.1, 3: 8.5, 9: 1.0})
    short = make_students(SHORT, {0: 7.8, 1: 8.0, 2: 8.0, 3: 8.2, 7: 1.0})
    short, full = group_runs([*full, *short])
    # 7.8 - 8.0 = -0.2, -0.4, -0.1, -0.3: mean -0.25; deviations 0.05, -0.15, 0.15, -0.05, their squares' sum 0.05;
    # std sqrt(0.05 / 3) = 0.1290994; t of 3 degrees of freedom at 97.5 % is 3.182446; half 3.182446 * 0.1290994 / 2
    found = paired(short, full)
    assert (found.seeds, found.n) == ((0, 1, 2, 3), 4)
    assert found.mean == pytest.approx(-0.25)
    assert found.std == pytest.approx(0.1290994, abs=1e-7)
    assert found.interval == pytest.approx((-0.25 - 0.2054260, -0.25 + 0.2054260), abs=1e-6)
    # 90 %: t is 2.353363, half 0.1519084
    assert paired(short, full, confidence=0.9).interval[1] == pytest.approx(-0.25 + 0.1519084, abs=1e-6)


def test_paired_difference_of_one_seed_and_of_none():
    one, other = group_runs([*make_students(SHORT, {0: 7.5}), *make_students(TEACHER, {0: 8.0, 1: 8.5})])
    assert paired(one, other) == Paired((0,), -0.5, None, None)
    one, other = group_runs([*make_students(SHORT, {2: 7.5}), *make_students(TEACHER, {0: 8.0, 1: 8.5})])
    assert paired(one, other) is None


def test_every_run_of_a_seed_is_paired():
    anew = {**TEACHER, "seed": 1, "test_error_last": 6.4}
    runs = [*make_students(TEACHER, {0: 8.0, 1: 8.0}), *make_students(anew, {0: 9.0})]
    (merged,) = group_runs(runs, merge_teachers=True)
    (other,) = group_runs(make_students(SHORT, {0: 8.0, 1: 7.0}))
    # seed 0: (8 + 9) / 2 - 8 = 0.5; seed 1: 8 - 7 = 1
    assert (paired(merged, other).n, paired(merged, other).mean) == (2, pytest.approx(0.75))
    assert paired(other, merged).mean == pytest.approx(-0.75)


def test_difference_from_a_published_mean():
    (group,) = group_runs(make_students(None, {0: 8.6, 1: 9.0}))
    found = against(group, mean=8.751, std=0.129)
    assert found == Against(pytest.approx(8.8 - 8.751), 8.751, 0.129)
