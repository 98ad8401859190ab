"""Path loss: the mean attenuation of a link as a function of its geometry.

Every model is a small frozen dataclass with

    loss_db(device_m, other_m, carrier_hz, los)   [..., 3], [..., 3] positions -> [...] dB
    least_loss_db(distance_m, carrier_hz)         a lower bound at that distance, increasing with it
    los_probability(ground_m)                     [...] in [0, 1]; only where `has_los`

and its keys as fields: those of a scenario's [channel.path_loss]. `los` is [channel] los, for a model that has such a field.
`needs_station` marks models that hold between a base station (`other_m`) and a device only. Outside its range of validity
a model still computes, and warns once per object; with `strict` it raises ValueError.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .bounds import DistanceM, LossDb, PathLossExponent
from .tr38901_umi import UmiStreetCanyon
from .units import SPEED_OF_LIGHT_MPS

__all__ = [
    "FreeSpace",
    "LogDistance",
    "PathLoss",
    "UmiStreetCanyon",
    "free_space_loss_db",
    "log_distance_loss_db",
]

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


@dataclass(frozen=True)
class FreeSpace:
    """Free space (Friis) between any two nodes: `free_space_loss_db`.

    min_distance_m: nearer than this the loss stays what it is there
    """

    min_distance_m: DistanceM = 1.0
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
    """Log-distance law between any two nodes: `log_distance_loss_db`.

    exponent: 2 in free space, more where buildings stand
    reference_loss_db: at the reference distance; without it free space holds there
    reference_distance_m: nearer than this the loss stays what it is there
    """

    exponent: PathLossExponent
    reference_loss_db: LossDb | None = None
    reference_distance_m: DistanceM = 1.0
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


def _distance_m(a: Floats, b: Floats) -> Floats:
    d = a - b
    squared: Floats = d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]
    return np.sqrt(squared)


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} = {value}: a positive finite number is needed")
