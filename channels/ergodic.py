"""Ergodic rates: the mean of the rate map over a fading law, for transfers much longer than the coherence time.

    E[efficiency(snr G / L)] = (1 - overhead) [ r_0 S(g(r_0)) + integral from r_0 to r_max of S(g(r)) dr ],
    g(r) = (2^r - 1) gap L / snr,   S(g) = P(G > g),   r_0 = log2(1 + min_snr / gap),   r_max the cap

G is the power of the law summed over L receive antennas (mean L), snr the mean after combining. The integral is the mean
rate by parts, after which only the law's distribution function is left. A sender that codes over many fades, or that
follows them, gets this rate; a codeword within one fade gets the outage instead.

Tabulated over snr in dB every TABLE_STEP_DB and interpolated by monotone cubics: the error is below 5e-5 bit/s/Hz. Where
the law is narrow (K L above 20 dB) it is larger within one step of the floor. A mean below LEAST_BPS_HZ counts as nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .fading import Fading
from .link_adaptation import RateMap
from .units import db_to_linear

Floats = NDArray[np.float64]

TABLE_STEP_DB = 0.1
LEAST_BPS_HZ = 1e-6
_LOWEST_FLOOR_DB = -60.0  # of a rate map without a floor: below, nothing is sent
_STRONGEST_FADE_DB = 17.0  # a power so far above the mean has a probability below 1e-20 under Rayleigh fading
_DEEPEST_FADE_DB = 90.0
_HIGHEST_CAP_DB = 200.0  # of a rate map without a cap


class ErgodicRate:
    """The mean efficiency of links with one law and one number of receive antennas; see the module."""

    def __init__(self, rate_map: RateMap, law: Fading, num_branches: int = 1) -> None:
        from scipy.interpolate import PchipInterpolator

        floor_db = max(rate_map.min_snr_db, _LOWEST_FLOOR_DB)
        low_db = floor_db - _STRONGEST_FADE_DB - 10
        saturation_db = min(10 * math.log10(rate_map.saturation_snr), _HIGHEST_CAP_DB)
        high_db = max(saturation_db, floor_db) + _DEEPEST_FADE_DB
        self._snr_db = np.arange(low_db, high_db, TABLE_STEP_DB)
        rates = mean_efficiency(self._snr_db, rate_map, law, num_branches)
        with np.errstate(over="ignore"):  # in the reciprocals of slopes far below the least rate
            self._table = PchipInterpolator(self._snr_db, rates)

    def efficiency(self, snr: Floats) -> Floats:
        """snr: [...] mean over fading after combining, linear, 0 or more. Returns [...] bit/s/Hz net of overhead."""
        with np.errstate(divide="ignore"):
            snr_db = 10 * np.log10(snr)
        mean: Floats = self._table(np.clip(snr_db, self._snr_db[0], self._snr_db[-1]))
        return np.where(mean < LEAST_BPS_HZ, 0.0, mean)


def mean_efficiency(snr_db: Floats, rate_map: RateMap, law: Fading, num_branches: int = 1) -> Floats:
    """The integral of the module's docstring by the trapezoidal rule. snr_db: [n] mean SNR. Returns [n] bit/s/Hz."""
    g = num_branches * np.unique(np.concatenate([np.geomspace(1e-12, 1e3, 4000), np.linspace(0.8, 1.25, 2001)]))
    survival = law.exceeds(g, num_branches)
    between = (survival[1:] + survival[:-1]) / 2
    gap = float(db_to_linear(rate_map.snr_gap_db))
    floor = max(rate_map.min_snr, float(db_to_linear(_LOWEST_FLOOR_DB)))
    cap = rate_map.max_efficiency_bps_hz
    lowest = min(math.log2(1 + floor / gap), cap)
    per_branch = db_to_linear(np.asarray(snr_db)) / num_branches
    mean = lowest * law.exceeds(floor / per_branch, num_branches)
    for i, snr in enumerate(per_branch.tolist()):
        rate = np.clip(np.log2(1 + g * (snr / gap)), lowest, cap)
        below = max(float(rate[0]) - lowest, 0.0)  # rates reached at any power of the grid
        mean[i] += below + float(between @ np.diff(rate))
    efficiency: Floats = (1 - rate_map.overhead) * mean
    return efficiency
