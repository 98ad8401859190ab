"""TR 37.885 vehicle to vehicle: urban streets or a highway, with vehicles or buildings in the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..bounds import HeightM
from ..shadowing import Shadowing, StandardShadowing
from .line_of_sight import LosModel, log10_ghz
from .model import distance_m as distance_between_m
from .model import ground_distance_m, require_positive
from .ranges import Range

Floats = NDArray[np.float64]


def v2v_los_loss_db(distance_m: Any, carrier_hz: float, environment: str) -> Any:
    """TR 37.885 table 6.2.1-1, line of sight, f in GHz; [...] m to [...] dB:

    urban 38.77 + 16.7 log10 d3 + 18.2 log10 f, highway 32.4 + 20 log10 d3 + 20 log10 f.
    """
    constant, slope, frequency = (38.77, 16.7, 18.2) if environment == "urban" else (32.4, 20.0, 20.0)
    return constant + slope * np.log10(distance_m) + frequency * log10_ghz(carrier_hz)


def v2v_nlos_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """The same table, buildings between: 36.85 + 30 log10 d3 + 18.9 log10 f. [...] m to [...] dB."""
    return 36.85 + 30 * np.log10(distance_m) + 18.9 * log10_ghz(carrier_hz)


def v2v_los_probability(ground_m: Any, environment: str) -> Any:
    """TR 37.885 table 6.2-1, of two vehicles in one street; [...] m to [...]:

    urban    min(1, 1.05 exp(-0.0114 d))
    highway  min(1, 2.1013e-6 d^2 - 0.002 d + 1.0193) up to 475 m, then max(0, 0.54 - 0.001 (d - 475))
    """
    d = np.asarray(ground_m, dtype=np.float64)
    if environment == "urban":
        return np.minimum(1.0, 1.05 * np.exp(-0.0114 * d))
    near = np.minimum(1.0, 2.1013e-6 * np.square(d) - 0.002 * d + 1.0193)
    return np.where(d <= 475, near, np.maximum(0.0, 0.54 - 0.001 * (d - 475)))


def blocking_loss_db(distance_m: Any, a_height_m: Any, b_height_m: Any, blocker_height_m: float, normal: Any) -> Any:
    """What a vehicle in the way adds (TR 37.885 section 6.2.1): max(0, mean + sigma normal) [dB], with

        taller than both antennas   mean 9 + max(0, 15 log10 d - 41), sigma 4.5
        between the two             mean 5 + max(0, 15 log10 d - 41), sigma 4
        lower than both             0

    distance_m, heights, normal: [...], the last a standard normal number. Returns [...] dB.
    """
    lower, upper = np.minimum(a_height_m, b_height_m), np.maximum(a_height_m, b_height_m)
    taller = upper < blocker_height_m
    far = np.maximum(0.0, 15 * np.log10(distance_m) - 41)
    loss = np.where(taller, 9.0, 5.0) + far + np.where(taller, 4.5, 4.0) * normal
    return np.where(lower > blocker_height_m, 0.0, np.maximum(0.0, loss))


@dataclass(frozen=True)
class VehicleToVehicle(LosModel):
    """TR 37.885 between any two vehicles: pairs without line of sight have a vehicle or a building between them.

    The report knows from the map whether two vehicles are in one street (P(LOS), else a vehicle blocks) or not (buildings). There
    is no map here: `blocked_by` says which of the two holds for all pairs without line of sight. Line of sight and blocking loss
    come from fields with the correlation distance of the shadowing (10 m urban, 25 m highway) instead of draws per pair.

    strict: raise outside 0.5 to 100 GHz and 1 m to 5 km (limits of ours, the report has 6 and 63 GHz) instead of warning once
    environment: "urban" or "highway"
    blocked_by: "vehicle" (NLOSv) or, in urban streets, "building" (NLOS)
    blocker_height_m: height of the blocking vehicle, 1.6 (car) or 3.0 (truck) in the report, against the antennas' heights
    """

    environment: Literal["urban", "highway"] = "urban"
    blocked_by: Literal["vehicle", "building"] = "vehicle"
    blocker_height_m: HeightM = 1.6
    name: ClassVar[str] = "tr37885_v2v"
    standard: ClassVar[str] = "3GPP TR 37.885 table 6.2.1-1"
    needs_station: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.environment not in ("urban", "highway"):
            raise ValueError(f'environment = {self.environment!r}: "urban" or "highway" is needed')
        if self.blocked_by not in ("vehicle", "building"):
            raise ValueError(f'blocked_by = {self.blocked_by!r}: "vehicle" or "building" is needed')
        if self.blocked_by == "building" and self.environment == "highway":
            raise ValueError(f'blocked_by = {self.blocked_by!r}: no buildings stand on a highway; "vehicle" is needed')
        require_positive("blocker_height_m", self.blocker_height_m)

    @property
    def los_correlation_m(self) -> float:  # type: ignore[override]  # of the environment
        return 10.0 if self.environment == "urban" else 25.0

    @property
    def spread_correlation_m(self) -> float | None:
        return self.los_correlation_m if self.blocked_by == "vehicle" else None

    @property
    def standard_shadowing(self) -> StandardShadowing:  # type: ignore[override]  # of the environment
        """3 dB with line of sight or a vehicle between, 4 dB behind buildings (tables 6.2.1-1 and 6.2.1-2)."""
        nlos_db = 3.0 if self.blocked_by == "vehicle" else 4.0
        return StandardShadowing(Shadowing(3.0, self.los_correlation_m), Shadowing(nlos_db, self.los_correlation_m))

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        return (Range("distance", distance_between_m(device_m, other_m), "m", 1.0, 5000.0),)

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        d = np.maximum(distance_between_m(device_m, other_m), 1.0)
        los = v2v_los_loss_db(d, carrier_hz, self.environment)
        if self.blocked_by == "building":
            return los, v2v_nlos_loss_db(d, carrier_hz)
        if normal is None:
            raise ValueError("tr37885_v2v needs a number for the blocking loss of every link")
        return los, los + blocking_loss_db(d, device_m[..., 2], other_m[..., 2], self.blocker_height_m, normal)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """Line of sight, or the smaller one of both formulas where buildings stand: near by they cross."""
        d = np.maximum(distance_m, 1.0)
        los = v2v_los_loss_db(d, carrier_hz, self.environment)
        least: Floats = np.minimum(los, v2v_nlos_loss_db(d, carrier_hz)) if self.blocked_by == "building" else los
        return least

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        probability: Floats = v2v_los_probability(ground_distance_m(device_m, other_m), self.environment)
        return probability
