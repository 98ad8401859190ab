"""Log-distance law between any two nodes."""

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


def log_distance_loss_db(
    distance_m: Any, exponent: float, reference_loss_db: float, reference_distance_m: float = 1.0
) -> Any:
    """Log-distance path loss.

        L(d) = L_0 + 10 n log10(d / d_0)                                  [dB]

    distance_m: [...] d; below d_0 the loss stays L_0
    exponent: n, 2 in free space
    reference_loss_db: L_0, the loss at reference_distance_m (d_0)
    Returns [...] dB. Valid for d >= d_0 in the far field.
    Source: Rappaport, Wireless Communications, 2nd ed., chapter 4.
    """
    distance_m = np.maximum(distance_m, reference_distance_m)
    return reference_loss_db + 10 * exponent * np.log10(distance_m / reference_distance_m)


@dataclass(frozen=True)
class LogDistance:
    """Log-distance law between any two nodes: `log_distance_loss_db`. The numbers are yours: no range of validity to check.

    exponent: 2 in free space, more where buildings stand
    reference_loss_db: at the reference distance; without it free space holds there
    reference_distance_m: nearer than this the loss stays what it is there
    """

    exponent: PathLossExponent
    reference_loss_db: LossDb | None = None
    reference_distance_m: DistanceM = 1.0
    name: ClassVar[str] = "log_distance"
    standard: ClassVar[str] = (
        "log-distance law: Rappaport, Wireless Communications, 2nd ed., chapter 4; the numbers are the scenario's"
    )
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("exponent", self.exponent)
        require_positive("reference_distance_m", self.reference_distance_m)
        if self.reference_loss_db is not None and not math.isfinite(self.reference_loss_db):
            raise ValueError(f"reference_loss_db = {self.reference_loss_db}: a finite number of decibels is needed")

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        return self.least_loss_db(distance_between_m(device_m, other_m), carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        d_0 = self.reference_distance_m
        reference_db = self.reference_loss_db
        if reference_db is None:
            reference_db = float(free_space_loss_db(d_0, carrier_hz, d_0))
        loss: Floats = log_distance_loss_db(distance_m, self.exponent, reference_db, d_0)
        return loss

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        return np.ones(device_m.shape[:-1])
