"""Gains over frequency: the covariance of the power of two blocks against the Fourier transform of the delay profile.

    (|r(df)|^2 + 2 K Re r(df)) / (1 + K)^2,    K = 0 without a direct path

Exponential profile of r.m.s. delay spread s: r(df) = 1/(1 + j 2 pi df s). TDL-A, C and D: sum_l P_l exp(-j 2 pi df tau_l); D with
the K factor of its table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from channels.delay_profile import TABLE_K_DB, DelayProfile, ExponentialProfile, TappedDelayLine
from channels.fading import Rayleigh, Rician
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples

NUM_NODES, NUM_BLOCKS_OF_TIME = 40, 50
SPREAD_S, BLOCK_HZ = 1e-6, 60e3
STEPS = (1, 3, 6)


def comparisons(effort: int) -> Iterator[Comparison]:
    profiles: dict[str, DelayProfile] = {
        "exponential profile": ExponentialProfile(SPREAD_S),
        "TDL-A": TappedDelayLine("tdl_a", SPREAD_S),
        "TDL-C": TappedDelayLine("tdl_c", SPREAD_S),
        "TDL-D": TappedDelayLine("tdl_d", SPREAD_S),
    }
    tx, rx = worlds.all_pairs(NUM_NODES)
    for name, profile in profiles.items():
        law = Rician(k_db=TABLE_K_DB["tdl_d"]) if profile.needs_direct else Rayleigh()
        world = worlds.channel(worlds.standing(NUM_NODES), fading=law, delay_profile=profile)
        mean = 10 ** (world.mean_gain_db(tx, rx, 0.0) / 10)
        power = (
            world.gain_per_block(tx, rx, 0, NUM_BLOCKS_OF_TIME * effort, max(STEPS) + 1, BLOCK_HZ) / mean[:, None, None]
        )
        for step in STEPS:
            products = (power[:, :, step] - 1) * (power[:, :, 0] - 1)
            r = complex(profile.correlation(np.array(step * BLOCK_HZ)))
            expected = (abs(r) ** 2 + 2 * law.k * r.real) / (1 + law.k) ** 2
            product = 2 * np.pi * step * BLOCK_HZ * SPREAD_S
            quantity = f"power covariance, 2 pi df s = {product:.2f}"
            tolerance = 0.05 if law.k == 0 else 0.005  # of a tenth of the variance
            yield of_samples(
                f"{name}, {type(law).__name__} blocks", quantity, products.mean(axis=1), expected, tolerance
            )
