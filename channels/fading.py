"""Small-scale fading: the power |h|^2 of a unit-mean gain, as a pure function of (link, time).

Rayleigh: h = Y. Rician with factor K: h = (Y + sqrt(K) e^{j(...)}) / sqrt(1 + K). Y is complex normal with E|Y|^2 = 1, either
independent from block to block (`block_fading`) or with Clarke's autocorrelation (`doppler_fading`). Nakagami-m: `nakagami`.
"ergodic" is for transfers much longer than the coherence time: gains stand at their mean, and rates are the mean over the
law (`ergodic`).

Links are keyed by the unordered pair; with an explicit direction (FDD) the two directions are independent. Branches (pairs
of antennas) are independent; the receive antennas' powers add (maximum ratio combining), one transmit antenna sends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .bounds import Bounds

Floats = NDArray[np.float64]

KFactorDb = Annotated[float, Bounds(-40.0, 60.0, "Rician K factors are in dB", decibel=True)]
BlockS = Annotated[float, Bounds(1e-9, 1e9, "times are in s")]
SpeedMps = Annotated[float, Bounds(0.0, 1e3, "speeds are in m/s", typical=(0.1, 100.0))]
Sinusoids = Annotated[int, Bounds(8, 4096, "sinusoids of a sum are counted")]


@dataclass(frozen=True)
class NoFading:
    """No small-scale fading: every gain is its local mean."""

    name: ClassVar[str] = "none"
    standard: ClassVar[str] = "none: gains are the local mean"


@dataclass(frozen=True)
class Fading:
    """What all laws have in common.

    correlation: block: a new value every block_s; doppler: Clarke's spectrum over the distance travelled; ergodic: mean gains,
        and rates that are the mean over the law, for transfers much longer than the coherence time.
    block_s: length of a block; block only.
    both_ends_move: scattering around both ends, J0 times J0; false: one ring only, J0 of the sum of both ends' paths; doppler
        only.
    environment_speed_mps: speed of what moves around static devices; doppler only.
    num_sinusoids: sinusoids of the sum, N; doppler only.

    name, standard: of the registry, and where the law comes from, for results.
    """

    name: ClassVar[str]
    standard: ClassVar[str]

    correlation: Literal["block", "doppler", "ergodic"] = "block"
    block_s: BlockS = 0.1
    both_ends_move: bool = True
    environment_speed_mps: SpeedMps = 0.5
    num_sinusoids: Sinusoids = 16

    def __post_init__(self) -> None:
        if self.correlation not in ("block", "doppler", "ergodic"):
            raise ValueError(f'correlation = {self.correlation!r}: "block", "doppler" or "ergodic" is needed')
        if not (math.isfinite(self.block_s) and self.block_s > 0):
            raise ValueError(f"block_s = {self.block_s}: a positive number of seconds is needed")
        if not (math.isfinite(self.environment_speed_mps) and self.environment_speed_mps >= 0):
            raise ValueError(f"environment_speed_mps = {self.environment_speed_mps}: 0 or more m/s is needed")
        if self.num_sinusoids < 8:
            raise ValueError(f"num_sinusoids = {self.num_sinusoids}: at least 8 are needed")

    @property
    def k(self) -> float:
        """Rician factor, linear: power of the direct path over that of all others."""
        return 0.0

    def from_exponential(self, power: Floats) -> Floats | None:
        """For a law that is a transform of Rayleigh fading: [...] unit exponential powers to powers of this law. Else None."""
        return None

    def exceeds(self, power: Any, num_branches: int = 1) -> Any:
        """P(sum of |h|^2 over num_branches branches > power). power: [...] linear, 0 or more. Returns [...]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Rayleigh(Fading):
    """Rayleigh fading: no direct path."""

    name: ClassVar[str] = "rayleigh"
    standard: ClassVar[str] = "Rayleigh law: Clarke, Bell System Technical Journal 1968"

    def exceeds(self, power: Any, num_branches: int = 1) -> Any:
        """Gamma(L, 1): the sum of L unit exponentials."""
        from scipy.special import gammaincc

        return gammaincc(num_branches, power)


@dataclass(frozen=True)
class Rician(Fading):
    """Rician fading: a direct path beside all others.

    k_db: power of the direct path over that of all others; TR 38.901 table 7.5-6 has 9 dB for line of sight outdoors.
    """

    name: ClassVar[str] = "rician"
    standard: ClassVar[str] = "Rician law: Rice, Bell System Technical Journal 1944 and 1945"
    k_db: KFactorDb = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.k_db):
            raise ValueError(f"k_db = {self.k_db}: a finite number of decibels is needed")

    @property
    def k(self) -> float:
        return float(10 ** (self.k_db / 10))

    def exceeds(self, power: Any, num_branches: int = 1) -> Any:
        """2 (K + 1) g is noncentral chi-square with 2 L degrees of freedom and noncentrality 2 K L. Absolute error 1e-12 (scipy's
        survival function of that law overflows for K of 20 dB and L of 2)."""
        from scipy.special import chndtr

        return 1 - chndtr(2 * (self.k + 1) * np.asarray(power), 2 * num_branches, 2 * self.k * num_branches)
