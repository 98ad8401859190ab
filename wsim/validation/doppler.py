"""Doppler fading against Clarke's model.

Autocorrelation of the complex gain: J0(2 pi D/lambda) after the path D of one end, J0 J0 where both ends move; level crossings
sqrt(2 pi) f_D rho exp(-rho^2) a second and fades of (exp(rho^2) - 1)/(rho f_D sqrt(2 pi)) s on average, rho the level
over the root of the mean power. Nakagami: sum_k c_k^2 J0^(2k) for the power (see `channels.nakagami`). The finite sum of sinusoids is off
by up to 1/(2 N) of each, which the tolerances hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from channels.branches import Ends
from channels.channel import Channel
from channels.doppler_fading import DopplerFading
from channels.fading import Fading, Rayleigh
from channels.mobility import Positions
from channels.nakagami import Nakagami, transform
from channels.units import SPEED_OF_LIGHT_MPS
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples

WAVELENGTH_M = SPEED_OF_LIGHT_MPS / worlds.CARRIER_HZ
SIDE = 180  # links: its square
LAGS = (0.1, 0.25, 0.383, 0.6)  # path of an end in wavelengths; 0.383 is J0's first zero
NUM_SINUSOIDS = 64
LEVELS = (0.3, 1.0)
CROSSING_TOLERANCES = {
    16: 0.07,
    32: 0.04,
}  # by number of sinusoids; 16, the default, is 5 % off at 0 dB, 32 half of that
CROSSING_LINKS, CYCLES, SAMPLES_A_CYCLE = (30, 40), 40, 50


def comparisons(effort: int) -> Iterator[Comparison]:
    one = worlds.walking(SIDE, 1.0) + worlds.standing(SIDE)
    both = worlds.walking(2 * SIDE, 1.0)
    yield from _of_gains("Rayleigh, one end moves", Rayleigh("doppler", environment_speed_mps=0.0), one, effort, 1)
    yield from _of_gains("Rayleigh, both ends move", Rayleigh("doppler", environment_speed_mps=0.0), both, effort, 2)
    m = 2.0
    nakagami = Nakagami("doppler", environment_speed_mps=0.0, num_sinusoids=NUM_SINUSOIDS, m=m)
    x, w = special.roots_laguerre(150)
    c = [float((w * transform(x, m) * special.eval_laguerre(k, x)).sum()) for k in range(1, 20)]
    theory = [sum(c_k**2 * _j0(lag) ** (2 * k) for k, c_k in enumerate(c, start=1)) for lag in LAGS]
    yield from _of_powers("Nakagami, m = 2, one end moves", nakagami, one, effort, theory)
    for num_sinusoids, tolerance in CROSSING_TOLERANCES.items():
        yield from _crossings(effort, num_sinusoids, tolerance)


def _j0(lag: float) -> float:
    return float(special.j0(2 * np.pi * lag))


def _of_gains(name: str, law: Fading, paths: list[Any], effort: int, num_ends: int) -> Iterator[Comparison]:
    """Complex gains, which a channel keeps to itself: from its generator."""
    near, far = worlds.between(SIDE, SIDE)
    times = _times()
    zeros = np.zeros(near.size, dtype=np.int64)
    ends = Ends(near, far, near, far, zeros, zeros.astype(bool), zeros + 1)
    products = []
    for i in range(effort):
        fading = DopplerFading(law, worlds.KEY + i, WAVELENGTH_M, 2.0, Positions(paths))
        h = fading.complex_gain(ends, fading.prepare(ends), times)
        products.append((h[:, 1:] * h[:, :1].conj()).real)
    found = np.concatenate(products)
    for j, lag in enumerate(LAGS):
        quantity = f"autocorrelation, {lag:g} wavelengths"
        yield of_samples(f"{name}, Doppler", quantity, found[:, j], _j0(lag) ** num_ends, 0.02)


def _of_powers(name: str, law: Fading, paths: list[Any], effort: int, theory: list[float]) -> Iterator[Comparison]:
    near, far = worlds.between(SIDE, SIDE)
    products = []
    for i in range(effort):
        power = worlds.unit_power(_moving(paths, law, i), near, far, _times())
        products.append((power[:, 1:] - 1) * (power[:, :1] - 1))
    found = np.concatenate(products)
    for j, (lag, expected) in enumerate(zip(LAGS, theory, strict=True)):
        quantity = f"power covariance, {lag:g} wavelengths"
        yield of_samples(f"{name}, Doppler", quantity, found[:, j], expected, 0.03)


def _times() -> NDArray[np.float64]:
    return np.concatenate(([1.0], 1.0 + np.array(LAGS) * WAVELENGTH_M))


def _crossings(effort: int, num_sinusoids: int, tolerance: float) -> Iterator[Comparison]:
    near, far = worlds.between(*CROSSING_LINKS)
    paths = worlds.walking(CROSSING_LINKS[0], 1.0) + worlds.standing(CROSSING_LINKS[1])
    doppler_hz = 1 / WAVELENGTH_M
    times = np.arange(CYCLES * SAMPLES_A_CYCLE) / (SAMPLES_A_CYCLE * doppler_hz)
    law = Rayleigh("doppler", environment_speed_mps=0.0, num_sinusoids=num_sinusoids)
    crossed: dict[float, list[NDArray[np.float64]]] = {level: [] for level in LEVELS}
    faded: dict[float, list[NDArray[np.float64]]] = {level: [] for level in LEVELS}
    for i in range(effort):
        power = worlds.unit_power(_moving(paths, law, i), near, far, times)
        for level in LEVELS:
            below = power < level**2
            crossed[level].append((~below[:, :-1] & below[:, 1:]).sum(axis=1) / times[-1] / doppler_hz)
            faded[level].append(below.mean(axis=1))
    for level in LEVELS:
        rate, share = np.concatenate(crossed[level]), np.concatenate(faded[level])
        expected = np.sqrt(2 * np.pi) * level * np.exp(-(level**2))
        where = f"{20 * np.log10(level):.1f} dB"
        name = f"Rayleigh, Doppler, {num_sinusoids} sinusoids"
        yield of_samples(name, f"crossings a cycle, level {where}", rate, expected, tolerance * expected)
        fade = share.mean() / rate.mean()
        residual = (share - fade * rate) / rate.mean()  # of the ratio of two means
        samples = fade + residual
        expected = (np.exp(level**2) - 1) / (level * np.sqrt(2 * np.pi))
        yield of_samples(name, f"mean fade in cycles, level {where}", samples, expected, tolerance * expected)


def _moving(paths: list[Any], law: Fading, number: int) -> Channel:
    return worlds.channel(paths, key=worlds.KEY + number, fading=law)
