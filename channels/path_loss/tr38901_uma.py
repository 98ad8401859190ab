"""TR 38.901 UMa: urban macro cells, base stations above the roofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ..shadowing import Shadowing, StandardShadowing
from .line_of_sight import LosModel, log10_ghz
from .model import C_3GPP_MPS, ground_distance_m
from .ranges import OutsideModelError, Range

Floats = NDArray[np.float64]


def uma_los_loss_db(
    ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float, environment_height_m: Any = 1.0
) -> Any:
    """TR 38.901 UMa, line of sight (table 7.4.1-1).

        PL1 = 28 + 22 log10 d3 + 20 log10 f                                                d2 <= d'_BP
        PL2 = 28 + 40 log10 d3 + 20 log10 f - 9 log10(d'_BP^2 + (h_BS - h_UT)^2)           beyond, f in GHz
        d'_BP = 4 (h_BS - h_E)(h_UT - h_E) f / c,   c = 3e8 m/s (note 1)

    ground_m: [...] d2; heights [...] m. Returns [...] dB. 10 m <= d2 <= 5 km, 0.5 to 100 GHz.
    """
    h_e = environment_height_m
    breakpoint_m = 4 * (station_height_m - h_e) * (device_height_m - h_e) * carrier_hz / C_3GPP_MPS
    squared_difference = np.square(np.subtract(station_height_m, device_height_m))
    log_d3 = 0.5 * np.log10(np.maximum(np.square(ground_m) + squared_difference, 1.0))  # no gain below 1 m
    far = 40 * log_d3 - 9 * np.log10(np.square(breakpoint_m) + squared_difference)
    return 28 + 20 * log10_ghz(carrier_hz) + np.where(ground_m <= breakpoint_m, 22 * log_d3, far)


def uma_nlos_loss_db(
    ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float, environment_height_m: Any = 1.0
) -> Any:
    """TR 38.901 UMa, no line of sight: max(PL_LOS, 13.54 + 39.08 log10 d3 + 20 log10 f - 0.6 (h_UT - 1.5)); as above."""
    squared_difference = np.square(np.subtract(station_height_m, device_height_m))
    log_d3 = 0.5 * np.log10(np.maximum(np.square(ground_m) + squared_difference, 1.0))
    nlos = 13.54 + 39.08 * log_d3 + 20 * log10_ghz(carrier_hz) - 0.6 * (np.asarray(device_height_m) - 1.5)
    los = uma_los_loss_db(ground_m, station_height_m, device_height_m, carrier_hz, environment_height_m)
    return np.maximum(los, nlos)


def uma_los_probability(ground_m: Any, device_height_m: Any) -> Any:
    """TR 38.901 UMa (table 7.4.2-1): 1 up to d2 = 18 m, then

        (18/d2 + exp(-d2/63)(1 - 18/d2)) (1 + C' 5/4 (d2/100)^3 exp(-d2/150)),   C' = ((h_UT - 13)/10)^1.5 above 13 m

    [...] m to [...]; h_UT up to 23 m.
    """
    d = np.maximum(ground_m, 18.0)
    tall = np.power(np.clip(np.subtract(device_height_m, 13.0), 0.0, 10.0) / 10, 1.5)
    return (18 / d + np.exp(-d / 63) * (1 - 18 / d)) * (1 + tall * 1.25 * np.power(d / 100, 3) * np.exp(-d / 150))


def uma_environment_height_m(ground_m: Any, device_height_m: Any, u: Any) -> Any:
    """h_E of table 7.4.1-1, note 1, for a number u, uniform on (0, 1), of each link; [...] m to [...] m.

    1 m with probability 1/(1 + C), else uniform over 12, 15, ... m up to h_UT - 1.5; C = 0 below h_UT = 13 m, then
    ((h_UT - 13)/10)^1.5 g, g = 5/4 (d2/100)^3 exp(-d2/150) beyond d2 = 18 m and 0 up to there.
    """
    d = np.asarray(ground_m, dtype=np.float64)
    tall = np.power(np.clip(np.subtract(device_height_m, 13.0), 0.0, None) / 10, 1.5)
    c = tall * np.where(d > 18, 1.25 * np.power(d / 100, 3) * np.exp(-d / 150), 0.0)
    low = 1 / (1 + c)
    num_heights = np.maximum(np.floor((np.subtract(device_height_m, 1.5) - 12) / 3) + 1, 1)
    share = np.divide(u - low, 1 - low, out=np.zeros(np.broadcast_shapes(np.shape(u), low.shape)), where=low < 1)
    return np.where(u < low, 1.0, 12 + 3 * np.minimum(np.floor(share * num_heights), num_heights - 1))


@dataclass(frozen=True)
class UrbanMacro(LosModel):
    """TR 38.901 UMa between a base station and a device; refuses other pairs. The optional single-slope NLOS is left out.

    Devices above 13 m draw an environment height (note 1): here from a field over space with the distance of the
    line-of-sight field, so that it does not change from packet to packet (the standard fixes no distance for it).

    strict: raise outside the range of validity (0.5 to 100 GHz; d2 10 m to 5 km; h_BS 25 m; h_UT 1.5 to 22.5 m) instead of
        warning once. A device at or below the environment height of 1 m is an error in any case.
    """

    name: ClassVar[str] = "tr38901_uma"
    standard: ClassVar[str] = "3GPP TR 38.901 table 7.4.1-1, UMa"
    los_correlation_m: ClassVar[float] = 50.0  # table 7.6.3.1-2
    spread_correlation_m: ClassVar[float] = 50.0
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(
        Shadowing(4.0, 37.0), Shadowing(6.0, 50.0), o2i=Shadowing(7.0, 7.0)
    )

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        lowest = float(min(device_m[..., 2].min(), other_m[..., 2].min()))
        if lowest <= 1.0:
            raise OutsideModelError(
                f"tr38901_uma: antenna height {lowest:g} m; it must be above the environment height of 1 m (1.5 m?)"
            )
        return (
            Range("ground distance", ground_distance_m(device_m, other_m), "m", 10.0, 5000.0),
            Range("base station height", other_m[..., 2], "m", 25.0, 25.0),
            Range("device height", device_m[..., 2], "m", 1.5, 22.5),
        )

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        ground_m = ground_distance_m(device_m, other_m)
        if normal is None:
            normal = np.full(ground_m.shape, -np.inf)  # the most frequent environment height
        height_m = uma_environment_height_m(ground_m, device_m[..., 2], ndtr(normal))
        geometry = ground_m, other_m[..., 2], device_m[..., 2], carrier_hz, height_m
        return uma_los_loss_db(*geometry), uma_nlos_loss_db(*geometry)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """PL1 without a breakpoint: below every other branch, whatever the heights."""
        loss: Floats = 28 + 22 * np.log10(np.maximum(distance_m, 1.0)) + 20 * log10_ghz(carrier_hz)
        return loss

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        probability: Floats = uma_los_probability(ground_distance_m(device_m, other_m), device_m[..., 2])
        return probability
