"""Path loss: the mean attenuation of a link as a function of its geometry.

Every model is a small frozen dataclass with

    loss_db(device_m, other_m, carrier_hz, los)   [..., 3], [..., 3] positions -> [...] dB
    least_loss_db(distance_m, carrier_hz)         a lower bound at that distance, increasing with it
    los_probability(ground_m)                     [...] in [0, 1]; only where `has_los`

`needs_station` marks models that hold between a base station (`other_m`) and a device only. Outside its range of validity
a model still computes, and warns once per object; with `strict` it raises ValueError.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .units import SPEED_OF_LIGHT_MPS

Floats = NDArray[np.float64]


class PathLoss(Protocol):
    """What a `Channel` asks of a path loss model; the module's docstring defines the terms."""

    needs_station: ClassVar[bool]

    @property
    def has_los(self) -> bool: ...

    def loss_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, los: NDArray[np.bool_] | None
    ) -> Floats: ...

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats: ...

    def los_probability(self, ground_m: Floats) -> Floats: ...


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
class FreeSpace:
    """`free_space_loss_db` between any two nodes."""

    min_distance_m: float = 1.0
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_positive("min_distance_m", self.min_distance_m)

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        return self.least_loss_db(_distance_m(device_m, other_m), carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        loss: Floats = free_space_loss_db(distance_m, carrier_hz, self.min_distance_m)
        return loss

    def los_probability(self, ground_m: Floats) -> Floats:
        return np.ones_like(ground_m)


@dataclass(frozen=True)
class LogDistance:
    """`log_distance_loss_db` between any two nodes; without a reference loss, free space holds at the reference distance."""

    exponent: float = 3.0
    reference_loss_db: float | None = None
    reference_distance_m: float = 1.0
    needs_station: ClassVar[bool] = False
    has_los: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_positive("exponent", self.exponent)
        _require_positive("reference_distance_m", self.reference_distance_m)
        if self.reference_loss_db is not None and not math.isfinite(self.reference_loss_db):
            raise ValueError(f"reference_loss_db = {self.reference_loss_db}: a finite number of decibels is needed")

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        return self.least_loss_db(_distance_m(device_m, other_m), carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        d_0 = self.reference_distance_m
        reference_db = self.reference_loss_db
        if reference_db is None:
            reference_db = float(free_space_loss_db(d_0, carrier_hz, d_0))
        loss: Floats = log_distance_loss_db(distance_m, self.exponent, reference_db, d_0)
        return loss

    def los_probability(self, ground_m: Floats) -> Floats:
        return np.ones_like(ground_m)


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


PATH_LOSS: dict[str, type] = {
    "free_space": FreeSpace,
    "log_distance": LogDistance,
    "tr38901_umi": UmiStreetCanyon,
}


def _distance_m(a: Floats, b: Floats) -> Floats:
    d = a - b
    squared: Floats = d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]
    return np.sqrt(squared)


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} = {value}: a positive finite number is needed")
