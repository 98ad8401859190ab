"""Laws of block fading: outage, and ergodic capacity by draws and by the table of mean rates.

Outage: P(|h|^2 < x), Rayleigh 1 - exp(-x), Rician by the noncentral chi-square law, Nakagami-m by the incomplete gamma
function, L receive antennas Gamma(L, 1). Ergodic capacity: E log2(1 + a |h|^2), for Rayleigh exp(1/a) E1(1/a)/ln 2, for the
others by quadrature over the law.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, special, stats

from channels.ergodic import ErgodicRate
from channels.fading import Fading, Rayleigh, Rician
from channels.link_adaptation import RateMap
from channels.nakagami import Nakagami
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples, of_value

Floats = NDArray[np.float64]

NUM_NODES, NUM_BLOCKS = 50, 300  # 1,225 links: 367,500 draws
CAPACITY_SNR_DB = (0.0, 20.0)


def comparisons(effort: int) -> Iterator[Comparison]:
    k_db, m = 6.0, 2.5
    k = 10 ** (k_db / 10)
    laws = {
        "Rayleigh": (Rayleigh(), 1, stats.expon()),
        f"Rician, K = {k_db:g} dB": (Rician(k_db=k_db), 1, stats.ncx2(2, 2 * k, scale=1 / (2 * (k + 1)))),
        f"Nakagami, m = {m:g}": (Nakagami(m=m), 1, stats.gamma(m, scale=1 / m)),
        "Rayleigh, 4 antennas": (Rayleigh(), 4, stats.gamma(4)),
    }
    for name, (law, antennas, theory) in laws.items():
        power = _powers(law, antennas, NUM_BLOCKS * effort)
        for share, tolerance in ((0.05, 0.05), (0.5, 0.01)):
            level = float(theory.ppf(share))
            below = (power < level).astype(np.float64)
            quantity = f"outage at {10 * np.log10(level):.1f} dB"
            yield of_samples(f"{name}, blocks", quantity, below, share, tolerance * share)
        if antennas > 1:
            continue
        table = ErgodicRate(RateMap(0.0, 100.0, -60.0, 0.0), law)
        capacities = {snr_db: _capacity(law, theory, 10 ** (snr_db / 10)) for snr_db in CAPACITY_SNR_DB}
        for snr_db, capacity in capacities.items():
            rates = np.log2(1 + 10 ** (snr_db / 10) * power)
            quantity = f"capacity at {snr_db:g} dB, bit/s/Hz"
            yield of_samples(f"{name}, blocks", quantity, rates, capacity, 0.005 * capacity)
        for snr_db, capacity in capacities.items():
            found = float(table.efficiency(np.array([10 ** (snr_db / 10)]))[0])
            yield of_value(f"{name}, ergodic", f"capacity at {snr_db:g} dB, bit/s/Hz", found, capacity, 1e-4)


def _powers(law: Fading, antennas: int, num_blocks: int) -> Floats:
    """Independent draws, [n]."""
    counts = np.full(NUM_NODES, antennas)
    world = worlds.channel(worlds.standing(NUM_NODES), fading=law, rx_antennas=counts)
    times = (np.arange(num_blocks) + 0.5) * law.block_s
    return worlds.unit_power(world, *worlds.all_pairs(NUM_NODES), times).ravel()


def _capacity(law: Fading, theory: stats.rv_continuous, snr: float) -> float:
    if isinstance(law, Rayleigh):
        return float(special.exp1(1 / snr) * np.exp(1 / snr) / np.log(2))
    low, high = float(theory.ppf(1e-13)), float(theory.ppf(1 - 1e-13))
    return float(integrate.quad(lambda g: np.log2(1 + snr * g) * theory.pdf(g), low, high, epsabs=1e-9, limit=200)[0])
