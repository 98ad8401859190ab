"""Two-ray ground reflection: free space near by, the fourth power of the distance beyond the crossover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..bounds import DistanceM
from ..units import wavelength_m
from .free_space import free_space_loss_db
from .model import distance_m as distance_between_m
from .model import require_positive
from .ranges import OutsideModelError

Floats = NDArray[np.float64]


def two_ray_loss_db(distance_m: Any, a_height_m: Any, b_height_m: Any, carrier_hz: float) -> Any:
    """Two-ray ground loss with the crossover that makes it continuous.

        L(d) = 20 log10(4 pi d / lambda)                 d <= d_c = 4 pi h_a h_b / lambda
        L(d) = 40 log10 d - 20 log10(h_a h_b)            beyond                                [dB]

    distance_m: [...] d; a_height_m, b_height_m: [...] antenna heights over flat ground. Returns [...] dB, without a floor.
    It is the envelope of the two-ray sum for grazing incidence (d much larger than the heights); the sum's fades below d_c
    are left out. Source: Rappaport, Wireless Communications, 2nd ed., section 4.6.
    """
    heights = np.multiply(a_height_m, b_height_m)
    crossover_m = 4 * np.pi * heights / wavelength_m(carrier_hz)
    far = 40 * np.log10(distance_m) - 20 * np.log10(heights)
    return np.where(distance_m <= crossover_m, free_space_loss_db(distance_m, carrier_hz, 0.0), far)


@dataclass(frozen=True)
class TwoRay:
    """Two-ray ground reflection between any two nodes: `two_ray_loss_db` of their heights; an antenna on the ground is refused.
    It is meant for distances much larger than the heights, but has no range of validity to check.

    min_distance_m: nearer than this the loss stays what it is there
    """

    min_distance_m: DistanceM = 1.0
    name: ClassVar[str] = "two_ray"
    standard: ClassVar[str] = "two-ray ground reflection: Rappaport, Wireless Communications, 2nd ed., section 4.6"
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("min_distance_m", self.min_distance_m)

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        lowest = min(np.min(device_m[..., 2], initial=np.inf), np.min(other_m[..., 2], initial=np.inf))
        if lowest <= 0:
            raise OutsideModelError(f"two_ray: antenna height {lowest:g} m; it must be above the ground (1.5 m?)")
        distance_m = np.maximum(distance_between_m(device_m, other_m), self.min_distance_m)
        loss: Floats = two_ray_loss_db(distance_m, device_m[..., 2], other_m[..., 2], carrier_hz)
        return loss

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """Free space, whatever the heights: beyond the crossover the fourth power lies above it."""
        loss: Floats = free_space_loss_db(distance_m, carrier_hz, self.min_distance_m)
        return loss

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        return np.ones(device_m.shape[:-1])
