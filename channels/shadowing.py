"""Shadowing: a Gaussian field over the ground plane with exponential correlation, a pure function of place.

    S(x) = sqrt(2/M) sum_m cos(k_m . x + phi_m),      E[S(x) S(x + d)] = exp(-|d| / d_corr)

Gudmundson, "Correlation model for shadow fading in mobile radio systems", Electronics Letters 1991, gives the correlation
(also TR 38.901 7.4.4). Its spectrum in two dimensions is (1 + (|k| d_corr)^2)^(-3/2), hence |k| = sqrt(1/(1-u)^2 - 1)/d_corr
with u uniform, and a uniform direction. u and the direction are stratified over the M waves (each wave's law is unchanged).

One field per base station: two devices at one spot see the same value. Between two devices one field F at both ends,

    S(a, b) = (F(a) + F(b)) / sqrt(2 (1 + exp(-|a - b| / d_corr)))

is symmetric and has variance exactly 1 at every separation. With M waves a single field is Gaussian to order 1/M.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .counter import hash_int, uniform
from .waves import CHUNK, reduced_angle, tree_sum

Floats = NDArray[np.float64]

NUM_WAVES = 128


@dataclass(frozen=True)
class Shadowing:
    """Log-normal shadowing with a standard deviation in dB and a correlation distance."""

    standard: ClassVar[str] = "correlation exp(-d/d_corr) (Gudmundson, Electronics Letters 1991)"

    sigma_db: float
    correlation_m: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma_db) and self.sigma_db >= 0):
            raise ValueError(f"shadowing sigma_db = {self.sigma_db}: a finite number of 0 or more is needed")
        if not (math.isfinite(self.correlation_m) and self.correlation_m > 0):
            raise ValueError(f"shadowing correlation_m = {self.correlation_m}: a positive finite number is needed")


@dataclass(frozen=True)
class LosShadowing:
    """Log-normal shadowing whose law depends on the line-of-sight state, one independent field for each."""

    standard: ClassVar[str] = (
        "correlation exp(-d/d_corr) (Gudmundson, Electronics Letters 1991), one for each line-of-sight state"
    )

    los: Shadowing
    nlos: Shadowing


@dataclass(frozen=True)
class StandardShadowing(LosShadowing):
    """Shadowing as the source of a path loss model has it; los and nlos are the same where it has no such state.

    o2i: of devices inside a building, seen from a base station outside; None: as outdoors
    far_los_sigma_db: sigma with line of sight beyond the model's breakpoint, where it differs
    """

    o2i: Shadowing | None = None
    far_los_sigma_db: float | None = None


UMI_SHADOWING = LosShadowing(los=Shadowing(4.0, 10.0), nlos=Shadowing(7.82, 13.0))
"""TR 38.901 UMi street canyon: sigma of table 7.4.1-1, correlation distances of table 7.5-6."""


class PlaneWaveField:
    """A Gaussian field of zero mean and unit variance over the plane, fixed by its key."""

    def __init__(self, key: int, correlation_m: float, num_waves: int = NUM_WAVES) -> None:
        m = np.arange(num_waves)
        order = np.argsort(uniform(hash_int(key, 0), m), kind="stable")
        u = (m + uniform(hash_int(key, 1), m)) / num_waves
        direction = 2 * np.pi * (order + uniform(hash_int(key, 2), m)) / num_waves
        wavenumber = np.sqrt(1 / np.square(1 - u) - 1) / (2 * np.pi * correlation_m)  # cycles per meter
        self._kx = (wavenumber * np.cos(direction))[:, None]
        self._ky = (wavenumber * np.sin(direction))[:, None]
        self._phase = uniform(hash_int(key, 3), m)[:, None]
        self._amplitude = math.sqrt(2 / num_waves)

    def at(self, x_m: Floats, y_m: Floats) -> Floats:
        """The field at places; x_m, y_m: [...] m, of one shape. Returns [...]."""
        x, y = np.ravel(x_m), np.ravel(y_m)
        value = np.empty(x.size)
        step = max(1, CHUNK // self._kx.shape[0])
        for i in range(0, x.size, step):
            cycles = self._kx * x[i : i + step]
            cycles += self._ky * y[i : i + step]
            cycles += self._phase
            waves = np.cos(reduced_angle(cycles))
            value[i : i + step] = tree_sum(waves)
        value *= self._amplitude
        return value.reshape(np.shape(x_m))


def pair_scale(distance_m: Floats, correlation_m: float) -> Floats:
    """1/sqrt(2 (1 + exp(-d/d_corr))): what makes the sum of one unit field at both ends a unit variable. [...] m to [...]."""
    scale: Floats = 1 / np.sqrt(2 * (1 + np.exp(-distance_m / correlation_m)))
    return scale
