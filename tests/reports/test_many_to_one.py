"""Simultaneous intervals of paired differences from a control: published tables, hand-worked numbers, simulations."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from kdzoo.reports.differences import paired
from kdzoo.reports.groups import group_runs
from kdzoo.reports.many_to_one import Difference, dunnett_quantile, many_to_one, pooled_std
from synthetic_records import SHORT, TEACHER, make_students

# Degrees of freedom -> quantiles of 1 to 9 comparisons: Dunnett, Biometrics 20 (1964), table II, two-sided, 95 %.
PUBLISHED = {
    5: (2.57, 3.03, 3.29, 3.48, 3.62, 3.73, 3.82, 3.90, 3.97),
    6: (2.45, 2.86, 3.10, 3.26, 3.39, 3.49, 3.57, 3.64, 3.71),
    10: (2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24),
    20: (2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95),
    60: (2.00, 2.27, 2.41, 2.51, 2.58, 2.64, 2.69, 2.73, 2.77),
}
FIVE, THREE = frozenset(range(5)), frozenset(range(3))


@pytest.mark.parametrize("degrees", PUBLISHED)
def test_published_quantiles(degrees):
    found = [dunnett_quantile([FIVE] * k, degrees) for k in range(1, 10)]
    assert found == pytest.approx(PUBLISHED[degrees], abs=0.0051)  # they are printed with two digits


def test_other_published_quantiles():
    # Dunnett, JASA 50 (1955), table 2b: 2 comparisons, 60 degrees of freedom, 99 %.
    assert dunnett_quantile([FIVE] * 2, 60, confidence=0.99) == pytest.approx(2.90, abs=0.0051)
    # The data of its section 5, by R's multcomp: 3 comparisons, 8 degrees of freedom, half an interval 10.2471.
    standard_error = (19 * 2 / 3) ** 0.5  # mean square 19, three measurements each
    assert dunnett_quantile([THREE] * 3, 8) == pytest.approx(10.2471 / standard_error, rel=1e-3)


def test_comparisons_over_other_seeds_are_less_correlated():
    common = [FIVE, FIVE, THREE, THREE, {1, 4}]
    quantile = dunnett_quantile(common, 7)
    correlation = np.array([[len(a & b) / (2 * (len(a) * len(b)) ** 0.5) for b in common] for a in common])
    np.fill_diagonal(correlation, 1)
    box = np.full(len(common), quantile)
    probability = multivariate_t(shape=correlation, df=7).cdf(box, lower_limit=-box, random_state=0)
    assert probability == pytest.approx(0.95, abs=2e-3)
    assert dunnett_quantile([FIVE] * 5, 7) < quantile < dunnett_quantile([{i} for i in range(5)], 7)


def test_pooled_deviation_worked_by_hand():
    # Means of methods 2 and 5, of seeds 2.5, 3 and 5; residuals +-0.5, 0, -+0.5: squares' sum 4 * 0.25 = 1, df 1 * 2.
    assert pooled_std([{0: 1.5, 1: 1.5, 2: 3.0}, {0: 3.5, 1: 4.5, 2: 7.0}]) == (pytest.approx(1 / 2**0.5), 2)


def test_two_methods_have_the_interval_of_student():
    full, short = {0: 8.0, 1: 8.4, 2: 8.1, 3: 8.5}, {0: 7.8, 1: 8.0, 2: 8.0, 3: 8.2}
    expected = paired(*group_runs([*make_students(TEACHER, full), *make_students(SHORT, short)]))
    found = many_to_one(full, [short])
    assert found.degrees == 3
    assert found.differences[0].mean == pytest.approx(expected.mean)
    assert found.differences[0].interval == pytest.approx(expected.interval)


def test_three_methods_worked_by_hand():
    # Differences from the control: -0.3, -0.5 and 0.2, 0.4.
    control, better, worse = {0: 9.7, 1: 10.3}, {0: 9.4, 1: 9.8}, {0: 9.9, 1: 10.7}
    found = many_to_one(control, [better, worse])
    # The seeds differ by 0.6, 0.4 and 0.8: mean 0.6, squared deviations 0 + 0.04 + 0.04 = 0.08; halved, over df 2.
    assert (found.residual_std, found.degrees) == (pytest.approx(0.02**0.5), 2)
    assert [one.mean for one in found.differences] == pytest.approx([-0.4, 0.3])
    half = found.quantile * 0.02**0.5  # times sqrt(2 / 2 seeds)
    assert found.differences[0].interval == pytest.approx((-0.4 - half, -0.4 + half))
    assert found.quantile == pytest.approx(dunnett_quantile([{0, 1}] * 2, 2))


def test_without_degrees_of_freedom_there_is_no_interval():
    found = many_to_one({0: 9.0}, [{0: 8.0}, {0: 9.5}, {1: 7.0}])
    assert found.differences == (Difference((0,), -1.0, None), Difference((0,), 0.5, None), None)
    assert (found.residual_std, found.degrees, found.quantile) == (None, 0, None)


def test_without_control_the_deviation_is_known():
    found = many_to_one({}, [{0: 1.5, 1: 1.5, 2: 3.0}, {0: 3.5, 1: 4.5, 2: 7.0}])
    assert found.differences == (None, None)
    assert (found.degrees, found.quantile) == (2, None)


def test_equal_errors_have_an_interval_of_no_width():
    found = many_to_one({0: 9.0, 1: 9.0}, [{0: 9.0, 1: 9.0}, {0: 9.0, 1: 9.0}])
    assert [one.interval for one in found.differences] == [pytest.approx((0, 0), abs=1e-12)] * 2


@pytest.mark.parametrize("seeds", [(FIVE,) * 5, (FIVE, FIVE, FIVE, THREE, THREE), (THREE, FIVE, FIVE)])
def test_intervals_hold_all_differences_at_once_in_simulations(seeds):
    """Of errors without any effect of a method, all intervals hold 0 in 95 % of cases, in 96 % with unequal seeds."""
    runs = [(method, seed) for method, of_method in enumerate(seeds) for seed in sorted(of_method)]
    common = [sorted(seeds[0] & of_method) for of_method in seeds[1:]]
    hold = []
    for errors in np.random.default_rng(0).normal(size=(1000, len(runs))):
        methods: list[dict[int, float]] = [{} for _ in seeds]
        for (method, seed), error in zip(runs, errors, strict=True):
            methods[method][seed] = error
        std, degrees = pooled_std(methods)
        of_each = [[errors[seed] - methods[0][seed] for seed in common[i]] for i, errors in enumerate(methods[1:])]
        hold.append(max(abs(np.mean(each)) * (len(each) / 2) ** 0.5 for each in of_each) / std)
    share = np.mean(np.array(hold) <= dunnett_quantile(common, degrees))
    assert 0.93 < share < 0.98
