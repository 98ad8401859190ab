"""Manhattan mobility: uniform along the streets at all times, turns at junctions, and the mean speed.

A grid of n by n blocks has 2 n (n + 1) blocks of street, 4 n of them along the rim: so much of the time is spent there, and every
part of a block is as likely as another. Inside, straight on with probability 1 - p, left and right with p/2 each; at the rim
one of the two ways that are there with 1/2. Speeds drawn uniformly for every block: (v_max - v_min)/ln(v_max/v_min) on average
over time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from channels.mobility import Area, Manhattan, Positions
from wsim.validation.comparison import Comparison, of_samples

NUM_WALKERS, NUM_BLOCKS, BLOCK_M = 8000, 4, 100.0
SPEEDS_MPS, TURN_PROBABILITY, LATER_S = (5.0, 15.0), 0.4, 120.0
NEAR = 0.1  # of a block, from the junction
NUM_TURNING, NUM_TURNS = 1000, 40

Floats = NDArray[np.float64]


def comparisons(effort: int) -> Iterator[Comparison]:
    walk = Manhattan(Area("square", NUM_BLOCKS * BLOCK_M), BLOCK_M, SPEEDS_MPS, TURN_PROBABILITY)
    num = NUM_WALKERS * effort
    positions = Positions([walk.path(np.random.default_rng([14, i])) for i in range(num)])
    nodes = np.arange(num)
    for t_s in (0.0, LATER_S):
        streets = np.abs(positions.at(nodes, t_s)[:, :2]) / BLOCK_M  # 0, 1, 2 = NUM_BLOCKS / 2 on a street of that axis
        along = np.abs(streets - np.round(streets)).max(axis=1)  # to the nearest junction, in blocks
        on_rim = (np.abs(streets - NUM_BLOCKS / 2) < 1e-9).any(axis=1)
        yield of_samples("Manhattan", f"share on the rim at {t_s:g} s", _numbers(on_rim), 2 / (NUM_BLOCKS + 1), 0.02)
        quantity = f"share within {NEAR:g} blocks of a junction at {t_s:g} s"
        yield of_samples("Manhattan", quantity, _numbers(along < NEAR), 2 * NEAR, 0.02)
    path = positions.travelled_m(nodes, np.array([LATER_S, LATER_S + 10.0]))
    low, high = SPEEDS_MPS
    speed = (path[:, 1] - path[:, 0]) / 10.0
    yield of_samples("Manhattan", "mean speed, m/s", speed, (high - low) / np.log(high / low), 0.15)
    inside, rim = _turns(walk, NUM_TURNING * effort)
    straight, left = _numbers(np.abs(inside) < 0.5), _numbers(inside > 0.5)
    yield of_samples("Manhattan", "straight on at junctions inside", straight, 1 - TURN_PROBABILITY, 0.02)
    yield of_samples("Manhattan", "left at junctions inside", left, TURN_PROBABILITY / 2, 0.02)
    yield of_samples("Manhattan", "straight on along the rim", _numbers(np.abs(rim) < 0.5), 0.5, 0.03)


def _turns(walk: Manhattan, num_walkers: int) -> tuple[Floats, Floats]:
    """Sines of the turns taken at junctions inside, and where who comes along the rim may also go straight on: 1 is left."""
    inside, rim = [], []
    half = NUM_BLOCKS / 2
    for i in range(num_walkers):
        path = walk.path(np.random.default_rng([15, i]))
        leg = path.leg_at(0.0)
        for _ in range(NUM_TURNS):
            after = path.leg_at(leg.end_s)
            sine = (leg.vx_mps * after.vy_mps - leg.vy_mps * after.vx_mps) / (leg.speed_mps * after.speed_mps)
            x, y = abs(after.x_m) / BLOCK_M, abs(after.y_m) / BLOCK_M
            if max(x, y) < half - 0.5:
                inside.append(sine)
            elif min(x, y) < half - 0.5 and abs(leg.vx_mps if y > x else leg.vy_mps) > 0.5:
                rim.append(sine)
            leg = after
    return np.array(inside), np.array(rim)


def _numbers(flags: NDArray[np.bool_] | np.bool_) -> Floats:
    return np.asarray(flags, dtype=np.float64)
