"""Gauss-Markov mobility: autocorrelation and stationary law of the velocity, and places in an area whose edge turns walkers back.

Each component has the autocovariance s^2 a^lag around the mean velocity, so that E|v|^2 = |m|^2 + 2 s^2 at every time (Liang,
Haas 1999, see `channels.gauss_markov`); a walker placed uniformly over the area stays uniform: E r^2 = R^2/2 in a disc.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from channels.mobility import Area, GaussMarkov, Positions
from wsim.validation.comparison import Comparison, of_samples

NUM_WALKERS, NUM_STEPS = 2000, 32
MEAN_MPS, SPREAD_MPS, MEMORY, UPDATE_S = 2.0, 1.5, 0.8, 0.5
LAGS = (1, 3, 8)
NUM_INSIDE, RADIUS_M, LATER_S = 8000, 40.0, 20.0


def comparisons(effort: int) -> Iterator[Comparison]:
    num = NUM_WALKERS * effort
    walk = GaussMarkov(Area("square", 1e7), MEAN_MPS, SPREAD_MPS, MEMORY, UPDATE_S)  # nobody comes to the edge
    positions = Positions([walk.path(np.random.default_rng([12, i]), (0.0, 0.0, 1.5)) for i in range(num)])
    at = positions.at(np.arange(num), np.arange(NUM_STEPS + 1, dtype=np.float64) * UPDATE_S)[..., :2]
    v = np.diff(at, axis=1) / UPDATE_S  # [num, NUM_STEPS, 2]
    direction = np.array([2 * np.pi * np.random.default_rng([12, i]).random() for i in range(num)])  # drawn first
    off = v - MEAN_MPS * np.stack([np.cos(direction), np.sin(direction)], axis=-1)[:, None]
    name = "Gauss-Markov"
    for lag in LAGS:
        products = (off[:, :-lag] * off[:, lag:]).mean(axis=(1, 2)) / SPREAD_MPS**2
        yield of_samples(name, f"autocorrelation of a component, {lag} steps", products, MEMORY**lag, 0.04)
    squared = np.square(v).sum(axis=-1)
    expected = MEAN_MPS**2 + 2 * SPREAD_MPS**2
    for what, samples in (("first", squared[:, 0]), ("last", squared[:, -1])):
        yield of_samples(name, f"mean squared speed in the {what} step, m^2/s^2", samples, expected, 0.07 * expected)
    speed = np.sqrt(squared[:, -1])  # of a Rice law: E|v| from its own variance, E|v|^2 - (E|v|)^2
    variance = np.square(speed - speed.mean())
    yield of_samples(name, "variance of the speed, m^2/s^2", variance, _rice_variance(), 0.12 * _rice_variance())
    area = Area("disc", RADIUS_M)
    walk = GaussMarkov(area, MEAN_MPS, SPREAD_MPS, MEMORY, 2 * UPDATE_S)
    num = NUM_INSIDE * effort
    starts = [area.draw(np.random.default_rng([13, 1, i])) for i in range(num)]
    positions = Positions([walk.path(np.random.default_rng([13, i]), (*start, 1.5)) for i, start in enumerate(starts)])
    r = np.hypot(*positions.at(np.arange(num), LATER_S)[:, :2].T) / RADIUS_M
    yield of_samples(name, f"mean squared radius in a disc at {LATER_S:g} s, over R^2", r**2, 0.5, 0.01)


def _rice_variance() -> float:
    """2 s^2 + m^2 - (s sqrt(pi/2) L_1/2(-m^2/(2 s^2)))^2."""
    from scipy.special import hyp1f1

    mean = SPREAD_MPS * np.sqrt(np.pi / 2) * hyp1f1(-0.5, 1, -(MEAN_MPS**2) / (2 * SPREAD_MPS**2))
    return float(2 * SPREAD_MPS**2 + MEAN_MPS**2 - mean**2)
