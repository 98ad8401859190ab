"""Small-scale fading: the power |h|^2 of a unit-mean complex gain, as a pure function of (link, time).

Rayleigh: h = Y. Rician with factor K: h = (Y + sqrt(K) e^{j(...)}) / sqrt(1 + K). Y is complex normal with E|Y|^2 = 1, either
independent from block to block (`block_fading`) or with Clarke's autocorrelation (`doppler_fading`).

Links are keyed by the unordered pair; with an explicit direction (FDD) the two directions are independent. Branches (pairs
of antennas) are independent; the receive antennas' powers add (maximum ratio combining), one transmit antenna sends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rayleigh:
    """Rayleigh fading: no direct path.

    correlation: "block" or "doppler"
    block_s: length of a block
    both_ends_move: one angle of travel per end (J0 x J0); False: one ring only, J0 of the sum of both ends' paths
    environment_speed_mps: see the module; "doppler" only
    num_sinusoids: N; "doppler" only
    """

    correlation: str = "block"
    block_s: float = 0.1
    both_ends_move: bool = True
    environment_speed_mps: float = 0.5
    num_sinusoids: int = 16

    def __post_init__(self) -> None:
        if self.correlation not in ("block", "doppler"):
            raise ValueError(f'fading correlation = {self.correlation!r}: "block" or "doppler" is needed')
        if not (math.isfinite(self.block_s) and self.block_s > 0):
            raise ValueError(f"fading block_s = {self.block_s}: a positive number of seconds is needed")
        if not (math.isfinite(self.environment_speed_mps) and self.environment_speed_mps >= 0):
            raise ValueError(f"fading environment_speed_mps = {self.environment_speed_mps}: 0 or more m/s is needed")
        if self.num_sinusoids < 8:
            raise ValueError(f"fading num_sinusoids = {self.num_sinusoids}: at least 8 are needed")

    @property
    def k(self) -> float:
        """Rician factor, linear: power of the direct path over that of all others."""
        return 0.0


@dataclass(frozen=True)
class Rician(Rayleigh):
    """Rician fading: a direct path of k_db above the power of all other paths. The rest as for Rayleigh."""

    k_db: float = 9.0  # TR 38.901 table 7.5-6, UMi line of sight, mean

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.k_db):
            raise ValueError(f"fading k_db = {self.k_db}: a finite number of decibels is needed")

    @property
    def k(self) -> float:
        return float(10 ** (self.k_db / 10))
