"""Intervals and paired differences against scipy, closed forms and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wsim.study.statistics import band, difference, estimate, step_hold


def test_the_interval_is_scipys() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 7)
    found = estimate(values)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high), rel=1e-12)
    assert found.num == 7


def test_two_seeds_by_hand() -> None:
    # mean 2, s = sqrt(2), s / sqrt(2) = 1; t_{0.975, 1} = tan(0.475 pi), the Cauchy distribution's quantile
    found = estimate([1.0, 3.0])
    assert (found.mean, found.half_width) == (2.0, pytest.approx(math.tan(0.475 * math.pi), rel=1e-9))


def test_the_difference_is_scipys_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    world = rng.normal(0, 5, 9)
    a, b = world + rng.normal(1, 1, 9), world + rng.normal(0, 1, 9)
    found, test = difference(a, b), stats.ttest_rel(a, b)
    assert found.mean / found.paired_se == pytest.approx(test.statistic, rel=1e-12)
    low, high = test.confidence_interval(0.95)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high), rel=1e-12)
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert found.mean / found.unpaired_se == pytest.approx(welch.statistic, rel=1e-12)
    assert found.ratio > 2


def test_standard_errors_by_hand() -> None:
    # a - b = (1, 1, 4): mean 2, variance 3, se 1; variances of a and b 9 and 3: se sqrt(3 + 1)
    found = difference([1.0, 4.0, 7.0], [0.0, 3.0, 3.0])
    assert (found.mean, found.paired_se, found.unpaired_se) == pytest.approx((2.0, 1.0, 2.0), rel=1e-12)
    assert found.ratio == pytest.approx(2.0, rel=1e-12)


def test_what_two_arms_share_cancels() -> None:
    """var(a - b) = var(a) + var(b) - 2 cov: with a correlation of 0.99 the ratio is 1 / sqrt(1 - 0.99) = 10."""
    rng = np.random.default_rng(3)
    num = 4000
    world, own_a, own_b = rng.normal(size=(3, num))
    a, b = (math.sqrt(0.99) * world + math.sqrt(0.01) * own for own in (own_a, own_b))
    # the relative standard error of a ratio of two standard deviations is below 1 / sqrt(num): 4 of them
    assert difference(a, b).ratio == pytest.approx(10.0, rel=4 / math.sqrt(num))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    trials = 2000
    covered = sum(abs(found.mean) <= found.half_width for found in map(estimate, rng.normal(size=(trials, 5))))
    assert covered / trials == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / trials))


def test_missing_values_are_left_out_and_never_imputed() -> None:
    nothing = estimate([math.nan])
    assert (math.isnan(nothing.mean), nothing.num, nothing.num_without) == (True, 0, 1)
    one = estimate([5.0])
    assert (one.mean, math.isnan(one.half_width), one.num, one.num_without) == (5.0, True, 1, 0)
    assert difference([1.0, math.nan, 3.0], [0.0, 9.0, math.nan]).num == 1
    assert difference([math.nan], [1.0]).num == 0


def test_a_selection_of_the_seeds_has_a_mean_and_no_interval() -> None:
    some = estimate([1.0, math.nan, 3.0])
    assert (some.mean, some.num, some.num_without) == (2.0, 2, 1)
    assert math.isnan(some.half_width)
    found = difference([1.0, math.nan, 3.0], [0.0, 9.0, 1.0])
    assert (found.mean, found.num, found.num_without) == (1.5, 2, 1)
    assert all(math.isnan(value) for value in (found.half_width, found.paired_se, found.unpaired_se, found.ratio))


def test_equal_arms_have_no_ratio_and_a_constant_difference_an_infinite_one() -> None:
    assert math.isnan(difference([1.0, 1.0], [1.0, 1.0]).ratio)
    assert difference([1.0, 2.0], [0.0, 1.0]).ratio == math.inf


def test_a_curve_is_held_from_step_to_step() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.1, 0.2, 0.3, 0.4])
    held = step_hold(x, y, np.array([0.5, 1.0, 1.9, 2.0, 4.9, 5.0, 9.0]))
    np.testing.assert_array_equal(held, [np.nan, 0.1, 0.1, 0.3, 0.3, 0.4, 0.4])
    assert np.isnan(step_hold(np.empty(0), np.empty(0), np.array([1.0]))).all()


def test_a_band_is_the_estimate_at_every_point() -> None:
    rng = np.random.default_rng(5)
    curves = [(np.sort(rng.uniform(0, 10, 6)), rng.uniform(0, 1, 6)) for _ in range(4)]
    grid = np.linspace(8, 10, 5)
    mean, half = band(curves, grid)
    for i, at in enumerate(grid):
        point = estimate([step_hold(x, y, np.array([at]))[0] for x, y in curves])
        assert (mean[i], half[i]) == pytest.approx((point.mean, point.half_width), rel=1e-12)
    assert np.isnan(band(curves, np.array([0.0]))[0]).all()
    assert np.isnan(band(curves[:1], grid)[1]).all()
