"""Gauss-Markov mobility: a velocity that remembers itself, in an area whose edge turns walkers back.

Liang, Haas, "Predictive distance-based mobility management for PCS networks", IEEE INFOCOM 1999: the velocity, a vector, is
the discrete Ornstein-Uhlenbeck process

    v_{k+1} = a v_k + (1 - a) m + s sqrt(1 - a^2) N_k            N_k: two independent standard normal numbers

held for one step, so that each component has the autocorrelation s^2 a^lag around its mean m. (Camp, Boleng, Davies 2002 and
the simulators that follow them let speed and direction be such processes instead, and steer away from the edge: not this.)

At the edge velocity and mean are reflected alike. The start is drawn from the stationary law of the velocity, m + s N with a
direction of m of the node's own, uniform; a walker placed uniformly over the area stays uniform at all times, because free
flight with mirror reflection keeps the density of places and velocities, and the step keeps the law of the velocity.

Along the edge of a disc a mirror would turn a grazing walker back ever more often, without end for one that moves along the
tangent. Whoever would meet the edge again within update_s / MOST_MEETINGS is turned inward by the small angle that this takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from .area import Area
from .bounds import Bounds, DurationS, SpeedMps
from .legs import ForwardPath, Leg

MOST_SPREADS = 5.0
"""A velocity that is further from its mean is drawn in to this many s: once in 270,000 steps; paths have a largest speed."""

MOST_MEETINGS = 10_000
"""With the edge of a disc, in a step, but where the disc is crossed more often than that."""


@dataclass(frozen=True)
class GaussMarkov:
    """Gauss-Markov walk: the velocity keeps the share `memory` of itself from step to step; starts where it is placed.

    mean_speed_mps: length of m, the mean velocity; its direction is the device's own, and turns with reflections.
    spread_mps: s, standard deviation of each component of the velocity around m.
    memory: a, from 0 (a new velocity each step) to below 1; exp(-update_s / T) for a correlation time T.
    update_s: length of a step.
    """

    chooses_start: ClassVar[bool] = False

    area: Area
    mean_speed_mps: SpeedMps = 0.0
    spread_mps: SpeedMps = 1.0
    memory: Annotated[float, Bounds(0.0, 1.0, "the memory has no unit", below=True)] = 0.9
    update_s: DurationS = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory = {self.memory}: 0 <= memory < 1 is needed")
        if not (math.isfinite(self.update_s) and self.update_s > 0):
            raise ValueError(f"update_s = {self.update_s}: a positive number of seconds is needed")
        for key in ("mean_speed_mps", "spread_mps"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key} = {getattr(self, key)}: 0 or a positive number of m/s is needed")

    def path(self, rng: np.random.Generator, start_m: Sequence[float]) -> ForwardPath:
        """This model for one node from (x, y, z); the generator must be the node's own and is left to the path."""
        max_speed_mps = self.mean_speed_mps + MOST_SPREADS * self.spread_mps
        return ForwardPath(lambda: self._legs(rng, start_m), rng, max_speed_mps)

    def _legs(self, rng: np.random.Generator, start_m: Sequence[float]) -> Iterator[Leg]:
        x, y, z = start_m
        angle = 2 * math.pi * rng.random()
        mean_x, mean_y = self.mean_speed_mps * math.cos(angle), self.mean_speed_mps * math.sin(angle)
        off_x, off_y = (self.spread_mps * rng.standard_normal(2)).tolist()  # v - m
        new = self.spread_mps * math.sqrt(1 - self.memory**2)
        travelled_m, step = 0.0, 0
        while True:
            t, end = step * self.update_s, (step + 1) * self.update_s
            while t < end:
                length = math.hypot(off_x, off_y)
                kept = min(1.0, MOST_SPREADS * self.spread_mps / length) if length else 0.0
                vx, vy = mean_x + kept * off_x, mean_y + kept * off_y
                until_wall, nx, ny = self.area.wall(x, y, vx, vy)
                stop = min(end, t + until_wall)
                if stop > t:
                    speed = math.hypot(vx, vy)
                    yield Leg(t, stop, x, y, z, vx, vy, 0.0, travelled_m, speed)
                    x, y, travelled_m = x + vx * (stop - t), y + vy * (stop - t), travelled_m + speed * (stop - t)
                if stop < end:
                    mean_x, mean_y = _reflected(mean_x, mean_y, nx, ny)
                    off_x, off_y = _reflected(off_x, off_y, nx, ny)
                    if self.area.shape == "disc":
                        turn = self._inward(complex(mean_x + kept * off_x, mean_y + kept * off_y), complex(nx, ny))
                        if turn != 1:
                            mean_x, mean_y = _turned(mean_x, mean_y, turn)
                            off_x, off_y = _turned(off_x, off_y, turn)
                t = stop
            n_x, n_y = rng.standard_normal(2).tolist()
            off_x, off_y = self.memory * off_x + new * n_x, self.memory * off_y + new * n_y
            step += 1

    def _inward(self, velocity: complex, normal: complex) -> complex:
        """The turn, of length 1, after which a walker at the edge of a disc meets it again in update_s / MOST_MEETINGS at the
        earliest: its chord takes 2 R w / |v|^2 seconds, w its speed inward. 1 where the velocity does so by itself.

        velocity: as complex numbers, after the reflection; normal: outward, of length 1
        """
        speed = abs(velocity)
        along = velocity / normal  # real part: outward, imaginary part: along the edge
        inward = min(speed**2 * self.update_s / (2 * self.area.size_m * MOST_MEETINGS), speed)
        if -along.real >= inward:
            return 1
        return complex(-inward, math.copysign(math.sqrt(speed**2 - inward**2), along.imag)) / along


def _turned(vx: float, vy: float, turn: complex) -> tuple[float, float]:
    turned = complex(vx, vy) * turn
    return turned.real, turned.imag


def _reflected(vx: float, vy: float, nx: float, ny: float) -> tuple[float, float]:
    twice = 2 * (vx * nx + vy * ny)
    return vx - twice * nx, vy - twice * ny
