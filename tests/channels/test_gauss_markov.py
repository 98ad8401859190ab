"""Gauss-Markov: its autocorrelation, its stationary laws in both areas, and its path as a function of time."""

import math

import numpy as np
import pytest

from channels.gauss_markov import MOST_MEETINGS, MOST_SPREADS
from channels.mobility import Area, GaussMarkov, Positions

WIDE = Area("square", 1e7)


def _paths(model, num_nodes, seed=3, uniform=False):
    """uniform: placed all over the area, not at its center."""
    starts = [model.area.draw(np.random.default_rng([seed, 1, i])) if uniform else (0.0, 0.0) for i in range(num_nodes)]
    return [model.path(np.random.default_rng([seed, i]), (*start, 1.5)) for i, start in enumerate(starts)]


def _velocities(paths, num_steps, update_s):
    """[num_nodes, num_steps, 2]"""
    legs = [[path.leg_at((k + 0.5) * update_s) for k in range(num_steps)] for path in paths]
    return np.array([[(leg.vx_mps, leg.vy_mps) for leg in row] for row in legs])


def test_autocorrelation_is_a_to_the_lag():
    """Far from any edge. s^2 a^lag within 4.5 standard errors, from 300 independent nodes; so is the speed's second moment,
    2 s^2 + mean^2."""
    model = GaussMarkov(WIDE, mean_speed_mps=2.0, spread_mps=1.5, memory=0.8, update_s=0.5)
    v = _velocities(_paths(model, 300), 120, 0.5)
    squared = (v**2).sum(axis=-1).mean(axis=1)
    assert abs(squared.mean() - (2 * 1.5**2 + 2.0**2)) < 4.5 * squared.std() / np.sqrt(300)
    off = v - 2.0 * _mean_directions(model, 300)[:, None]
    for lag in (0, 1, 2, 5, 10):
        products = (off[:, : 120 - lag] * off[:, lag:]).mean(axis=(1, 2))
        assert abs(products.mean() - 1.5**2 * 0.8**lag) < 4.5 * products.std() / np.sqrt(300)


def _mean_directions(model, num_nodes, seed=3):
    turns = 2 * np.pi * np.array([np.random.default_rng([seed, i]).random() for i in range(num_nodes)])
    return np.stack([np.cos(turns), np.sin(turns)], axis=-1)


@pytest.mark.parametrize("mean_speed_mps", [0.0, 4.0])
@pytest.mark.parametrize("area", [Area("disc", 50.0), Area("square", 80.0)])
def test_places_stay_uniform_over_the_area(area, mean_speed_mps):
    """Second moment of the distance from the center, R^2/2 and side^2/6, and the share in the inner quarter of the area, at
    the start and after many reflections; 4.5 standard errors of 1500 nodes."""
    positions = Positions(_paths(GaussMarkov(area, mean_speed_mps, 3.0, 0.7), 1500, uniform=True))
    for t_s in (0.0, 90.5):
        x, y = positions.at(np.arange(1500), t_s)[:, :2].T
        squared, inner = x**2 + y**2, np.maximum(abs(x), abs(y)) < area.size_m / 4
        expected = area.size_m**2 / 2
        if area.shape == "disc":
            inner = np.hypot(x, y) < area.size_m / 2
        else:
            expected = area.size_m**2 / 6
        assert abs(squared.mean() - expected) < 4.5 * squared.std() / np.sqrt(1500)
        assert abs(inner.mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75 / 1500)


@pytest.mark.parametrize("area", [Area("disc", 6.0), Area("square", 9.0)])
def test_walkers_stay_inside_and_move_continuously(area):
    model = GaussMarkov(area, 3.0, 2.0, 0.9, update_s=0.7)
    positions = Positions(_paths(model, 10))
    nodes, t_s = np.arange(10), np.arange(0, 60, 0.01)
    at = positions.at(nodes, t_s)
    outside = np.hypot(at[..., 0], at[..., 1]) - 6.0 if area.shape == "disc" else abs(at[..., :2]) - 4.5
    assert outside.max() <= 1e-9
    steps = np.linalg.norm(np.diff(at, axis=1), axis=-1)
    travelled = np.diff(positions.travelled_m(nodes, t_s), axis=1)
    assert positions.max_speed_mps == 3.0 + MOST_SPREADS * 2.0
    assert travelled.max() <= 0.01 * positions.max_speed_mps
    assert (steps <= travelled + 1e-9).all()
    assert np.mean(abs(steps - travelled) < 1e-9) > 0.9  # equal but where it turns


def test_the_path_does_not_depend_on_who_asks():
    model = GaussMarkov(Area("disc", 20.0), 1.0, 2.0)
    reference, other = Positions(_paths(model, 4)), Positions(_paths(model, 4))
    t_s = np.linspace(0, 200, 401)
    at = reference.at(np.arange(4), t_s)
    for k in np.random.default_rng(0).permutation(401)[:100].tolist():
        np.testing.assert_array_equal(other.at(np.arange(4), float(t_s[k])), at[:, k])


class _CountedArea(Area):
    """Fails where the edge is asked for too often: an endless loop would not end otherwise."""

    def wall(self, x, y, vx, vy):
        calls = self.__dict__.setdefault("calls", [])
        calls.append(math.hypot(x, y))
        assert len(calls) < 3 * MOST_MEETINGS
        return super().wall(x, y, vx, vy)


@pytest.mark.parametrize("off_tangent", [0.0, 1e-16, 1e-13, 1e-9])
@pytest.mark.parametrize("turn", [1, -1])
def test_a_walker_along_the_tangent_of_a_disc_moves_on(turn, off_tangent):
    """At the edge, heading along it or outward by a grain: reflections at one place would never end. In a step the edge is met
    MOST_MEETINGS times at most, and the walker goes round with it: it turns by v t / R, within 1e-6."""
    area = _CountedArea("disc", 10.0)
    model = GaussMarkov(area, mean_speed_mps=2.0, spread_mps=0.0)
    heading = 2 * np.pi * np.random.default_rng(5).random()  # as the path draws it
    place = heading - turn * (np.pi / 2 - off_tangent)
    path = model.path(np.random.default_rng(5), (10.0 * np.cos(place), 10.0 * np.sin(place), 1.5))
    leg = path.leg_at(0.999)
    x, y = leg.x_m + leg.vx_mps * (0.999 - leg.start_s), leg.y_m + leg.vy_mps * (0.999 - leg.start_s)
    assert 10 < len(area.calls) <= MOST_MEETINGS + 2
    assert max(area.calls) < 10 + 1e-9
    assert math.hypot(leg.vx_mps, leg.vy_mps) == pytest.approx(2.0, rel=1e-12)
    assert np.angle(np.exp(1j * (np.arctan2(y, x) - place))) == pytest.approx(turn * 0.2 * 0.999, abs=1e-6)
