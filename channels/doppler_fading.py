"""Doppler fading: a sum of sinusoids over the distance travelled, as a pure function of time.

After Xiao, Zheng, Beaulieu, "Novel sum-of-sinusoids simulation models for Rayleigh and Rician fading channels", IEEE Trans.
Wireless Commun. 2006, with the phase driven by the distance travelled instead of speed x time, and an angle at both ends:

    Y(t) = N^(-1/2) sum_n exp(j [2 pi d_1(t)/lambda cos a_n + 2 pi d_2(t)/lambda cos b_n + phi_n])
    a_n = (2 pi n + theta_n)/N,  b_n likewise in an order shuffled by a random affine map,  theta_n, phi_n uniform

Its ensemble autocorrelation over travelled distances is exactly J0(2 pi D_1/lambda) J0(2 pi D_2/lambda), for every N and
every course of the speed. The law of |Y|^2 is exponential up to the order 1/(2N): its distribution function is
1 - exp(-x) - x (1 - x/2) exp(-x)/(2N) + O(1/N^2), 3 % fewer deep fades at N = 16.

`environment_speed_mps` lets static links fade: the path d_1 of the end with the lower id grows by environment_speed_mps x t
beside what that node travels, as if what surrounds it moved at that speed. The Rician direct path turns with the nodes'
travel only.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .branches import Branches, Ends, branches_of
from .counter import Words, extend, to_uniform
from .fading import Fading
from .positions import Positions
from .units import whole_ns
from .waves import CHUNK, reduced_angle, tree_sum

Floats = NDArray[np.float64]

CYCLES_PER_CELL = 0.02  # the declared grid: midpoint sampling integrates rates to better than 1e-3


class DopplerFading:
    """Sum of sinusoids over travelled distances. `cell_s` is CYCLES_PER_CELL over the largest Doppler shift."""

    def __init__(
        self, config: Fading, key: int, wavelength_m: float, max_speed_sum_mps: float, positions: Positions
    ) -> None:
        speed = max_speed_sum_mps + config.environment_speed_mps
        self.cell_s = whole_ns(CYCLES_PER_CELL * wavelength_m / speed) if speed > 0 else math.inf
        self._key = key
        self._config = config
        self._wavelength_m = wavelength_m
        self._positions = positions

    def prepare(self, ends: Ends) -> Branches:
        """Angles and phases of all sinusoids, as near and far [N, R, 1] in 1/m and phase [N, R, 1] in cycles; for Rician also
        those of the direct path, [R, 1] each."""
        return self.with_waves(branches_of(self._key, ends))

    def with_waves(self, branches: Branches) -> Branches:
        """The same for branches that exist."""
        return replace(branches, waves=self._waves(branches.key))

    def _waves(self, key: Words) -> tuple[Floats, ...]:
        num = self._config.num_sinusoids
        n = np.arange(num)[:, None, None]
        bits = extend(key, n)  # [N, rows, 1]; three draws of 21 bits each
        low = np.uint64((1 << 21) - 1)
        theta_1, theta_2, phase = (
            ((bits >> np.uint64(shift)) & low).astype(np.float64) * 2.0**-21 + 2.0**-22 for shift in (43, 22, 1)
        )
        map_bits = extend(key, np.full(1, num))
        stride = _units(num)[(map_bits >> np.uint64(33)).astype(np.int64) % len(_units(num))]
        order = (n * stride + (map_bits & np.uint64(0xFFFFFFFF)).astype(np.int64)) % num
        near = self._cosine((n + theta_1) / num)
        far = self._cosine((order + theta_2) / num)
        if self._config.k == 0:
            return near, far, phase
        direct = to_uniform(extend(key, num + 1 + np.arange(3)))  # [rows, 3]
        direct_near = self._cosine(direct[:, 0:1].copy())
        direct_far = self._cosine(direct[:, 1:2].copy())
        return near, far, phase, direct_near, direct_far, direct[:, 2:3].copy()

    def _cosine(self, cycles: Floats) -> Floats:
        cosine: Floats = np.cos(reduced_angle(cycles)).astype(np.float64)
        return cosine / self._wavelength_m

    def power(self, ends: Ends, branches: Branches, t_s: Floats) -> Floats:
        """sum over antennas of |h|^2 at times t_s [k]. Returns [L, k]."""
        real, imag = self._gain(ends, branches, t_s)
        real *= real
        imag *= imag
        real += imag
        transformed = self._config.from_exponential(real)
        return branches.combine(real if transformed is None else transformed)

    def complex_gain(self, ends: Ends, branches: Branches, t_s: Floats) -> NDArray[np.complex128]:
        """h of every antenna at times t_s [k]: [R, k], rows as in `Branches`."""
        real, imag = self._gain(ends, branches, t_s)
        return real + 1j * imag

    def _gain(self, ends: Ends, branches: Branches, t_s: Floats) -> tuple[Floats, Floats]:
        near_m, far_m = self._travelled_m(ends.near, t_s), self._travelled_m(ends.far, t_s)
        if near_m is None:
            near_m = np.zeros((ends.near.size, t_s.size))
        if branches.link is not None:
            near_m = near_m[branches.link]
            far_m = None if far_m is None else far_m[branches.link]
        environment_m = self._config.environment_speed_mps * t_s
        num_rows, num_times = near_m.shape
        real, imag = np.empty((num_rows, num_times)), np.empty((num_rows, num_times))
        elements = max(1, CHUNK // self._config.num_sinusoids)
        columns = max(1, min(num_times, elements))
        rows = max(1, elements // columns)
        for i in range(0, num_rows, rows):
            a = slice(i, i + rows)
            waves = tuple(w[:, a] if w.ndim == 3 else w[a] for w in branches.waves)
            for k in range(0, num_times, columns):
                b = slice(k, k + columns)
                far_part = None if far_m is None else far_m[a, b]
                real[a, b], imag[a, b] = self._sum(waves, near_m[a, b], far_part, environment_m[b])
        return real, imag

    def _travelled_m(self, nodes: NDArray[np.int64], t_s: Floats) -> Floats | None:
        """[L, k], or None where none of the nodes ever moves."""
        return None if self._positions.is_static[nodes].all() else self._positions.travelled_m(nodes, t_s)

    def _sum(
        self, waves: tuple[Floats, ...], near_m: Floats, far_m: Floats | None, environment_m: Floats
    ) -> tuple[Floats, Floats]:
        """Real and imaginary part of h, [rows, columns], after the paths near_m and far_m [rows, columns] (None: 0)."""
        near, far, phase = waves[:3]
        if not self._config.both_ends_move:
            near_m, far_m = (near_m if far_m is None else near_m + far_m), None
        cycles = near * (near_m + environment_m)  # [N, rows, columns]
        if far_m is not None:
            cycles += far * far_m
        cycles += phase
        angle = reduced_angle(cycles)
        scale = 1 / math.sqrt(self._config.num_sinusoids * (1 + self._config.k))
        real = tree_sum(np.cos(angle)).astype(np.float64)
        imag = tree_sum(np.sin(angle, out=angle)).astype(np.float64)
        real *= scale
        imag *= scale
        if self._config.k > 0:
            direct_near, direct_far, direct_phase = waves[3:]
            cycles = direct_near * near_m
            if far_m is not None:
                cycles += direct_far * far_m
            cycles += direct_phase
            angle = reduced_angle(cycles)
            amplitude = math.sqrt(self._config.k / (1 + self._config.k))
            real += amplitude * np.cos(angle).astype(np.float64)
            imag += amplitude * np.sin(angle).astype(np.float64)
        return real, imag


def _units(num: int) -> NDArray[np.int64]:
    """The numbers below num that have no common divisor with it: n -> n * unit + shift permutes 0 .. num - 1."""
    return np.array([i for i in range(1, num) if math.gcd(i, num) == 1])
