"""Random waypoint without pauses in a disc: stationary density and mean speed.

    f(r) = 45 (1 - r^2) / (64 pi) * int_0^pi sqrt(1 - r^2 cos^2 phi) d phi        over the unit disc

Hyytia, Lassila, Virtamo, "Spatial node distribution of the random waypoint mobility model with applications", IEEE Trans. Mobile
Computing 2006. Mean speed (v_max - v_min)/ln(v_max/v_min): Navidi, Camp, IEEE Trans. Mobile Computing 2004.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from channels.mobility import Area, Positions, RandomWaypoint
from wsim.validation.comparison import Comparison, of_samples

NUM_WALKERS = 6000
RADIUS_M, SPEEDS_MPS, LATER_S = 100.0, (1.0, 4.0), 300.0
RADII = (0.3, 0.6, 0.85)


def comparisons(effort: int) -> Iterator[Comparison]:
    walk = RandomWaypoint(Area("disc", RADIUS_M), SPEEDS_MPS)
    num = NUM_WALKERS * effort
    positions = Positions([walk.path(np.random.default_rng([11, i])) for i in range(num)])
    nodes = np.arange(num)
    edges = np.linspace(0, 1, 1001)
    middle = (edges[1:] + edges[:-1]) / 2
    phi = (np.arange(1000) + 0.5) * np.pi / 1000
    density = 45 * (1 - middle**2) / 64 * np.sqrt(1 - np.multiply.outer(middle**2, np.cos(phi) ** 2)).mean(axis=1)
    within = np.cumsum(2 * np.pi * middle * density / 1000)
    for t_s in (0.0, LATER_S):
        radius = np.hypot(*positions.at(nodes, t_s)[:, :2].T) / RADIUS_M
        for r in RADII:
            quantity = f"share within {r:g} R at {t_s:g} s"
            inside = (radius < r).astype(np.float64)
            yield of_samples("random waypoint", quantity, inside, within[round(r * 1000) - 1], 0.02)
    path = positions.travelled_m(nodes, np.array([LATER_S, LATER_S + 10.0]))
    low, high = SPEEDS_MPS
    speed = (path[:, 1] - path[:, 0]) / 10.0
    yield of_samples("random waypoint", "mean speed, m/s", speed, (high - low) / np.log(high / low), 0.05)
