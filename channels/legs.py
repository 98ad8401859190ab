"""A path as a sequence of straight legs at constant speed, and the path that never moves.

A query finds its leg and evaluates

    position = start + velocity (t - t_start),        travelled = before + speed (t - t_start)

so that the answer is the same bits whether one time or a thousand are asked for, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol


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


class Static:
    """A node that stays where it is."""

    max_speed_mps = 0.0

    def __init__(self, position_m: Sequence[float]) -> None:
        """position_m: x, y, z."""
        x, y, z = (float(v) for v in position_m)
        self._leg = Leg(0.0, math.inf, x, y, z, 0.0, 0.0, 0.0, 0.0, 0.0)

    def leg_at(self, t_s: float) -> Leg:
        return self._leg
