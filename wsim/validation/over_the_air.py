"""Over-the-air sums on the channel's own Rayleigh blocks: squared errors of superposed signals against closed forms.

Inversion truncated at a power gain g, aligned to eta = rho: the kept fraction is exp(-g), rho = P0 / E1(g) spends P0 on average, and
the MSE of a sum of K unit signals is K (1 - exp(-g)) + sigma^2 / rho on average over the fading. Full inversion:
sigma^2 / (P min |h|^2). The formulas and their sources: `channels.over_the_air`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import special

from channels.fading import Rayleigh
from channels.over_the_air import aligned_power, full_inversion, optimum, sum_mse, truncated_inversion
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples

NUM_DEVICES, NUM_BLOCKS = 10, 12_000
THRESHOLD, BUDGET_W, NOISE_W = 0.2, 1.0, 2.0


def comparisons(effort: int) -> Iterator[Comparison]:
    blocks, law = NUM_BLOCKS * effort, Rayleigh()
    world = worlds.channel(worlds.standing(NUM_DEVICES + 1), fading=law)
    devices, station = np.arange(NUM_DEVICES), np.full(NUM_DEVICES, NUM_DEVICES)
    gains = worlds.unit_power(world, devices, station, (np.arange(blocks) + 0.5) * law.block_s).T  # [blocks, devices]
    rng = np.random.default_rng(worlds.KEY)
    signals = rng.standard_normal((blocks, NUM_DEVICES))
    noise = np.sqrt(NOISE_W) * rng.standard_normal(blocks)

    def squared_errors(amplitudes, eta):  # type: ignore[no-untyped-def]
        """[blocks] of the received sum. amplitudes: [blocks, devices]; eta: [blocks] or a number."""
        return (((signals * amplitudes).sum(axis=1) + noise) / np.sqrt(eta) - signals.sum(axis=1)) ** 2

    name, rho = "over the air, truncated inversion", float(aligned_power(BUDGET_W, THRESHOLD))
    amplitudes = truncated_inversion(gains, rho / THRESHOLD, rho)
    kept = amplitudes > 0
    share = np.exp(-THRESHOLD)
    yield of_samples(name, "kept fraction", kept.mean(axis=1), share, 0.01)
    spent = np.where(kept, amplitudes**2 / gains, 0.0).mean(axis=1)
    yield of_samples(name, "mean power over the budget", spent / BUDGET_W, 1.0, 0.02)
    expected = NUM_DEVICES * (1 - share) + NOISE_W * float(special.exp1(THRESHOLD)) / BUDGET_W
    errors = squared_errors(amplitudes, rho)
    yield of_samples(name, f"MSE of the sum of {NUM_DEVICES}", errors, expected, 0.05 * expected)
    power_w = BUDGET_W
    inverted = [full_inversion(row, power_w) for row in gains]
    etas = np.array([eta for _, eta in inverted])
    errors = squared_errors(np.array([row for row, _ in inverted]), etas)
    ratio = errors * power_w * gains.min(axis=1) / NOISE_W
    yield of_samples("over the air, full inversion", "squared error over its mean", ratio, 1.0, 0.05)
    best = [optimum(row, power_w, NOISE_W) for row in gains]
    amplitudes, etas = np.array([row for row, _ in best]), np.array([eta for _, eta in best])
    ratio = squared_errors(amplitudes, etas) / sum_mse(amplitudes, etas, NOISE_W)
    yield of_samples("over the air, optimum", "squared error over its mean", ratio, 1.0, 0.05)
