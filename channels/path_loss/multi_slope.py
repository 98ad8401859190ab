"""Multi-slope law: log-distance segments that are continuous where the exponent changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..bounds import DistanceM, LossDb, PathLossExponent
from .free_space import free_space_loss_db
from .model import distance_m as distance_between_m
from .model import require_positive

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MultiSlope:
    """Log-distance segments between any two nodes.

        L(d) = L_0 + 10 sum_i n_i log10(min(d, b_{i+1}) / b_i)      over the segments i with b_i < d, b_0 = d_0

    The usual form of indoor and street measurements (Goldsmith, Wireless Communications, section 2.6.6). The numbers are
    yours: no range of validity to check.

    exponents: one of each segment, from the nearest on
    breaks_m: distances where the exponent changes, one less than there are exponents
    reference_loss_db: at the reference distance; without it free space holds there
    reference_distance_m: nearer than this the loss stays what it is there
    """

    exponents: tuple[PathLossExponent, ...]
    breaks_m: tuple[DistanceM, ...]
    reference_loss_db: LossDb | None = None
    reference_distance_m: DistanceM = 1.0
    name: ClassVar[str] = "multi_slope"
    standard: ClassVar[str] = (
        "multi-slope law: Goldsmith, Wireless Communications, section 2.6.6; the numbers are the scenario's"
    )
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for exponent in self.exponents:
            require_positive("exponents", exponent)
        require_positive("reference_distance_m", self.reference_distance_m)
        if len(self.exponents) != len(self.breaks_m) + 1:
            raise ValueError(
                f"breaks_m = {list(self.breaks_m)}: {len(self.exponents)} exponents need {len(self.exponents) - 1} breaks"
            )
        edges = (self.reference_distance_m, *self.breaks_m)
        if not all(low < high < math.inf for low, high in zip(edges, edges[1:], strict=False)):
            raise ValueError(
                f"breaks_m = {list(self.breaks_m)}: increasing distances beyond reference_distance_m are needed"
            )
        if self.reference_loss_db is not None and not math.isfinite(self.reference_loss_db):
            raise ValueError(f"reference_loss_db = {self.reference_loss_db}: a finite number of decibels is needed")

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        return self.least_loss_db(distance_between_m(device_m, other_m), carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        loss_db = self.reference_loss_db
        if loss_db is None:
            loss_db = float(free_space_loss_db(self.reference_distance_m, carrier_hz, self.reference_distance_m))
        loss = np.full(np.shape(distance_m), loss_db)
        starts = (self.reference_distance_m, *self.breaks_m)
        for exponent, start, end in zip(self.exponents, starts, (*self.breaks_m, math.inf), strict=True):
            loss = loss + 10 * exponent * np.log10(np.clip(distance_m, start, end) / start)
        return loss

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        return np.ones(device_m.shape[:-1])
