"""Gains over frequency: the covariance of the power of two blocks, and the spread of the standard's delay profiles.

    |h(t, f)|^2: covariance (|r(df)|^2 + 2 K Re r(df)) / (1 + K)^2 over a distance df, |r(df)|^2 without a direct path (K = 0)

Exponential profile of r.m.s. delay spread s: r(df) = 1/(1 + j 2 pi df s). TDL-A to TDL-E: sum_l P_l exp(-j 2 pi df tau_l) over the
taps but the direct path. Their delays are in units of the r.m.s. delay spread (TR 38.901 section 7.7.3): that of each table,
direct path included, is 1, which a wrong delay or power would change; TDL-D's comes to 0.994.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from channels.delay_profile import TABLE_K_DB, DelayProfile, ExponentialProfile, TappedDelayLine
from channels.fading import Rayleigh, Rician
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples, of_value

NUM_NODES, NUM_BLOCKS_OF_TIME = 40, 50
SPREAD_S, BLOCK_HZ = 1e-6, 60e3
STEPS = (1, 3, 6)
TABLES = ("tdl_a", "tdl_b", "tdl_c", "tdl_d", "tdl_e")


def comparisons(effort: int) -> Iterator[Comparison]:
    def exponential(df_hz: float) -> complex:
        return 1 / (1 + 2j * np.pi * df_hz * SPREAD_S)

    yield from _of_powers("exponential profile", ExponentialProfile(SPREAD_S), exponential, effort)
    for model in TABLES:
        profile = TappedDelayLine(model, SPREAD_S)
        powers, delays = profile.powers, profile.delays_s(np.zeros((1, 1), dtype=np.uint64))[0]
        name = model.upper().replace("_", "-")
        k = 10 ** (TABLE_K_DB[model] / 10) if model in TABLE_K_DB else 0.0
        mean, square = (powers @ delays / (1 + k), powers @ delays**2 / (1 + k))
        spread = float(np.sqrt(square - mean**2)) / SPREAD_S
        yield of_value(name, "r.m.s. delay spread of the table", spread, 1.0, 0.01)

        def table(df_hz: float, powers: np.ndarray = powers, delays: np.ndarray = delays) -> complex:
            return complex(powers @ np.exp(-2j * np.pi * df_hz * delays))

        yield from _of_powers(name, profile, table, effort)


def _of_powers(
    name: str, profile: DelayProfile, correlation: Callable[[float], complex], effort: int
) -> Iterator[Comparison]:
    """correlation: r(df) of the taps without the direct path."""
    tx, rx = worlds.all_pairs(NUM_NODES)
    k_db = TABLE_K_DB[profile.model] if isinstance(profile, TappedDelayLine) and profile.needs_direct else None
    law = Rayleigh() if k_db is None else Rician(k_db=k_db)
    world = worlds.channel(worlds.standing(NUM_NODES), fading=law, delay_profile=profile)
    mean = 10 ** (world.mean_gain_db(tx, rx, 0.0) / 10)
    power = world.gain_per_block(tx, rx, 0, NUM_BLOCKS_OF_TIME * effort, max(STEPS) + 1, BLOCK_HZ) / mean[:, None, None]
    k = 0.0 if k_db is None else 10 ** (k_db / 10)
    for step in STEPS:
        products = (power[:, :, step] - 1) * (power[:, :, 0] - 1)
        r = correlation(step * BLOCK_HZ)
        expected = (abs(r) ** 2 + 2 * k * r.real) / (1 + k) ** 2
        product = 2 * np.pi * step * BLOCK_HZ * SPREAD_S
        quantity = f"power covariance, 2 pi df s = {product:.2f}"
        tolerance = 0.05 if k_db is None else 0.006  # of a variance of 1, and of 0.2
        yield of_samples(f"{name}, {law.name} blocks", quantity, products.mean(axis=1), float(expected), tolerance)
