"""Manhattan: on the streets, uniform along them, turning as often as asked."""

import numpy as np
import pytest

from channels.mobility import Area, Manhattan, Positions

MODEL = Manhattan(Area("square", 300.0), 100.0, (8.0, 16.0), height_m=1.6)
NUM_NODES = 2400
NUM_SEGMENTS = 24  # 4 streets of 3 blocks, each way


@pytest.fixture(scope="module")
def cars():
    return Positions([MODEL.path(np.random.default_rng([9, i])) for i in range(NUM_NODES)])


def _segments(at):
    """The number of each place's block, and how far along it is, from 0 to 1."""
    across = np.abs((at[:, :2] + 150) / 100 - np.round((at[:, :2] + 150) / 100)) * 100
    vertical = across[:, 0] <= across[:, 1]  # x is that of a street
    assert np.minimum(across[:, 0], across[:, 1]).max() < 1e-9
    along = np.where(vertical, at[:, 1], at[:, 0]) / 100 + 1.5
    street = np.round(np.where(vertical, at[:, 0], at[:, 1]) / 100 + 1.5).astype(int)
    block = np.clip(np.floor(along), 0, 2).astype(int)
    return vertical * 12 + street * 3 + block, along - block


@pytest.mark.parametrize("t_s", [0.0, 31.7, 250.0])
def test_cars_are_uniform_along_the_streets(cars, t_s):
    """Counts of the 24 blocks and the mean and spread of the place along them, 4.5 standard errors of independent cars."""
    at = cars.at(np.arange(NUM_NODES), t_s)
    assert (at[:, 2] == 1.6).all()
    assert abs(at[:, :2]).max() <= 150 + 1e-9
    segment, along = _segments(at)
    p = 1 / NUM_SEGMENTS
    counts = np.bincount(segment, minlength=NUM_SEGMENTS)
    assert abs(counts - NUM_NODES * p).max() < 4.5 * np.sqrt(NUM_NODES * p * (1 - p))
    assert abs(along.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / NUM_NODES)
    assert abs(along.var() - 1 / 12) < 4.5 * np.sqrt(1 / 180 / NUM_NODES)  # var of (u - 1/2)^2 is 1/180


@pytest.mark.parametrize("t_s", [0.0, 100.0])
def test_speed_is_stationary(cars, t_s):
    """A uniform draw a block, seen at a time: mean (v1 - v0)/ln(v1/v0) = 8/ln 2 = 11.542 m/s; 4.5 standard errors."""
    nodes = np.arange(NUM_NODES)
    speed = (cars.travelled_m(nodes, t_s + 1e-4) - cars.travelled_m(nodes, t_s)) / 1e-4
    assert abs(speed.mean() - 8 / np.log(2)) < 4.5 * speed.std() / np.sqrt(NUM_NODES)


@pytest.mark.parametrize("turn_probability", [0.0, 0.5, 0.9])
def test_turns_at_inner_junctions_are_as_likely_as_asked(turn_probability):
    model = Manhattan(Area("square", 400.0), 100.0, (10.0, 10.0), turn_probability)
    path = model.path(np.random.default_rng(4))
    legs = [path.leg_at(10.0 * k + 5.0) for k in range(4000)]
    angles = []
    for before, after in zip(legs, legs[1:]):
        if max(abs(after.x_m), abs(after.y_m)) < 150:
            cross = before.vx_mps * after.vy_mps - before.vy_mps * after.vx_mps
            dot = before.vx_mps * after.vx_mps + before.vy_mps * after.vy_mps
            assert dot > -1  # nobody turns round
            angles.append(round(np.degrees(np.arctan2(cross, dot))))
    n = len(angles)
    assert set(angles) <= {0, 90, -90}
    assert n > 800
    for angle, share in ((0, 1 - turn_probability), (90, turn_probability / 2), (-90, turn_probability / 2)):
        found = sum(a == angle for a in angles) / n
        assert abs(found - share) <= 4.5 * np.sqrt(share * (1 - share) / n)


def test_the_path_is_continuous_and_does_not_depend_on_who_asks(cars):
    t_s = np.linspace(0, 300, 3001)
    at = cars.at(np.arange(20), t_s)
    assert np.linalg.norm(np.diff(at, axis=1), axis=-1).max() <= 16.0 * 0.1 + 1e-9
    other = Positions([MODEL.path(np.random.default_rng([9, i])) for i in range(20)])
    for k in np.random.default_rng(0).permutation(3001)[:100].tolist():
        np.testing.assert_array_equal(other.at(np.arange(20), float(t_s[k])), at[:, k])
