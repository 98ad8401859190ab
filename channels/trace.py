"""A path of given points in time, straight lines between them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from .legs import Leg, leg_between


class Trace:
    """Given points in time, straight lines between them; after the last point the node stays there."""

    def __init__(self, times_s: Sequence[float], points_m: Sequence[Sequence[float]]) -> None:
        """times_s: k increasing times, the first one 0; points_m: k points (x, y, z)."""
        if not times_s or times_s[0] != 0:
            raise ValueError(f"trace starts at {times_s[0] if times_s else None} s: it must start at 0")
        self._legs: list[Leg] = []
        before = 0.0
        for i in range(len(times_s) - 1):
            if not times_s[i + 1] > times_s[i]:
                raise ValueError(f"trace time {times_s[i + 1]} s follows {times_s[i]} s: times must increase")
            self._legs.append(leg_between(times_s[i], times_s[i + 1], points_m[i], points_m[i + 1], before))
            before += math.dist(points_m[i], points_m[i + 1])
        x, y, z = points_m[-1]
        self._legs.append(Leg(times_s[-1], math.inf, x, y, z, 0.0, 0.0, 0.0, before, 0.0))
        self._starts = [leg.start_s for leg in self._legs]
        self.max_speed_mps = max(leg.speed_mps for leg in self._legs)

    def points(self) -> Iterator[tuple[float, tuple[float, float, float]]]:
        """The points in time, as they were given: (t_s, (x, y, z))."""
        for leg in self._legs:
            yield leg.start_s, (leg.x_m, leg.y_m, leg.z_m)

    def leg_at(self, t_s: float) -> Leg:
        if t_s < 0:
            raise ValueError(f"position asked for at t = {t_s} s: time starts at 0")
        return self._legs[bisect_right(self._starts, t_s) - 1]
