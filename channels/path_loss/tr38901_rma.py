"""TR 38.901 RMa: rural macro cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..bounds import Bounds
from ..shadowing import Shadowing, StandardShadowing
from .line_of_sight import LosModel, log10_ghz
from .model import C_3GPP_MPS, ground_distance_m
from .ranges import OutsideModelError, Range

Floats = NDArray[np.float64]
BuildingHeightM = Annotated[float, Bounds(5.0, 50.0, "mean heights of buildings are in m")]
StreetWidthM = Annotated[float, Bounds(5.0, 50.0, "mean widths of streets are in m")]


def rma_breakpoint_m(station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """d_BP = 2 pi h_BS h_UT f / c, c = 3e8 m/s (TR 38.901 table 7.4.1-1, note 5); heights and result in m."""
    return 2 * np.pi * np.multiply(station_height_m, device_height_m) * carrier_hz / C_3GPP_MPS


def _near_loss_db(d3_m: Any, carrier_hz: float, h: float) -> Any:
    log_d3 = np.log10(d3_m)
    slope, constant = min(0.03 * h**1.72, 10.0), min(0.044 * h**1.72, 14.77)
    free = 20 * np.log10(40 * np.pi / 3) + 20 * log10_ghz(carrier_hz) + 20 * log_d3
    return free + slope * log_d3 - constant + 0.002 * np.log10(h) * np.asarray(d3_m)


def rma_los_loss_db(
    ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float, building_height_m: float = 5.0
) -> Any:
    """TR 38.901 RMa, line of sight (table 7.4.1-1), f in GHz and h the mean height of buildings.

        PL1(d) = 20 log10(40 pi d f/3) + min(0.03 h^1.72, 10) log10 d - min(0.044 h^1.72, 14.77) + 0.002 log10(h) d
        PL1(d3) up to d2 = d_BP, beyond it PL1(d_BP) + 40 log10(d3/d_BP)

    ground_m: [...] d2; heights [...] m. Returns [...] dB. 10 m <= d2 <= 10 km, 0.5 to 30 GHz.
    """
    d3 = np.maximum(np.hypot(ground_m, np.subtract(station_height_m, device_height_m)), 1.0)  # no gain below 1 m
    breakpoint_m = rma_breakpoint_m(station_height_m, device_height_m, carrier_hz)
    far = _near_loss_db(breakpoint_m, carrier_hz, building_height_m) + 40 * np.log10(d3 / breakpoint_m)
    return np.where(ground_m <= breakpoint_m, _near_loss_db(d3, carrier_hz, building_height_m), far)


def rma_nlos_loss_db(
    ground_m: Any,
    station_height_m: Any,
    device_height_m: Any,
    carrier_hz: float,
    building_height_m: float = 5.0,
    street_width_m: float = 20.0,
) -> Any:
    """TR 38.901 RMa, no line of sight (table 7.4.1-1): the larger one of PL_LOS and

    161.04 - 7.1 log10 W + 7.5 log10 h - (24.37 - 3.7 (h/h_BS)^2) log10 h_BS + (43.42 - 3.1 log10 h_BS)(log10 d3 - 3)
        + 20 log10 f - (3.2 log10(11.75 h_UT)^2 - 4.97)

    Arguments and unit as for `rma_los_loss_db`; d2 up to 5 km.
    """
    h = building_height_m
    log_d3 = np.log10(np.maximum(np.hypot(ground_m, np.subtract(station_height_m, device_height_m)), 1.0))
    log_bs = np.log10(station_height_m)
    nlos = (
        161.04
        - 7.1 * np.log10(street_width_m)
        + 7.5 * np.log10(h)
        - (24.37 - 3.7 * np.square(h / np.asarray(station_height_m))) * log_bs
        + (43.42 - 3.1 * log_bs) * (log_d3 - 3)
        + 20 * log10_ghz(carrier_hz)
        - (3.2 * np.square(np.log10(11.75 * np.asarray(device_height_m))) - 4.97)
    )
    return np.maximum(rma_los_loss_db(ground_m, station_height_m, device_height_m, carrier_hz, h), nlos)


def rma_los_probability(ground_m: Any) -> Any:
    """TR 38.901 RMa (table 7.4.2-1): exp(-(d2 - 10)/1000) beyond d2 = 10 m, 1 up to there. [...] m to [...]."""
    return np.exp(-(np.maximum(ground_m, 10.0) - 10) / 1000)


@dataclass(frozen=True)
class RuralMacro(LosModel):
    """TR 38.901 RMa between a base station and a device; refuses other pairs.

    strict: raise outside the range of validity (0.5 to 30 GHz; d2 10 m to 10 km; h_BS 10 to 150 m; h_UT 1 to 10 m) instead of
        warning once. An antenna on the ground is an error in any case.
    building_height_m: mean height h of the buildings
    street_width_m: mean width W of the streets
    """

    building_height_m: BuildingHeightM = 5.0
    street_width_m: StreetWidthM = 20.0
    name: ClassVar[str] = "tr38901_rma"
    standard: ClassVar[str] = "3GPP TR 38.901 table 7.4.1-1, RMa"
    carrier_range_hz: ClassVar[tuple[float, float]] = (0.5e9, 30e9)
    indoor_depth_m: ClassVar[float] = 10.0
    los_correlation_m: ClassVar[float] = 60.0  # table 7.6.3.1-2
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(
        Shadowing(4.0, 37.0), Shadowing(8.0, 120.0), o2i=Shadowing(8.0, 120.0), far_los_sigma_db=6.0
    )

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        lowest = float(min(device_m[..., 2].min(), other_m[..., 2].min()))
        if lowest <= 0:
            raise OutsideModelError(f"tr38901_rma: antenna height {lowest:g} m; it must be above the ground (1.5 m?)")
        return (
            Range("ground distance", ground_distance_m(device_m, other_m), "m", 10.0, 10000.0),
            Range("base station height", other_m[..., 2], "m", 10.0, 150.0),
            Range("device height", device_m[..., 2], "m", 1.0, 10.0),
        )

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        ground_m = ground_distance_m(device_m, other_m)
        geometry = ground_m, other_m[..., 2], device_m[..., 2], carrier_hz, self.building_height_m
        return rma_los_loss_db(*geometry), rma_nlos_loss_db(*geometry, self.street_width_m)

    def beyond_breakpoint(self, device_m: Floats, other_m: Floats, carrier_hz: float) -> NDArray[np.bool_]:
        beyond: NDArray[np.bool_] = ground_distance_m(device_m, other_m) > rma_breakpoint_m(
            other_m[..., 2], device_m[..., 2], carrier_hz
        )
        return beyond

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """PL1 without its term that grows with the distance itself: below both branches, whatever the heights."""
        d, h = np.maximum(distance_m, 1.0), self.building_height_m
        loss: Floats = _near_loss_db(d, carrier_hz, h) - 0.002 * np.log10(h) * d
        return loss

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        probability: Floats = rma_los_probability(ground_distance_m(device_m, other_m))
        return probability
