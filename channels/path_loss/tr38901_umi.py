"""TR 38.901 UMi street canyon: path loss (table 7.4.1-1), breakpoint and line-of-sight probability (table 7.4.2-1).

Between a base station and a device. 0.5 to 100 GHz, ground distance 10 m to 5 km, base station at 10 m, device at 1.5 to 22.5 m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..shadowing import UMI_SHADOWING, Shadowing, StandardShadowing
from .line_of_sight import LosModel
from .model import C_3GPP_MPS, ground_distance_m
from .ranges import OutsideModelError, Range

Floats = NDArray[np.float64]

UMI_ENVIRONMENT_HEIGHT_M = 1.0  # h_E of UMi, table 7.4.1-1 note 1


def umi_breakpoint_m(station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """d'_BP = 4 (h_BS - h_E)(h_UT - h_E) f / c with h_E = 1 m (TR 38.901 table 7.4.1-1, note 1); heights and result in m."""
    h_e = UMI_ENVIRONMENT_HEIGHT_M
    return 4 * (station_height_m - h_e) * (device_height_m - h_e) * carrier_hz / C_3GPP_MPS


def _log_d3(ground_m: Any, difference_m: Any) -> Any:
    """log10 d3, not below that of 1 m: no gain at short range."""
    return 0.5 * np.log10(np.maximum(np.square(ground_m) + np.square(difference_m), 1.0))


def umi_los_loss_db(ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 UMi street canyon, line of sight (table 7.4.1-1).

        PL1 = 32.4 + 21 log10 d3 + 20 log10 f                                              d2 <= d'_BP
        PL2 = 32.4 + 40 log10 d3 + 20 log10 f - 9.5 log10(d'_BP^2 + (h_BS - h_UT)^2)       beyond, f in GHz

    ground_m: [...] d2; d3 = sqrt(d2^2 + (h_BS - h_UT)^2). Returns [...] dB. Valid for 10 m <= d2 <= 5 km, 0.5 to 100 GHz.
    """
    difference = station_height_m - device_height_m
    breakpoint_m = umi_breakpoint_m(station_height_m, device_height_m, carrier_hz)
    log_d3 = _log_d3(ground_m, difference)
    log_bp = np.log10(np.square(breakpoint_m) + np.square(difference))
    near = 21 * log_d3
    far = 40 * log_d3 - 9.5 * log_bp
    return 32.4 + 20 * math.log10(carrier_hz / 1e9) + np.where(ground_m <= breakpoint_m, near, far)


def umi_nlos_loss_db(ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 UMi street canyon, no line of sight (table 7.4.1-1).

        PL = max(PL_LOS, 22.4 + 35.3 log10 d3 + 21.3 log10 f - 0.3 (h_UT - 1.5))

    Arguments, units and validity as for `umi_los_loss_db`.
    """
    log_d3 = _log_d3(ground_m, station_height_m - device_height_m)
    nlos = 22.4 + 35.3 * log_d3 + 21.3 * math.log10(carrier_hz / 1e9) - 0.3 * (device_height_m - 1.5)
    return np.maximum(umi_los_loss_db(ground_m, station_height_m, device_height_m, carrier_hz), nlos)


def umi_los_probability(ground_m: Any) -> Any:
    """TR 38.901 UMi (table 7.4.2-1): 1 up to d2 = 18 m, then 18/d2 + exp(-d2/36)(1 - 18/d2). [...] m to [...]."""
    d = np.maximum(ground_m, 18.0)
    return 18 / d + np.exp(-d / 36) * (1 - 18 / d)


@dataclass(frozen=True)
class UmiStreetCanyon(LosModel):
    """TR 38.901 UMi street canyon between a base station and a device; refuses other pairs.

    strict: raise outside the range of validity (0.5 to 100 GHz; d2 10 m to 5 km; h_BS 10 m; h_UT 1.5 to 22.5 m) instead of
        warning once. A device at or below the effective environment height of 1 m is an error in any case.
    """

    name: ClassVar[str] = "tr38901_umi"
    standard: ClassVar[str] = "3GPP TR 38.901 table 7.4.1-1, UMi street canyon"
    los_correlation_m: ClassVar[float] = 50.0  # table 7.6.3.1-2
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(
        UMI_SHADOWING.los, UMI_SHADOWING.nlos, o2i=Shadowing(7.0, 7.0)
    )

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        lowest = float(min(device_m[..., 2].min(), other_m[..., 2].min()))
        if lowest <= UMI_ENVIRONMENT_HEIGHT_M:
            raise OutsideModelError(
                f"tr38901_umi: antenna height {lowest:g} m; it must be above the environment height of 1 m (1.5 m?)"
            )
        return (
            Range("ground distance", ground_distance_m(device_m, other_m), "m", 10.0, 5000.0),
            Range("base station height", other_m[..., 2], "m", 10.0, 10.0),
            Range("device height", device_m[..., 2], "m", 1.5, 22.5),
        )

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        geometry = ground_distance_m(device_m, other_m), other_m[..., 2], device_m[..., 2], carrier_hz
        return umi_los_loss_db(*geometry), umi_nlos_loss_db(*geometry)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """PL1 without a breakpoint: below every other branch, whatever the heights."""
        loss: Floats = 32.4 + 21 * np.log10(np.maximum(distance_m, 1.0)) + 20 * math.log10(carrier_hz / 1e9)
        return loss

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        probability: Floats = umi_los_probability(ground_distance_m(device_m, other_m))
        return probability
