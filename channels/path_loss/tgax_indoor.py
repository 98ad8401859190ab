"""IEEE 802.11ax (TGax) indoor: flats or enterprise offices, with walls and floors in the way."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..bounds import DistanceM, HeightM
from ..shadowing import Shadowing, StandardShadowing
from .model import distance_m as distance_between_m
from .model import ground_distance_m, require_positive
from .ranges import Range, check_ranges

Floats = NDArray[np.float64]

_BREAKPOINT_M = {"residential": 5.0, "enterprise": 10.0}
_WALL_DB = {"residential": 5.0, "enterprise": 7.0}
_WALL_SPACING_M = {"residential": 10.0, "enterprise": 20.0}


def tgax_loss_db(distance_m: Any, carrier_hz: float, building: str, num_walls: Any = 0, num_floors: Any = 0) -> Any:
    """TGax simulation scenarios, IEEE 802.11-14/0980r16, sections 1 (residential) and 2 (enterprise).

        40.05 + 20 log10(f/2.4) + 20 log10 min(d, d_B) + [d > d_B] 35 log10(d/d_B) + walls + floors    [dB], f in GHz
        residential  d_B = 5 m, 5 dB a wall, F floors 18.3 F^((F + 2)/(F + 1) - 0.46)
        enterprise   d_B = 10 m, 7 dB a wall, floors are not part of the scenario

    distance_m: [...] d, 1 m and more; num_walls, num_floors: [...]. Returns [...] dB.
    """
    breakpoint_m = _BREAKPOINT_M[building]
    d, f = np.asarray(distance_m, dtype=np.float64), np.asarray(num_floors, dtype=np.float64)
    loss = 40.05 + 20 * math.log10(carrier_hz / 2.4e9) + 20 * np.log10(np.minimum(d, breakpoint_m))
    loss = loss + 35 * np.log10(np.maximum(d, breakpoint_m) / breakpoint_m) + _WALL_DB[building] * np.asarray(num_walls)
    return loss + np.where(f > 0, 18.3 * np.power(f, (f + 2) / (f + 1) - 0.46), 0.0)


@dataclass(frozen=True)
class TgaxIndoor:
    """TGax indoor path loss between any two nodes of one building: `tgax_loss_db`.

    There is no plan of the building: a link crosses one wall in every full wall spacing of ground distance, and in flats one
    floor in every full floor height between the ends. The scenarios draw shadowing of 5 dB independently
    for each link; its correlation distance here, 6 m, is that of TR 38.901 InH without line of sight.

    building: "residential" or "enterprise"
    wall_spacing_m: mean distance between walls; without it 10 m in flats and 20 m in offices, the rooms of the scenarios
    floor_height_m: of flats
    strict: raise outside the range of validity (2.4 to 7.125 GHz, the bands of IEEE 802.11ax; d 1 m to 110 m, the longest way
        through the buildings of the scenarios; both limits are ours, the document has 2.4 and 5 GHz) instead of warning once
    """

    building: Literal["residential", "enterprise"] = "residential"
    wall_spacing_m: DistanceM | None = None
    floor_height_m: HeightM = 3.0
    strict: bool = False
    name: ClassVar[str] = "tgax_indoor"
    standard: ClassVar[str] = "IEEE 802.11-14/0980r16, TGax simulation scenarios"
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False
    is_indoor: ClassVar[bool] = True
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(Shadowing(5.0, 6.0), Shadowing(5.0, 6.0))
    _warned: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.building not in _BREAKPOINT_M:
            raise ValueError(f'building = {self.building!r}: "residential" or "enterprise" is needed')
        if self.wall_spacing_m is not None:
            require_positive("wall_spacing_m", self.wall_spacing_m)
        require_positive("floor_height_m", self.floor_height_m)

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        d = distance_between_m(device_m, other_m)
        if d.size:
            carrier = Range("carrier", carrier_hz / 1e9, "GHz", 2.4, 7.125)
            check_ranges(self.name, self.strict, self._warned, carrier, Range("distance", d, "m", 1.0, 110.0))
        d = np.maximum(d, 1.0)
        spacing_m = self.wall_spacing_m or _WALL_SPACING_M[self.building]
        num_walls = np.floor(ground_distance_m(device_m, other_m) / spacing_m)
        num_floors: Any = 0
        if self.building == "residential":
            num_floors = np.floor(np.abs(device_m[..., 2] - other_m[..., 2]) / self.floor_height_m)
        loss: Floats = tgax_loss_db(d, carrier_hz, self.building, num_walls, num_floors)
        return loss

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """Without walls and floors."""
        loss: Floats = tgax_loss_db(np.maximum(distance_m, 1.0), carrier_hz, self.building)
        return loss

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        return np.ones(device_m.shape[:-1])
