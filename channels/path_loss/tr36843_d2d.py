"""TR 36.843 device-to-device: outdoor pairs of handsets in a street, WINNER+ B1 with antennas at 1.5 m."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..shadowing import Shadowing, StandardShadowing
from .line_of_sight import LosModel, log10_ghz
from .model import C_3GPP_MPS, ground_distance_m
from .model import distance_m as distance_between_m
from .ranges import Range

Floats = NDArray[np.float64]

HANDSET_HEIGHT_M = 1.5
EFFECTIVE_HEIGHT_M = 0.8  # of a handset in WINNER+ B1, as the report has it
NLOS_OFFSET_DB = -5.0
MIN_DISTANCE_M = 3.0


def _free_space_db(distance_m: Any, carrier_hz: float) -> Any:
    return 46.4 + 20 * np.log10(distance_m) + 20 * np.log10(carrier_hz / 5e9)


def d2d_los_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """TR 36.843 table A.2.1.2-1, outdoor to outdoor, line of sight: the larger one of free space,
    46.4 + 20 log10 d + 20 log10(f/5), and WINNER+ B1 (D5.3, table 4-1), f in GHz,

        27 + 22.7 log10 d + 20 log10 f                    d <= d' = 4 h'^2 f / c,  h' = 0.8 m, c = 3e8 m/s
        7.56 + 40 log10 d - 34.6 log10 h' + 2.7 log10 f   beyond

    distance_m: [...] d, 3 m and more. Returns [...] dB. d' is 17 m at 2 GHz: the fourth power governs.
    """
    log_d, log_f = np.log10(distance_m), log10_ghz(carrier_hz)
    breakpoint_m = 4 * EFFECTIVE_HEIGHT_M**2 * carrier_hz / C_3GPP_MPS
    near = 27 + 22.7 * log_d + 20 * log_f
    far = 7.56 + 40 * log_d - 2 * 17.3 * np.log10(EFFECTIVE_HEIGHT_M) + 2.7 * log_f
    return np.maximum(_free_space_db(distance_m, carrier_hz), np.where(distance_m <= breakpoint_m, near, far))


def d2d_nlos_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """The same table, no line of sight: the larger one of free space and WINNER+ B1 with an offset of -5 dB,

    (44.9 - 6.55 log10 h) log10 d + 5.83 log10 h + A + B log10 f - 5,     h = 1.5 m
    A, B: 16.33, 26.16 below 1.5 GHz; 14.78, 34.97 to 2 GHz; 18.38, 23 to 6 GHz
    """
    log_h = np.log10(HANDSET_HEIGHT_M)
    if carrier_hz < 1.5e9:
        constant, slope = 16.33, 26.16
    elif carrier_hz < 2e9:
        constant, slope = 14.78, 34.97
    else:
        constant, slope = 18.38, 23.0
    street = (44.9 - 6.55 * log_h) * np.log10(distance_m) + 5.83 * log_h + constant + slope * log10_ghz(carrier_hz)
    return np.maximum(_free_space_db(distance_m, carrier_hz), street + NLOS_OFFSET_DB)


def d2d_los_probability(distance_m: Any) -> Any:
    """WINNER+ B1: min(18/d, 1)(1 - exp(-d/36)) + exp(-d/36). [...] m to [...]."""
    d = np.maximum(distance_m, 1e-9)
    return np.minimum(18 / d, 1) * (1 - np.exp(-d / 36)) + np.exp(-d / 36)


@dataclass(frozen=True)
class DeviceToDevice(LosModel):
    """TR 36.843 outdoor device-to-device between any two nodes at handset height; heights do not enter.

    The report draws shadowing of 7 dB independently for each pair and gives no correlation distance; here it is 10 m, as in
    UMi, for shadowing and line of sight alike. Pairs with one end or both indoors are left out.

    strict: raise outside the range of validity (0.45 to 6 GHz; 3 m and more, a limit of 5 km is ours; antennas at 1 to 3 m)
        instead of warning once
    """

    name: ClassVar[str] = "tr36843_d2d"
    standard: ClassVar[str] = "3GPP TR 36.843 table A.2.1.2-1, outdoor to outdoor (WINNER+ B1)"
    needs_station: ClassVar[bool] = False
    carrier_range_hz: ClassVar[tuple[float, float]] = (0.45e9, 6e9)
    los_correlation_m: ClassVar[float] = 10.0
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(Shadowing(7.0, 10.0), Shadowing(7.0, 10.0))

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        return (
            Range("distance", distance_between_m(device_m, other_m), "m", MIN_DISTANCE_M, 5000.0),
            Range("antenna height", device_m[..., 2], "m", 1.0, 3.0),
            Range("antenna height", other_m[..., 2], "m", 1.0, 3.0),
        )

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        d = np.maximum(distance_between_m(device_m, other_m), MIN_DISTANCE_M)
        return d2d_los_loss_db(d, carrier_hz), d2d_nlos_loss_db(d, carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """The smaller one of both states, each of which increases with the distance."""
        d = np.maximum(distance_m, MIN_DISTANCE_M)
        least: Floats = np.minimum(d2d_los_loss_db(d, carrier_hz), d2d_nlos_loss_db(d, carrier_hz))
        return least

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        probability: Floats = d2d_los_probability(ground_distance_m(device_m, other_m))
        return probability
