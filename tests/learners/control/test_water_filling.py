"""Water-filling: optimality conditions, a numerical optimizer, what an equal split loses, edge cases."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.optimize import minimize

from learners.control.parallel_channels import draw_parallel
from learners.control.water_filling import water_filling


@pytest.mark.parametrize("num_channels", [1, 2, 7, 32])
def test_the_optimality_conditions_hold(num_channels: int) -> None:
    """Of a concave problem they are sufficient: the slope g / (1 + g p) is the same 1/mu where there is power, and no larger elsewhere."""
    gains = draw_parallel(np.random.default_rng(1), 300, num_channels)
    powers = water_filling(gains, 0.3 * num_channels)
    assert (powers >= 0).all()
    assert powers.sum(1) == pytest.approx(0.3 * num_channels, rel=1e-12)
    slopes = gains / (1 + gains * powers)
    steepest = np.broadcast_to(slopes.max(1, keepdims=True), slopes.shape)
    assert slopes[powers > 0] == pytest.approx(steepest[powers > 0], rel=1e-9)
    if num_channels > 1:
        assert 0.1 < (powers == 0).mean() < 0.6  # both cases occur


def test_an_optimizer_finds_the_same() -> None:
    gains = draw_parallel(np.random.default_rng(2), 3, 5)
    for row, found in zip(gains, water_filling(gains, np.array([0.5, 1.5, 4.0])), strict=True):
        budget = found.sum()
        best = minimize(
            lambda p, g=row: -np.log1p(g * p).sum(),
            np.full(5, budget / 5),
            jac=lambda p, g=row: -g / (1 + g * p),
            bounds=[(0, None)] * 5,
            constraints={"type": "eq", "fun": lambda p, total=budget: p.sum() - total, "jac": lambda p: np.ones(5)},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 200},
        )
        assert found == pytest.approx(best.x, abs=1e-5)


def test_closed_forms() -> None:
    """Gains 2 and 1 (1/g = 0.5 and 1): below P = 0.5 all goes to the first; P = 1 gives mu = 1.25."""
    assert water_filling(np.array([[2.0, 1.0]]), 0.4) == pytest.approx(np.array([[0.4, 0.0]]))
    assert water_filling(np.array([[1.0, 2.0]]), 1.0) == pytest.approx(np.array([[0.25, 0.75]]))
    assert water_filling(np.array([[3.0, 3.0, 3.0]]), 1.2) == pytest.approx(np.full((1, 3), 0.4))


@pytest.mark.parametrize(("num_channels", "share"), [(2, 0.923), (32, 0.876)])
def test_what_an_equal_split_reaches(num_channels: int, share: float) -> None:
    """Shares of mean rates of 1,000 draws, the specification's of other draws: within four standard errors of a difference of two such
    shares (a ratio of means, by its linear form)."""
    gains = draw_parallel(np.random.default_rng(3), 1000, num_channels)
    budget = 0.3 * num_channels
    best, equal = (
        np.log2(1 + gains * powers).sum(1) for powers in (water_filling(gains, budget), np.full(gains.shape, 0.3))
    )
    found = equal.mean() / best.mean()
    standard_error = (equal - found * best).std() / best.mean() * sqrt(2 / 1000)
    assert standard_error < 0.005
    assert found == pytest.approx(share, abs=4 * standard_error + 5e-4)
    assert (equal <= best + 1e-12).all()


def test_padding_gets_nothing() -> None:
    gains = draw_parallel(np.random.default_rng(4), 20, 4)
    padded = np.concatenate([gains, np.zeros((20, 3))], axis=1)
    found = water_filling(padded, 1.2)
    assert np.array_equal(found[:, 4:], np.zeros((20, 3)))
    assert found[:, :4] == pytest.approx(water_filling(gains, 1.2), abs=1e-12)
    assert np.array_equal(water_filling(np.zeros((2, 3)), 1.0), np.zeros((2, 3)))  # nowhere to put it


def test_extreme_gains_keep_the_budget() -> None:
    """1/g may be far above the budget: 1e20 + 1 rounds to 1e20."""
    assert water_filling(np.array([[1e-20, 1e-21]]), 1.0).tolist() == [[1.0, 0.0]]
    assert water_filling(np.array([[1e-20, 1e-20]]), 1.0).tolist() == [[0.5, 0.5]]
    assert water_filling(np.array([[1e12, 1e-300, 5e-324]]), 2.0) == pytest.approx(np.array([[2.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("gains", "budget", "message"),
    [
        (np.ones((2, 3)), 0.0, "budget = 0.0: a positive finite number"),
        (np.ones((2, 3)), np.array([1.0, -1.0]), "budget = -1.0: a positive"),
        (np.ones((2, 3)), np.array([np.inf, 1.0]), "budget = inf: a positive"),
        (np.ones((2, 3)), np.nan, "budget = nan: a positive"),
        (np.array([[1.0, -0.5]]), 1.0, r"gains\[0, 1\] = -0.5: gains are linear, finite and not negative"),
        (np.ones((2, 0)), 1.0, r"gains has the shape \(2, 0\): \[num, K\] with K = 0 objects"),
        (np.ones(3), 1.0, r"gains has the shape \(3,\): \[num, K\]"),
    ],
)
def test_bad_input_is_refused(gains: np.ndarray, budget: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        water_filling(gains, budget)
