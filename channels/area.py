"""Where random paths run: a disc or a square around the origin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Area:
    """A disc of radius size_m, or a square of side size_m, centered at the origin."""

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

    def wall(self, x: float, y: float, vx: float, vy: float) -> tuple[float, float, float]:
        """When a straight line from (x, y) inside the area at this velocity meets its edge, and the outward normal there.

        Returns (duration_s, normal_x, normal_y); infinity and zeros for who stands still.
        """
        if self.shape == "disc":
            squared = vx * vx + vy * vy
            if squared == 0:
                return math.inf, 0.0, 0.0
            along, outside = x * vx + y * vy, x * x + y * y - self.size_m**2
            duration_s = max((math.sqrt(max(along * along - squared * outside, 0.0)) - along) / squared, 0.0)
            nx, ny = x + vx * duration_s, y + vy * duration_s
            length = math.hypot(nx, ny)
            return duration_s, nx / length, ny / length
        half = self.size_m / 2
        to_x = (math.copysign(half, vx) - x) / vx if vx else math.inf
        to_y = (math.copysign(half, vy) - y) / vy if vy else math.inf
        if math.isinf(min(to_x, to_y)):
            return math.inf, 0.0, 0.0
        return (
            (max(to_x, 0.0), math.copysign(1.0, vx), 0.0)
            if to_x < to_y
            else (max(to_y, 0.0), 0.0, math.copysign(1.0, vy))
        )
