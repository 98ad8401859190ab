"""Paths: the stationary law of random waypoint, traces, and the fleet as a pure function of time."""

import numpy as np
import pytest

from channels.legs import KEPT_LEGS
from channels.mobility import Area, GaussMarkov, Manhattan, Positions, RandomWaypoint, Static, Trace

NUM_NODES = 3000
SPEEDS = (0.5, 4.0)
PAUSES = (10.0, 30.0)
AREA = Area("disc", 50.0)


def _walkers(num_nodes, area=AREA, speed_mps=SPEEDS, pause_s=PAUSES, seed=5):
    model = RandomWaypoint(area, speed_mps, pause_s)
    return Positions([model.path(np.random.default_rng([seed, i])) for i in range(num_nodes)])


@pytest.fixture(scope="module")
def walkers():
    return _walkers(NUM_NODES)


def _speeds(positions, t_s):
    nodes = np.arange(positions.num_nodes)
    return (positions.travelled_m(nodes, t_s + 1e-6) - positions.travelled_m(nodes, t_s)) / 1e-6


@pytest.mark.parametrize("t_s", [0.0, 40.0, 600.0])
def test_random_waypoint_is_stationary_from_the_start(walkers, t_s):
    """Walking speed: mean (v1 - v0)/ln(v1/v0) = 3.5/ln 8 = 1.6831. Share of time in a pause: 20/(20 + E[D] E[1/v]) with
    E[D] = 128 R/(45 pi) = 45.271 m and E[1/v] = ln 8/3.5 = 0.59413: 20/46.897 = 0.42647. Within 4.5 standard errors."""
    speeds = _speeds(walkers, t_s)
    walking = speeds[speeds > 0]
    assert abs(walking.mean() - 1.6831) < 4.5 * walking.std() / np.sqrt(walking.size)
    assert abs((speeds == 0).mean() - 0.42647) < 4.5 * np.sqrt(0.42647 * 0.57353 / NUM_NODES)


def test_random_waypoint_density_does_not_drift(walkers):
    """Mean squared distance from the center at t = 0 and at 600 s are independent samples of one law."""
    nodes = np.arange(NUM_NODES)
    squared = [np.square(walkers.at(nodes, t_s)[:, :2]).sum(axis=1) for t_s in (0.0, 600.0)]
    error = np.sqrt(sum(s.var() for s in squared) / NUM_NODES)
    assert abs(squared[0].mean() - squared[1].mean()) < 4.5 * error
    assert squared[0].mean() < AREA.size_m**2 / 2 - 4.5 * error  # denser in the center than the uniform law


def density_of_waypoint(r):
    """Density of a walking node at distance r from the center of the unit disc, without pauses.

        f(r) = 45 (1 - r^2) / (64 pi) * int_0^pi sqrt(1 - r^2 cos^2 phi) d phi

    Hyytia, Lassila, Virtamo, "Spatial node distribution of the random waypoint mobility model with applications", IEEE Trans.
    Mobile Computing 2006.
    """
    phi = (np.arange(2000) + 0.5) * np.pi / 2000
    return 45 * (1 - r**2) / 64 * np.sqrt(1 - np.multiply.outer(r**2, np.cos(phi) ** 2)).mean(axis=-1)


@pytest.mark.parametrize("t_s", [0.0, 600.0])
def test_random_waypoint_has_its_stationary_density(walkers, t_s):
    """Who pauses (a share of 0.42647, above) is uniform over the disc, who walks has the density above. 4.5 standard errors."""
    edges = np.linspace(0, 1, 2001)
    middle = (edges[1:] + edges[:-1]) / 2
    mass = np.cumsum(2 * np.pi * middle * density_of_waypoint(middle) / 2000)
    assert abs(mass[-1] - 1) < 1e-5
    radius = np.hypot(*walkers.at(np.arange(NUM_NODES), t_s)[:, :2].T) / AREA.size_m
    for r in (0.2, 0.4, 0.6, 0.8, 0.9):
        expected = 0.42647 * r**2 + 0.57353 * mass[round(r * 2000) - 1]
        assert abs((radius < r).mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / NUM_NODES)


def test_random_waypoint_starts_on_legs_as_long_as_time_sees_them():
    """A leg is met with a probability proportional to its length, at a uniform point of it: what remains of it has the mean
    E[D^2]/(2 E[D]) = R^2/(2 * 0.90541 R) = 0.55223 R. (Legs as they are drawn would have E[D]/2 = 0.45271 R.)"""
    model = RandomWaypoint(AREA, SPEEDS)
    legs = [model.path(np.random.default_rng([7, i])).leg_at(0.0) for i in range(2000)]
    remaining = np.array([leg.speed_mps * leg.end_s for leg in legs]) / AREA.size_m
    assert abs(remaining.mean() - 0.55223) < 4.5 * remaining.std() / np.sqrt(2000)


@pytest.mark.parametrize("area", [Area("disc", 20.0), Area("square", 30.0)])
def test_random_waypoint_is_continuous_in_its_area_and_speed_range(area):
    positions = _walkers(20, area, (1.0, 2.0), (0.0, 3.0))
    nodes, t_s = np.arange(20), np.arange(0, 300, 0.01)
    at = positions.at(nodes, t_s)
    if area.shape == "disc":
        assert np.hypot(at[..., 0], at[..., 1]).max() <= 20.0 + 1e-9
    else:
        assert np.abs(at[..., :2]).max() <= 15.0 + 1e-9
    assert (at[..., 2] == 1.5).all()
    steps = np.linalg.norm(np.diff(at, axis=1), axis=-1)
    travelled = np.diff(positions.travelled_m(nodes, t_s), axis=1)
    assert travelled.min() >= 0
    assert travelled.max() <= 2.0 * 0.01 + 1e-9
    assert (steps <= travelled + 1e-9).all()  # equal on a leg, shorter across a turn
    assert np.mean(np.abs(steps - travelled) < 1e-9) > 0.99
    inside_walk = np.isclose(travelled[:, 1:], travelled[:, :-1], rtol=1e-6) & (travelled[:, 1:] > 0)
    assert travelled[:, 1:][inside_walk].min() >= 1.0 * 0.01 - 1e-9


def test_mean_distances_of_the_areas():
    """Monte Carlo of 20,000 pairs against the closed forms, 4.5 standard errors."""
    rng = np.random.default_rng(11)
    for area in (Area("disc", 2.0), Area("square", 3.0)):
        pairs = np.array([(area.draw(rng), area.draw(rng)) for _ in range(20_000)])
        distance = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1)
        assert abs(distance.mean() - area.mean_distance_m) < 4.5 * distance.std() / np.sqrt(distance.size)
        assert distance.max() <= area.diameter_m


def test_positions_do_not_depend_on_who_asks_or_when():
    reference = _walkers(8, Area("disc", 5.0))
    nodes, t_s = np.arange(8), np.linspace(0, 400, 1001)
    at, travelled = reference.at(nodes, t_s), reference.travelled_m(nodes, t_s)
    other = _walkers(8, Area("disc", 5.0))
    rng = np.random.default_rng(1)
    for k in rng.permutation(t_s.size)[:300].tolist():
        some = rng.permutation(8)[:3]
        np.testing.assert_array_equal(other.at(some, float(t_s[k])), at[some, k])
        np.testing.assert_array_equal(other.travelled_m(some, float(t_s[k])), travelled[some, k])
    order = rng.permutation(t_s.size)
    np.testing.assert_array_equal(other.at(nodes, t_s[order]), at[:, order])


def test_a_long_path_keeps_few_legs_and_can_still_be_asked_about_its_start():
    path = RandomWaypoint(Area("disc", 1.0), (1.0, 2.0)).path(np.random.default_rng(0))
    start = path.leg_at(0.0)
    late = path.leg_at(5000.0)
    assert late.start_s <= 5000.0 < late.end_s
    assert len(path._kept) <= 2 * KEPT_LEGS + 1
    assert path.leg_at(0.0) == start
    assert path.leg_at(5000.0) == late


def test_a_node_does_not_change_when_others_are_added():
    np.testing.assert_array_equal(_walkers(3).at(np.arange(3), 77.0), _walkers(9).at(np.arange(3), 77.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Area("triangle", 1.0),
        lambda: Area("disc", 0.0),
        lambda: RandomWaypoint(AREA, (0.0, 2.0)),
        lambda: RandomWaypoint(AREA, (3.0, 2.0)),
        lambda: GaussMarkov(AREA, memory=1.0),
        lambda: GaussMarkov(AREA, update_s=0.0),
        lambda: GaussMarkov(AREA, spread_mps=-1.0),
        lambda: Manhattan(AREA, 10.0, (1.0, 2.0)),
        lambda: Manhattan(Area("square", 100.0), 30.0, (1.0, 2.0)),
        lambda: Manhattan(Area("square", 100.0), 10.0, (0.0, 2.0)),
        lambda: Manhattan(Area("square", 100.0), 10.0, (1.0, 2.0), turn_probability=1.5),
        lambda: RandomWaypoint(AREA, (1.0, 2.0), (-1.0, 2.0)),
        lambda: Trace([0.0, 1.0, 1.0], [(0, 0, 0)] * 3),
    ],
)
def test_bad_parameters_are_refused(build):
    with pytest.raises(ValueError, match="need|increase|whole number of blocks"):
        build()


def test_time_starts_at_zero():
    for positions in (_walkers(1), Positions([Static((0, 0, 0))])):
        with pytest.raises(ValueError, match="time starts at 0"):
            positions.at(np.array([0]), -1.0)
