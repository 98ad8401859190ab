"""Random waypoint mobility, started in its stationary law.

Navidi, Camp, "Stationary distributions for the random waypoint mobility model", IEEE Trans. Mobile Computing 2004.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .area import Area
from .bounds import DurationOrZeroS, SpeedMps
from .legs import ForwardPath, Leg, Path, leg_between
from .static import Static


@dataclass(frozen=True)
class RandomWaypoint:
    """Random waypoint: walk to a uniform point at a uniform speed, pause for a uniform time, repeat.

    speed_mps: (lowest, highest); the lowest is positive, or the mean speed would decay for ever; both 0: stands still.
    pause_s: (lowest, highest).
    height_m: z of the whole path.

    Starts in its stationary law: Navidi, Camp, "Stationary distributions for the random waypoint mobility model", IEEE Trans.
    Mobile Computing 2004. At t = 0 the node pauses with probability E[pause]/(E[pause] + E[walk]); else it is uniformly
    along a leg chosen with probability proportional to its length, at a speed of density proportional to 1/v. The mean speed
    while walking is then (v_max - v_min)/ln(v_max/v_min) at all times.
    """

    chooses_start: ClassVar[bool] = True

    area: Area
    speed_mps: tuple[SpeedMps, SpeedMps]
    pause_s: tuple[DurationOrZeroS, DurationOrZeroS] = (0.0, 0.0)
    height_m: float = 1.5

    def __post_init__(self) -> None:
        low, high = self.speed_mps
        if low == 0 < high:
            says = "a lowest speed of 0 makes more and more walkers stand still for ever; above 0, or [0, 0], is needed"
            raise ValueError(f"speed_mps = {[low, high]}: {says}")
        if not (0 <= low <= high < math.inf):
            raise ValueError(f"speed_mps = {[low, high]}: [lowest, highest] is needed, lowest first")
        low, high = self.pause_s
        if not (0 <= low <= high < math.inf):
            raise ValueError(f"pause_s = {[low, high]}: [lowest, highest] is needed, lowest first")

    def path(self, rng: np.random.Generator) -> Path:
        """This model for one node; the generator must be the node's own and is left to the path."""
        if self.speed_mps[1] == 0:
            return Static((*self.area.draw(rng), self.height_m))
        return ForwardPath(lambda: self._legs(rng), rng, self.speed_mps[1])

    def _legs(self, rng: np.random.Generator) -> Iterator[Leg]:
        area, z = self.area, self.height_m
        (v_min, v_max), (p_min, p_max) = self.speed_mps, self.pause_s
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
