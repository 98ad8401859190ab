"""TR 38.901 UMi street canyon: path loss (table 7.4.1-1), breakpoint and line-of-sight probability (table 7.4.2-1).

Between a base station and a device. 0.5 to 100 GHz, ground distance 10 m to 5 km, base station at 10 m, device at 1.5 to 22.5 m.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UMI_ENVIRONMENT_HEIGHT_M = 1.0  # h_E of UMi, table 7.4.1-1 note 1
_C_3GPP_MPS = 3.0e8  # the standard's own constant in the breakpoint


def umi_breakpoint_m(station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """d'_BP = 4 (h_BS - h_E)(h_UT - h_E) f / c with h_E = 1 m (TR 38.901 table 7.4.1-1, note 1); heights and result in m."""
    h_e = UMI_ENVIRONMENT_HEIGHT_M
    return 4 * (station_height_m - h_e) * (device_height_m - h_e) * carrier_hz / _C_3GPP_MPS


def umi_los_loss_db(ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 UMi street canyon, line of sight (table 7.4.1-1).

        PL1 = 32.4 + 21 log10 d3 + 20 log10 f                                              d2 <= d'_BP
        PL2 = 32.4 + 40 log10 d3 + 20 log10 f - 9.5 log10(d'_BP^2 + (h_BS - h_UT)^2)       beyond, f in GHz

    ground_m: [...] d2; d3 = sqrt(d2^2 + (h_BS - h_UT)^2). Returns [...] dB. Valid for 10 m <= d2 <= 5 km, 0.5 to 100 GHz.
    """
    difference = station_height_m - device_height_m
    breakpoint_m = umi_breakpoint_m(station_height_m, device_height_m, carrier_hz)
    log_d3 = 0.5 * np.log10(np.square(ground_m) + np.square(difference))
    log_bp = np.log10(np.square(breakpoint_m) + np.square(difference))
    near = 21 * log_d3
    far = 40 * log_d3 - 9.5 * log_bp
    return 32.4 + 20 * math.log10(carrier_hz / 1e9) + np.where(ground_m <= breakpoint_m, near, far)


def umi_nlos_loss_db(ground_m: Any, station_height_m: Any, device_height_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 UMi street canyon, no line of sight (table 7.4.1-1).

        PL = max(PL_LOS, 22.4 + 35.3 log10 d3 + 21.3 log10 f - 0.3 (h_UT - 1.5))

    Arguments, units and validity as for `umi_los_loss_db`.
    """
    log_d3 = 0.5 * np.log10(np.square(ground_m) + np.square(station_height_m - device_height_m))
    nlos = 22.4 + 35.3 * log_d3 + 21.3 * math.log10(carrier_hz / 1e9) - 0.3 * (device_height_m - 1.5)
    return np.maximum(umi_los_loss_db(ground_m, station_height_m, device_height_m, carrier_hz), nlos)


def umi_los_probability(ground_m: Any) -> Any:
    """TR 38.901 UMi (table 7.4.2-1): 1 up to d2 = 18 m, then 18/d2 + exp(-d2/36)(1 - 18/d2). [...] m to [...]."""
    d = np.maximum(ground_m, 18.0)
    return 18 / d + np.exp(-d / 36) * (1 - 18 / d)


@dataclass(frozen=True)
class UmiStreetCanyon:
    """TR 38.901 UMi street canyon between a base station and a device; refuses other pairs.

    los: "field" (a correlated state per place, compared with P(LOS)), "always" or "never"
    strict: raise outside the range of validity (0.5 to 100 GHz; d2 10 m to 5 km; h_BS 10 m; h_UT 1.5 to 22.5 m) instead of
        warning once. A device at or below the effective environment height of 1 m is an error in any case.
    """

    los: str = "field"
    strict: bool = False
    needs_station: ClassVar[bool] = True
    _warned: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.los not in ("field", "always", "never"):
            raise ValueError(f'los = {self.los!r}: "field", "always" or "never" is needed')

    @property
    def has_los(self) -> bool:
        return True

    def loss_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, los: NDArray[np.bool_] | None = None
    ) -> Floats:
        if los is None:
            raise ValueError("tr38901_umi needs the line-of-sight state of every link")
        ground_m = np.hypot(device_m[..., 0] - other_m[..., 0], device_m[..., 1] - other_m[..., 1])
        device_height_m, station_height_m = device_m[..., 2], other_m[..., 2]
        self._check(ground_m, station_height_m, device_height_m, carrier_hz)
        los_loss = umi_los_loss_db(ground_m, station_height_m, device_height_m, carrier_hz)
        nlos_loss = umi_nlos_loss_db(ground_m, station_height_m, device_height_m, carrier_hz)
        return np.where(los, los_loss, nlos_loss)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        """PL1 without a breakpoint: below every other branch, whatever the heights."""
        loss: Floats = 32.4 + 21 * np.log10(np.maximum(distance_m, 1.0)) + 20 * math.log10(carrier_hz / 1e9)
        return loss

    def los_probability(self, ground_m: Floats) -> Floats:
        if self.los == "field":
            probability: Floats = umi_los_probability(ground_m)
            return probability
        return np.full_like(ground_m, 1.0 if self.los == "always" else 0.0)

    def _check(self, ground_m: Floats, station_height_m: Floats, device_height_m: Floats, carrier_hz: float) -> None:
        if ground_m.size == 0:
            return
        lowest = float(min(device_height_m.min(), station_height_m.min()))
        if lowest <= UMI_ENVIRONMENT_HEIGHT_M:
            raise ValueError(
                f"tr38901_umi: antenna height {lowest:g} m; it must be above the environment height of 1 m (1.5 m?)"
            )
        if self._warned:
            return
        for what, low, high, unit, least, most in (
            ("carrier", carrier_hz / 1e9, carrier_hz / 1e9, "GHz", 0.5, 100.0),
            ("ground distance", ground_m.min(), ground_m.max(), "m", 10.0, 5000.0),
            ("base station height", station_height_m.min(), station_height_m.max(), "m", 10.0, 10.0),
            ("device height", device_height_m.min(), device_height_m.max(), "m", 1.5, 22.5),
        ):
            if low >= least and high <= most:
                continue
            found = low if low < least else high
            valid = f"{least:g} {unit}" if least == most else f"{least:g} to {most:g} {unit}"
            message = f"tr38901_umi: {what} {found:.4g} {unit} is outside the model's range ({valid})"
            if self.strict:
                raise ValueError(message)
            self._warned.append(message)
            warnings.warn(message + "; computed all the same, said once", stacklevel=2)
            return
