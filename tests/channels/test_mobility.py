"""Paths: the stationary law of random waypoint, traces, and the fleet as a pure function of time."""

import numpy as np
import pytest

from channels.mobility import Area, Positions, RandomWaypoint, Static, Trace, read_traces
from channels.random_waypoint import KEPT_LEGS

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


def test_trace_is_piecewise_linear_and_stays_at_its_end():
    text = "node,time_s,x_m,y_m\n0,0,0,0\n1,0,5,5\n0,10,30,40\n0,20,30,40\n1,4,5,9\n"
    positions = Positions(read_traces(text, 2, height_m=2.0))
    np.testing.assert_allclose(
        positions.at(np.array([0, 1]), np.array([0.0, 5.0, 15.0, 99.0])),
        [[[0, 0, 2], [15, 20, 2], [30, 40, 2], [30, 40, 2]], [[5, 5, 2], [5, 9, 2], [5, 9, 2], [5, 9, 2]]],
    )
    np.testing.assert_allclose(positions.travelled_m(np.array([0, 1]), 15.0), [50.0, 4.0])
    assert positions.max_speeds_mps.tolist() == [5.0, 1.0]


def test_trace_with_heights():
    positions = Positions(read_traces("node,time_s,x_m,y_m,z_m\n0,0,0,0,1\n0,2,0,0,3\n", 1))
    assert positions.at(np.array([0]), 1.0).tolist() == [[0.0, 0.0, 2.0]]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "line 1.*header"),
        ("node,time,x,y\n", "line 1.*header"),
        ("node,time_s,x_m,y_m\n0,0,1,1\n", "node 1 has no points"),
        ("node,time_s,x_m,y_m\n0,0,1,1\n1,5,1,1\n", "line 3: node 1 starts at 5.0 s"),
        ("node,time_s,x_m,y_m\n0,0,1,1\n1,0,1,1\n0,4,1,1\n0,3,1,1\n", "line 5: node 0 at 3.0 s follows 4.0 s"),
        ("node,time_s,x_m,y_m\n0,0,1,1\n0,0,2,1\n1,0,1,1\n", "line 3: node 0 at 0.0 s follows"),
        ("node,time_s,x_m,y_m\n2,0,1,1\n", "line 2: node 2; nodes are 0 to 1"),
        ("node,time_s,x_m,y_m\n0,0,1\n", "line 2: 3 values where 4"),
        ("node,time_s,x_m,y_m\n0,0,1,north\n", "line 2: y_m = 'north' is not a number"),
        ("node,time_s,x_m,y_m\n0,0,1,nan\n", "line 2: y_m = 'nan' is not finite"),
        ("node,time_s,x_m,y_m\n0.5,0,1,1\n", "line 2: node = '0.5' is not a number"),
    ],
)
def test_a_bad_trace_names_its_line(text, match):
    with pytest.raises(ValueError, match=match):
        read_traces(text, 2)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Area("triangle", 1.0),
        lambda: Area("disc", 0.0),
        lambda: RandomWaypoint(AREA, (0.0, 2.0)),
        lambda: RandomWaypoint(AREA, (3.0, 2.0)),
        lambda: RandomWaypoint(AREA, (1.0, 2.0), (-1.0, 2.0)),
        lambda: Trace([0.0, 1.0, 1.0], [(0, 0, 0)] * 3),
    ],
)
def test_bad_parameters_are_refused(build):
    with pytest.raises(ValueError, match="needed|increase"):
        build()


def test_time_starts_at_zero():
    for positions in (_walkers(1), Positions([Static((0, 0, 0))])):
        with pytest.raises(ValueError, match="time starts at 0"):
            positions.at(np.array([0]), -1.0)
