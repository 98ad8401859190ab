"""A path as a sequence of straight legs at constant speed, and a path of legs drawn one by one.

A query finds its leg and evaluates

    position = start + velocity (t - t_start),        travelled = before + speed (t - t_start)

so that the answer is the same bits whether one time or a thousand are asked for, in any order.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

KEPT_LEGS = 8


class Leg(NamedTuple):
    """From start_s until the next leg's start_s: a straight line at constant speed (0: a pause)."""

    start_s: float
    end_s: float
    x_m: float
    y_m: float
    z_m: float
    vx_mps: float
    vy_mps: float
    vz_mps: float
    travelled_m: float
    speed_mps: float


def leg_between(
    start_s: float, end_s: float, start_m: Sequence[float], end_m: Sequence[float], travelled_m: float
) -> Leg:
    """The leg from one point (x, y, z) at one time to another at a later time."""
    duration_s = end_s - start_s
    x, y, z = start_m
    vx, vy, vz = ((b - a) / duration_s for a, b in zip(start_m, end_m))
    return Leg(start_s, end_s, x, y, z, vx, vy, vz, travelled_m, math.sqrt(vx * vx + vy * vy + vz * vz))


class Path(Protocol):
    """One node's movement."""

    max_speed_mps: float

    def leg_at(self, t_s: float) -> Leg:
        """The leg with start_s <= t_s < end_s, for t_s >= 0."""


class ForwardPath:
    """A path whose legs are drawn one after the other, when asked for.

    The last ones are kept, and the path is replayed from the generator's initial state if an earlier time is asked for: the
    answer does not depend on who asks, and memory does not grow with simulated time.
    """

    def __init__(self, legs: Callable[[], Iterator[Leg]], rng: np.random.Generator, max_speed_mps: float) -> None:
        """legs: begins the endless sequence of legs anew, drawing from `rng`, which is the path's own."""
        self.max_speed_mps = max_speed_mps
        self._legs = legs
        self._rng = rng
        self._initial_state = rng.bit_generator.state
        self._restart()

    def _restart(self) -> None:
        self._rng.bit_generator.state = self._initial_state
        self._source = self._legs()
        self._kept: list[Leg] = [next(self._source)]
        self._starts = [0.0]

    def leg_at(self, t_s: float) -> Leg:
        if t_s < self._starts[0]:
            if t_s < 0:
                raise ValueError(f"position asked for at t = {t_s} s: time starts at 0")
            self._restart()
        while t_s >= self._kept[-1].end_s:
            leg = next(self._source)
            self._kept.append(leg)
            self._starts.append(leg.start_s)
            if len(self._kept) > 2 * KEPT_LEGS:
                del self._kept[:KEPT_LEGS], self._starts[:KEPT_LEGS]
        return self._kept[bisect_right(self._starts, t_s) - 1]
