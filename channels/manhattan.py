"""Manhattan mobility: along the streets of a square grid, from junction to junction.

Bai, Sadagopan, Helmy, "IMPORTANT: a framework to systematically analyze the impact of mobility on performance of routing
protocols for ad hoc networks", IEEE INFOCOM 2003; ETSI TR 101 112 (UMTS 30.03) B.1.4.3 for pedestrians: at a junction straight
on with probability 1/2, left or right with 1/4 each.

At the rim, where one way is missing, the other two are equally likely, and in a corner there is one way only; nobody turns
round. Seen over all junctions each way in is then as likely as each way out, so that every street carries the same flow. The
speed is drawn anew for each block. A node starts in the stationary law of this walk: on a block drawn uniformly, uniformly
along it, in either direction, at a speed of density proportional to 1/v; it is uniform along the streets at all times.

Left out: lanes, traffic lights, queues, acceleration, and vehicles that keep their distance; take a trace for these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from .area import Area
from .bounds import Bounds, DistanceM, SpeedMps
from .legs import ForwardPath, Leg, leg_between

DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Counterclockwise: one further is left, one back is right."""


@dataclass(frozen=True)
class Manhattan:
    """Manhattan grid: along streets block_m apart, both edges of the square area among them.

    block_m: distance between streets; the area's side is a whole number of blocks.
    speed_mps: (lowest, highest), drawn anew for every block.
    turn_probability: of turning, left or right alike, where one may also go straight on.
    """

    chooses_start: ClassVar[bool] = True

    area: Area
    block_m: DistanceM
    speed_mps: tuple[SpeedMps, SpeedMps]
    turn_probability: Annotated[float, Bounds(0.0, 1.0, "probabilities have no unit")] = 0.5
    height_m: float = 1.5

    def __post_init__(self) -> None:
        if self.area.shape != "square":
            raise ValueError(f'area = {self.area.shape}: streets need [area] shape = "square"')
        blocks = self.area.size_m / self.block_m if self.block_m > 0 else 0.0
        if not (round(blocks) >= 1 and abs(blocks - round(blocks)) < 1e-6):
            says = f"the area's side, {self.area.size_m:g} m, has to be a whole number of blocks"
            raise ValueError(f"block_m = {self.block_m}: {says}")
        low, high = self.speed_mps
        if not (0 < low <= high < math.inf):
            raise ValueError(f"speed_mps = {[low, high]}: 0 < lowest <= highest is needed")
        if not 0 <= self.turn_probability <= 1:
            raise ValueError(f"turn_probability = {self.turn_probability}: a number from 0 to 1 is needed")

    @property
    def num_blocks(self) -> int:
        """Along one side."""
        return round(self.area.size_m / self.block_m)

    def path(self, rng: np.random.Generator) -> ForwardPath:
        """This model for one node; the generator must be the node's own and is left to the path."""
        return ForwardPath(lambda: self._legs(rng), rng, self.speed_mps[1])

    def _legs(self, rng: np.random.Generator) -> Iterator[Leg]:
        low, high = self.speed_mps
        across, along = int(rng.integers(self.num_blocks + 1)), int(rng.integers(self.num_blocks))
        heading = int(rng.integers(4))
        dx, dy = DIRECTIONS[heading]
        # the block's end at the lower coordinate, then the junction that the node left
        i, j = (along, across) if dx else (across, along)
        if dx + dy < 0:
            i, j = i - dx, j - dy
        left_behind = float(rng.random())
        speed = low * (high / low) ** float(rng.random())
        x, y = self._place(i, j)
        here = (x + dx * left_behind * self.block_m, y + dy * left_behind * self.block_m)
        t, travelled_m = 0.0, 0.0
        while True:
            i, j = i + dx, j + dy
            there = self._place(i, j)
            arrival = t + math.dist(here, there) / speed
            if arrival > t:
                yield leg_between(t, arrival, (*here, self.height_m), (*there, self.height_m), travelled_m)
                travelled_m += math.dist(here, there)
                t = arrival
            here = there
            heading = self._next(i, j, heading, float(rng.random()))
            dx, dy = DIRECTIONS[heading]
            speed = low + float(rng.random()) * (high - low)

    def _place(self, i: int, j: int) -> tuple[float, float]:
        side = self.area.size_m
        return side * (i / self.num_blocks - 0.5), side * (j / self.num_blocks - 0.5)

    def _next(self, i: int, j: int, heading: int, draw: float) -> int:
        """The way out of junction (i, j) for who comes in by `heading`; draw: uniform over [0, 1)."""
        n = self.num_blocks
        ways = []
        for turn in (0, 1, 3):  # straight on, left, right
            dx, dy = DIRECTIONS[(heading + turn) % 4]
            if 0 <= i + dx <= n and 0 <= j + dy <= n:
                ways.append((heading + turn) % 4)
        if len(ways) < 3:
            return ways[int(draw * len(ways))]
        if draw >= self.turn_probability:
            return ways[0]
        return ways[1] if draw < self.turn_probability / 2 else ways[2]
