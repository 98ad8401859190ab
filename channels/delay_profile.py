"""Frequency selectivity: power-delay profiles, from which a link's gain follows for every resource block.

    h(t, f) = sum_l sqrt(P_l) h_l(t) exp(-j 2 pi f tau_l) / sqrt(1 + K) + sqrt(K / (1 + K)) d(t),      sum_l P_l = 1

h_l are independent Rayleigh gains of unit power, each as `block_fading` or `doppler_fading` has them; d is the direct path
of a Rician law, at delay 0. The correlation over frequency is (K + r(df)) / (1 + K), r(df) = sum_l P_l exp(-j 2 pi df tau_l).

ExponentialProfile: r(df) = 1 / (1 + j 2 pi df s) for an r.m.s. delay spread s. Its delays are drawn anew for each pair of
antennas, one from each of num_taps equally likely parts of the exponential law, with equal powers: the mean of r over links
is then exact for every number of taps, and no period in frequency appears.

TappedDelayLine: TDL-A to TDL-E of TR 38.901 (tables 7.7.2-1 to 7.7.2-5, delays scaled by the delay spread as in 7.7.3); A, B, C
have no direct path, D and E have one of K = 13.3 and 22 dB over the first tap. They go with a Rician law, whose K then
takes the place of the table's (7.7.6). The tables were written from memory and agree with several independent public
implementations; the r.m.s. delays are 1, as the standard says, to 2e-3 (D: 0.994).

Left out: correlation between antennas, and other Doppler spectra than those of the fading law. What is flat over a block is
taken at its center.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .counter import Words, extend, to_uniform

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_DELAY_TAG = 1 << 40  # id in hash keys, above all blocks


class DelayProfile(Protocol):
    """What `SelectiveFading` asks of a profile.

    powers: [num_taps], their sum is 1, without the direct path. delays_s(key): [R or 1, num_taps] for rows with these hashes
    [R, 1]. correlation(df_hz): [...] complex r(df), the mean over links. needs_direct: only for a law with a direct path.
    """

    @property
    def needs_direct(self) -> bool: ...

    @property
    def powers(self) -> Floats: ...

    def delays_s(self, key: Words) -> Floats: ...

    def correlation(self, df_hz: Floats) -> Complexes: ...


def _check_spread(delay_spread_s: float) -> None:
    if not (math.isfinite(delay_spread_s) and delay_spread_s >= 0):
        raise ValueError(f"delay_spread_s = {delay_spread_s}: 0 or more seconds are needed")


@dataclass(frozen=True)
class ExponentialProfile:
    """An exponential profile of r.m.s. delay spread delay_spread_s."""

    delay_spread_s: float
    num_taps: int = 16
    needs_direct: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_spread(self.delay_spread_s)
        if self.num_taps < 2:
            raise ValueError(f"num_taps = {self.num_taps}: at least 2 are needed")

    @property
    def powers(self) -> Floats:
        return np.full(self.num_taps, 1 / self.num_taps)

    def delays_s(self, key: Words) -> Floats:
        tap = np.arange(self.num_taps)
        below = (tap + to_uniform(extend(extend(key, np.full(1, _DELAY_TAG)), tap))) / self.num_taps
        delays: Floats = -self.delay_spread_s * np.log1p(-below)
        return delays

    def correlation(self, df_hz: Floats) -> Complexes:
        """1 / (1 + j 2 pi df s)."""
        return np.asarray(1 / (1 + 2j * np.pi * df_hz * self.delay_spread_s), dtype=np.complex128)


@dataclass(frozen=True)
class TappedDelayLine:
    """TDL-A to TDL-E of TR 38.901, model "tdl_a" to "tdl_e", with delays in units of delay_spread_s."""

    model: str
    delay_spread_s: float

    def __post_init__(self) -> None:
        _check_spread(self.delay_spread_s)
        if self.model not in _TABLES:
            raise ValueError(f"model = {self.model!r}: one of {', '.join(_TABLES)} is needed")

    @property
    def needs_direct(self) -> bool:
        return self.model in TABLE_K_DB

    @property
    def powers(self) -> Floats:
        powers = 10 ** (np.array(_TABLES[self.model][1]) / 10)
        normalized: Floats = powers / powers.sum()
        return normalized

    def delays_s(self, key: Words) -> Floats:
        return self.delay_spread_s * np.array(_TABLES[self.model][0])[None, :]

    def correlation(self, df_hz: Floats) -> Complexes:
        """sum_l P_l exp(-j 2 pi df tau_l)."""
        delays = self.delay_spread_s * np.array(_TABLES[self.model][0])
        return np.asarray(np.exp(-2j * np.pi * np.multiply.outer(df_hz, delays)) @ self.powers, dtype=np.complex128)


# fmt: off
_TABLES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # normalized delays, powers in dB; Rayleigh taps only
    "tdl_a": (
        (0.0, 0.3819, 0.4025, 0.5868, 0.4610, 0.5375, 0.6708, 0.5750, 0.7618, 1.5375, 1.8978, 2.2242, 2.1718, 2.4942, 2.5119,
         3.0582, 4.0810, 4.4579, 4.5695, 4.7966, 5.0066, 5.3043, 9.6586),
        (-13.4, 0.0, -2.2, -4.0, -6.0, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7, -12.4, -15.2, -10.8,
         -11.3, -12.7, -16.2, -18.3, -18.9, -16.6, -19.9, -29.7),
    ),
    "tdl_b": (
        (0.0, 0.1072, 0.2155, 0.2095, 0.2870, 0.2986, 0.3752, 0.5055, 0.3681, 0.3697, 0.5700, 0.5283, 1.1021, 1.2756, 1.5474,
         1.7842, 2.0169, 2.8294, 3.0219, 3.6187, 4.1067, 4.2790, 4.7834),
        (0.0, -2.2, -4.0, -3.2, -9.8, -1.2, -3.4, -5.2, -7.6, -3.0, -8.9, -9.0, -4.8, -5.7, -7.5,
         -1.9, -7.6, -12.2, -9.8, -11.4, -14.9, -9.2, -11.3),
    ),
    "tdl_c": (
        (0.0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.6560, 0.6584, 0.7935, 0.8213, 0.9336, 1.2285, 1.3083, 2.1704,
         2.7105, 4.2589, 4.6003, 5.4902, 5.6077, 6.3065, 6.6374, 7.0427, 8.6523),
        (-4.4, -1.2, -3.5, -5.2, -2.5, 0.0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1, -5.1, -6.8, -8.7,
         -13.2, -13.9, -13.9, -15.8, -17.1, -16.0, -15.7, -21.6, -22.8),
    ),
    "tdl_d": (
        (0.0, 0.035, 0.612, 1.363, 1.405, 1.804, 2.596, 1.775, 4.042, 7.937, 9.424, 9.708, 12.525),
        (-13.5, -18.8, -21.0, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8, -30.0, -27.7),
    ),
    "tdl_e": (
        (0.0, 0.5133, 0.5440, 0.5630, 0.5440, 0.7112, 1.9092, 1.9293, 1.9589, 2.6426, 3.7136, 5.4524, 12.0034, 20.6519),
        (-22.03, -15.8, -18.1, -19.8, -22.9, -22.4, -18.6, -20.8, -22.6, -22.3, -25.6, -20.2, -29.8, -29.2),
    ),
}
# fmt: on

DIRECT_DB = {"tdl_d": -0.2, "tdl_e": -0.03}
"""Power of the direct path in the tables."""

TABLE_K_DB = {
    model: direct - 10 * math.log10(sum(10 ** (power / 10) for power in _TABLES[model][1]))
    for model, direct in DIRECT_DB.items()
}
"""The whole profile's K factor by the tables, direct path over all other taps: what `Rician.k_db` is without scaling."""
