"""Complex gains of links over time and frequency, from a fading law and a power-delay profile (`delay_profile`)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .block_fading import BlockFading
from .branches import Branches, Ends, branches_of
from .counter import extend
from .delay_profile import DelayProfile
from .doppler_fading import DopplerFading
from .fading import Fading, Rayleigh
from .nakagami import Nakagami
from .positions import Positions

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

_TAPS_TAG = 1 << 41  # id in hash keys, above all blocks
_TAP_ROWS = 1 << 14  # gains of taps drawn at once, at most, where one tap is not more


class SelectiveFading:
    """The sum of a profile's taps. The first tap and the direct path are those of the flat link; so a profile of one tap at
    delay 0 is the flat link."""

    def __init__(
        self,
        law: Fading,
        profile: DelayProfile,
        key: int,
        wavelength_m: float,
        max_speed_sum_mps: float,
        positions: Positions,
    ) -> None:
        """Raises ValueError for a law without complex gains or without the direct path that the profile needs."""
        if isinstance(law, Nakagami) or law.correlation == "ergodic":
            what = "nakagami has powers only" if isinstance(law, Nakagami) else "ergodic fading has mean gains only"
            raise ValueError(f"a delay profile needs complex gains, {what}: rayleigh or rician, block or doppler")
        if profile.needs_direct and law.k == 0:
            raise ValueError(f"{profile} has a direct path: a rician law is needed")
        self._key = key
        self._profile = profile
        self._k = law.k
        scattered = Rayleigh(
            law.correlation, law.block_s, law.both_ends_move, law.environment_speed_mps, law.num_sinusoids
        )

        def generator(config: Fading) -> BlockFading | DopplerFading:
            if config.correlation == "block":
                return BlockFading(config, key)
            return DopplerFading(config, key, wavelength_m, max_speed_sum_mps, positions)

        self._flat = generator(law)
        self._scattered = generator(scattered)
        self.cell_s = self._flat.cell_s

    def power(self, ends: Ends, t_s: Floats, frequency_hz: Floats) -> Floats:
        """sum over antennas of |h(t, f)|^2. t_s: [k]; frequency_hz: [m] from the carrier. Returns [L, k, m]."""
        branches = branches_of(self._key, ends)
        h = self.complex_gain(ends, t_s, frequency_hz)
        power = h.real**2 + h.imag**2
        return branches.combine(power.reshape(len(power), -1)).reshape(-1, *power.shape[1:])

    def complex_gain(self, ends: Ends, t_s: Floats, frequency_hz: Floats) -> Complexes:
        """h of every antenna, [R, k, m]; rows as in `Branches`."""
        branches = branches_of(self._key, ends)
        delays = self._profile.delays_s(branches.key)
        amplitudes = np.sqrt(self._profile.powers / (1 + self._k))
        num_rows = len(branches.key)
        at_once = max(1, _TAP_ROWS // max(1, num_rows * t_s.size))
        total = np.zeros((num_rows, t_s.size, frequency_hz.size), dtype=np.complex128)
        for begin in range(0, len(amplitudes), at_once):
            taps = np.arange(begin, min(begin + at_once, len(amplitudes)))
            gains = self._taps(ends, branches, taps, t_s)
            for tap, h in zip(taps.tolist(), gains):
                turn = np.exp(-2j * np.pi * delays[:, tap : tap + 1] * frequency_hz)  # [R or 1, m]
                total += (amplitudes[tap] * h)[:, :, None] * turn[:, None, :]
            if begin == 0 and self._k > 0:
                direct = self._gain(self._flat, ends, branches, t_s) - gains[0] / math.sqrt(1 + self._k)
        if self._k > 0:
            total += direct[:, :, None]
        return total

    def _taps(self, ends: Ends, branches: Branches, taps: NDArray[np.int64], t_s: Floats) -> Complexes:
        """h_l of these taps, [taps, R, k]: one draw of len(taps) rows for every antenna."""
        keys = extend(extend(branches.key, np.full(1, _TAPS_TAG)), taps).T  # [taps, R]
        if taps[0] == 0:
            keys[0] = branches.key[:, 0]
        num_rows = len(branches.key)
        link = np.arange(num_rows) if branches.link is None else branches.link
        rows = replace(branches, key=keys.reshape(-1, 1), link=np.tile(link, len(taps)))
        return self._gain(self._scattered, ends, rows, t_s).reshape(len(taps), num_rows, t_s.size)

    def _gain(self, generator: BlockFading | DopplerFading, ends: Ends, branches: Branches, t_s: Floats) -> Complexes:
        if isinstance(generator, BlockFading):
            return generator.complex_gain(branches, t_s)
        return generator.complex_gain(ends, generator.with_waves(branches), t_s)
