"""Random waypoint mobility, started in its stationary law.

Navidi, Camp, "Stationary distributions for the random waypoint mobility model", IEEE Trans. Mobile Computing 2004. Legs are
generated forward from the node's own generator; the last ones are kept, and the path is replayed from the generator's initial
state if an earlier time is asked for: the answer does not depend on who asks, and memory does not grow with simulated time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .legs import Leg, leg_between

KEPT_LEGS = 8


@dataclass(frozen=True)
class Area:
    """Where random paths run: a disc of radius size_m, or a square of side size_m, centered at the origin."""

    shape: str
    size_m: float

    def __post_init__(self) -> None:
        if self.shape not in ("disc", "square"):
            raise ValueError(f'area shape = {self.shape!r}: "disc" or "square" is needed')
        if not (math.isfinite(self.size_m) and self.size_m > 0):
            raise ValueError(f"area size_m = {self.size_m}: a positive number of meters is needed")

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """A uniformly distributed point."""
        u, v = rng.random(2).tolist()
        if self.shape == "square":
            return (u - 0.5) * self.size_m, (v - 0.5) * self.size_m
        radius = self.size_m * math.sqrt(u)
        return radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)

    @property
    def diameter_m(self) -> float:
        return 2 * self.size_m if self.shape == "disc" else math.sqrt(2) * self.size_m

    @property
    def mean_distance_m(self) -> float:
        """Mean distance of two uniform points: 128 R/(45 pi) in a disc; (2 + sqrt 2 + 5 asinh 1)/15 of the side in a square."""
        if self.shape == "disc":
            return 128 / (45 * math.pi) * self.size_m
        return (2 + math.sqrt(2) + 5 * math.asinh(1)) / 15 * self.size_m


@dataclass(frozen=True)
class RandomWaypoint:
    """Random waypoint: walk to a uniform point at a uniform speed, pause for a uniform time, repeat.

    speed_mps, pause_s: (lowest, highest); the lowest speed is positive, or the mean speed would decay for ever
    height_m: z of the whole path

    Starts in its stationary law: Navidi, Camp, "Stationary distributions for the random waypoint mobility model", IEEE Trans.
    Mobile Computing 2004. At t = 0 the node pauses with probability E[pause]/(E[pause] + E[walk]); else it is uniformly
    along a leg chosen with probability proportional to its length, at a speed of density proportional to 1/v. The mean speed
    while walking is then (v_max - v_min)/ln(v_max/v_min) at all times.
    """

    area: Area
    speed_mps: tuple[float, float]
    pause_s: tuple[float, float] = (0.0, 0.0)
    height_m: float = 1.5

    def __post_init__(self) -> None:
        low, high = self.speed_mps
        if not (0 < low <= high < math.inf):
            raise ValueError(f"random waypoint speed_mps = {[low, high]}: 0 < lowest <= highest is needed")
        low, high = self.pause_s
        if not (0 <= low <= high < math.inf):
            raise ValueError(f"random waypoint pause_s = {[low, high]}: 0 <= lowest <= highest is needed")

    def path(self, rng: np.random.Generator) -> RandomWaypointPath:
        """This model for one node; the generator must be the node's own and is left to the path."""
        return RandomWaypointPath(self, rng)


class RandomWaypointPath:
    """The path of one node, generated when asked for."""

    def __init__(self, model: RandomWaypoint, rng: np.random.Generator) -> None:
        self.model = model
        self.max_speed_mps = model.speed_mps[1]
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

    def _legs(self) -> Iterator[Leg]:
        rng, area, z = self._rng, self.model.area, self.model.height_m
        (v_min, v_max), (p_min, p_max) = self.model.speed_mps, self.model.pause_s
        mean_slowness = math.log(v_max / v_min) / (v_max - v_min) if v_max > v_min else 1 / v_min  # E[1/v]
        mean_pause = (p_min + p_max) / 2
        t, before = 0.0, 0.0
        if rng.random() < mean_pause / (mean_pause + mean_slowness * area.mean_distance_m):
            here = area.draw(rng)
            pause = math.sqrt(p_min**2 + rng.random() * (p_max**2 - p_min**2)) * rng.random()  # residual, length-biased
        else:
            while True:
                start, end = area.draw(rng), area.draw(rng)
                if rng.random() * area.diameter_m < math.dist(start, end):
                    break
            along = rng.random()
            here = (start[0] + along * (end[0] - start[0]), start[1] + along * (end[1] - start[1]))
            speed = v_min * (v_max / v_min) ** rng.random()
            arrival = t + math.dist(here, end) / speed
            if arrival > t:
                yield leg_between(t, arrival, (*here, z), (*end, z), before)
                before += math.dist(here, end)
                t = arrival
            here = end
            pause = p_min + rng.random() * (p_max - p_min)
        while True:
            if t + pause > t:
                yield Leg(t, t + pause, *here, z, 0.0, 0.0, 0.0, before, 0.0)
                t += pause
            end = area.draw(rng)
            arrival = t + math.dist(here, end) / (v_min + rng.random() * (v_max - v_min))
            if arrival > t:
                yield leg_between(t, arrival, (*here, z), (*end, z), before)
                before += math.dist(here, end)
                t = arrival
            here = end
            pause = p_min + rng.random() * (p_max - p_min)
