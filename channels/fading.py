"""Small-scale fading: the power |h|^2 of a unit-mean complex gain, as a pure function of (link, time).

Rayleigh: h = Y. Rician with factor K: h = (Y + sqrt(K) e^{j(...)}) / sqrt(1 + K). Y has E|Y|^2 = 1.

`block`: Y is a new circular complex normal in every block of block_s seconds, drawn by a counter-based hash of the link and
the block's index; the law is exact.

`doppler`: sum of sinusoids after Xiao, Zheng, Beaulieu, "Novel sum-of-sinusoids simulation models for Rayleigh and Rician
fading channels", IEEE Trans. Wireless Commun. 2006, with the phase driven by the distance travelled instead of speed x time,
and an angle at both ends:

    Y(t) = N^(-1/2) sum_n exp(j [2 pi d_1(t)/lambda cos a_n + 2 pi d_2(t)/lambda cos b_n + phi_n])
    a_n = (2 pi n + theta_n)/N,  b_n likewise in an order shuffled by a random affine map,  theta_n, phi_n uniform

Its ensemble autocorrelation over travelled distances is exactly J0(2 pi D_1/lambda) J0(2 pi D_2/lambda), for every N and
every course of the speed. The law of |Y|^2 is exponential up to the order 1/(2N): its distribution function is
1 - exp(-x) - x (1 - x/2) exp(-x)/(2N) + O(1/N^2), 3 % fewer deep fades at N = 16.

`environment_speed_mps` lets static links fade: the path d_1 of the end with the lower id grows by environment_speed_mps x t
beside what that node travels, as if what surrounds it moved at that speed. The Rician direct path turns with the nodes'
travel only.

Links are keyed by the unordered pair; with an explicit direction (FDD) the two directions are independent. Branches (pairs
of antennas) are independent; the receive antennas' powers add (maximum ratio combining), one transmit antenna sends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .counter import Words, extend, hash_u64, to_uniform
from .positions import Positions
from .waves import CHUNK, reduced_angle, tree_sum

Floats = NDArray[np.float64]

BLOCK_PHASE_TAG = 1  # last id of the second draw of a block
CYCLES_PER_CELL = 0.02  # the declared grid: midpoint sampling integrates rates to better than 1e-3


@dataclass(frozen=True)
class Rayleigh:
    """No direct path.

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
    """A direct path of k_db above the power of all other paths; the rest as for Rayleigh."""

    k_db: float = 9.0  # TR 38.901 table 7.5-6, UMi line of sight, mean

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.k_db):
            raise ValueError(f"fading k_db = {self.k_db}: a finite number of decibels is needed")

    @property
    def k(self) -> float:
        return float(10 ** (self.k_db / 10))


FADING: dict[str, type[Rayleigh] | None] = {"none": None, "rayleigh": Rayleigh, "rician": Rician}


@dataclass(frozen=True)
class Ends:
    """The identity of L links as fading sees it; all arrays [L] int64.

    near, far: node indices of the end with the lower and the higher id; near_id, far_id: those ids
    direction: 0, or 1 for far -> near where the two directions fade apart
    receiver_is_near: which end the receive antennas belong to; rx_antennas: their number
    """

    near: NDArray[np.int64]
    far: NDArray[np.int64]
    near_id: NDArray[np.int64]
    far_id: NDArray[np.int64]
    direction: NDArray[np.int64]
    receiver_is_near: NDArray[np.bool_]
    rx_antennas: NDArray[np.int64]


@dataclass(frozen=True)
class Branches:
    """All receive antennas of L links, R rows in all: antenna 0 of every link, then antenna 1 of those that have it, ...

    link: [R] which link a row belongs to, None where there is one antenna each and R = L
    parts: per antenna from the second on: its rows, and the links that have it (None: all)
    key: [R, 1] hash of (pair, direction, antennas)
    waves: Doppler, see `DopplerFading.prepare`
    """

    num_links: int
    link: NDArray[np.int64] | None
    parts: list[tuple[slice, NDArray[np.int64] | None]]
    key: Words
    waves: tuple[Floats, ...] = ()

    def combine(self, power: Floats) -> Floats:
        """Sum over antennas, [R, k] to [L, k]; writes into `power`."""
        total = power[: self.num_links]
        for rows, links in self.parts:
            if links is None:
                total += power[rows]
            else:
                total[links] += power[rows]
        return total


def _branches(key: int, ends: Ends) -> Branches:
    words = hash_u64(key, ends.near_id, ends.far_id, ends.direction)
    num_links = words.size
    every = np.arange(num_links)
    links, keys, parts, start = [every], [extend(words, np.zeros(1, np.int64))], [], num_links
    for antenna in range(1, int(ends.rx_antennas.max(initial=1))):
        has = np.flatnonzero(ends.rx_antennas > antenna)
        # the transmitting end uses its antenna 0, so that a reciprocal pair shares the path of its antennas 0 and 0
        keys.append(extend(words[has], np.where(ends.receiver_is_near[has], 2 * antenna, 2 * antenna + 1)))
        links.append(has)
        parts.append((slice(start, start + has.size), None if has.size == num_links else has))
        start += has.size
    if not parts:
        return Branches(num_links, None, parts, keys[0][:, None])
    return Branches(num_links, np.concatenate(links), parts, np.concatenate(keys)[:, None])


class BlockFading:
    """Independent blocks. `cell_s` is the block."""

    def __init__(self, config: Rayleigh, key: int) -> None:
        self.cell_s = config.block_s
        self._key = key
        self._k = config.k
        self._direct = math.sqrt(config.k / (1 + config.k))
        self._scatter = 1 / (1 + config.k)

    def prepare(self, ends: Ends) -> Branches:
        """What does not depend on time, once for a set of links."""
        return _branches(self._key, ends)

    def power(self, branches: Branches, t_s: Floats) -> Floats:
        """sum over antennas of |h|^2 at times t_s [k]. Returns [L, k]."""
        return self.power_of_blocks(branches, np.floor(t_s / self.cell_s).astype(np.int64))

    def power_of_blocks(self, branches: Branches, block: NDArray[np.int64]) -> Floats:
        """The same for block indices [k]."""
        return branches.combine(self._antenna_power(branches.key, block))

    def _antenna_power(self, key: Words, block: NDArray[np.int64]) -> Floats:
        words = extend(key, block)  # [R, k]
        scattered = np.log(to_uniform(words))
        np.negative(scattered, out=scattered)
        if self._k == 0:
            return scattered
        angle = to_uniform(extend(words, np.full(1, BLOCK_PHASE_TAG)))
        angle -= 0.5
        angle *= 2 * np.pi
        scattered *= self._scatter
        cosine = np.cos(angle.astype(np.float32)).astype(np.float64)
        power: Floats = scattered + self._direct**2 + 2 * self._direct * np.sqrt(scattered) * cosine
        return np.maximum(power, 0.0)


class DopplerFading:
    """Sum of sinusoids over travelled distances. `cell_s` is CYCLES_PER_CELL over the largest Doppler shift."""

    def __init__(
        self, config: Rayleigh, key: int, wavelength_m: float, max_speed_sum_mps: float, positions: Positions
    ) -> None:
        speed = max_speed_sum_mps + config.environment_speed_mps
        self.cell_s = CYCLES_PER_CELL * wavelength_m / speed if speed > 0 else math.inf
        self._key = key
        self._config = config
        self._wavelength_m = wavelength_m
        self._positions = positions

    def prepare(self, ends: Ends) -> Branches:
        """Angles and phases of all sinusoids, as near and far [N, R, 1] in 1/m and phase [N, R, 1] in cycles; for Rician also
        those of the direct path, [R, 1] each."""
        branches = _branches(self._key, ends)
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
        return branches.combine(real)

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
        columns = min(num_times, elements)
        rows = max(1, elements // max(columns, 1))
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
