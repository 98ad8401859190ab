"""From SNR to rate: Shannon's formula with an SNR gap, a floor and a cap.

    efficiency = (1 - overhead) min(log2(1 + snr / gap), max)     for snr >= min_snr, else 0     [bit/s/Hz]

The gap stands for the distance of a real code and modulation from capacity (3 dB), the cap for the largest modulation
(7.4 bit/s/Hz is 256QAM at rate 0.93), the floor for the lowest rate that a receiver can still follow (-10 dB, as in the
truncated form of TR 36.942 annex A), the overhead for pilots, control and cyclic prefix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .units import db_to_linear


@dataclass(frozen=True)
class RateMap:
    """Spectral efficiency of an adaptive link as a function of its SNR."""

    snr_gap_db: float = 3.0
    max_efficiency_bps_hz: float = 7.4
    min_snr_db: float = -10.0
    overhead: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.snr_gap_db) and self.snr_gap_db >= 0):
            raise ValueError(f"snr_gap_db = {self.snr_gap_db}: a finite gap of 0 dB or more is needed")
        if not self.max_efficiency_bps_hz > 0:
            raise ValueError(f"max_efficiency_bps_hz = {self.max_efficiency_bps_hz}: must be positive")
        if math.isnan(self.min_snr_db):
            raise ValueError("min_snr_db is not a number")
        if not 0 <= self.overhead < 1:
            raise ValueError(f"overhead = {self.overhead}: a fraction of at least 0 and below 1 is needed")

    def efficiency(self, snr: Any) -> Any:
        """snr: [...] linear signal-to-noise ratio at the receiver. Returns [...] bit/s/Hz net of overhead."""
        snr = np.asarray(snr, dtype=np.float64)
        rate = np.log2(1 + snr * float(db_to_linear(-self.snr_gap_db)))
        rate = (1 - self.overhead) * np.minimum(rate, self.max_efficiency_bps_hz)
        return np.where(snr >= self.min_snr, rate, 0.0)

    @property
    def min_snr(self) -> float:
        """The floor as a linear ratio."""
        return float(db_to_linear(self.min_snr_db))

    @property
    def saturation_snr(self) -> float:
        """The linear SNR from which on the cap holds."""
        return float(db_to_linear(self.snr_gap_db)) * (2.0**self.max_efficiency_bps_hz - 1)
