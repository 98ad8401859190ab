"""Free space (Friis) between any two nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..bounds import DistanceM
from ..units import SPEED_OF_LIGHT_MPS
from .model import distance_m as distance_between_m
from .model import require_positive

Floats = NDArray[np.float64]


def free_space_loss_db(distance_m: Any, carrier_hz: float, min_distance_m: float = 1.0) -> Any:
    """Free space (Friis) loss between isotropic antennas.

        L(d) = 20 log10(4 pi d f / c)                                     [dB]

    distance_m: [...] d; below min_distance_m the loss stays what it is there (no gain at short range)
    carrier_hz: f
    Returns [...] dB. Valid in the far field, d much larger than the wavelength and the antennas.
    Source: Friis, "A note on a simple transmission formula", Proc. IRE 1946.
    """
    distance_m = np.maximum(distance_m, min_distance_m)
    return 20 * np.log10(distance_m * (4 * np.pi * carrier_hz / SPEED_OF_LIGHT_MPS))


@dataclass(frozen=True)
class FreeSpace:
    """Free space (Friis) between any two nodes: `free_space_loss_db`. Any distance and carrier: no range of validity to check.

    min_distance_m: nearer than this the loss stays what it is there
    """

    min_distance_m: DistanceM = 1.0
    name: ClassVar[str] = "free_space"
    standard: ClassVar[str] = "free space: Friis, Proc. IRE 1946"
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("min_distance_m", self.min_distance_m)

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        return self.least_loss_db(distance_between_m(device_m, other_m), carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        loss: Floats = free_space_loss_db(distance_m, carrier_hz, self.min_distance_m)
        return loss

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        return np.ones(device_m.shape[:-1])
