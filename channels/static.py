"""A node that stays where it is placed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from .legs import Leg


class Static:
    """The path that never moves."""

    chooses_start: ClassVar[bool] = False
    max_speed_mps = 0.0

    def __init__(self, position_m: Sequence[float]) -> None:
        """position_m: x, y, z."""
        x, y, z = (float(v) for v in position_m)
        self._leg = Leg(0.0, math.inf, x, y, z, 0.0, 0.0, 0.0, 0.0, 0.0)

    def leg_at(self, t_s: float) -> Leg:
        return self._leg
