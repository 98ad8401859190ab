"""Processors at work: how fast each device is, what it draws, and how much slower than usual a job turns out.

speed           effective FLOP/s, or frequency / cycles per FLOP; times exp(sigma N) of the device where it is spread
power           active_w, or kappa f^3: a cycle costs kappa f^2 (Tran et al., INFOCOM 2019; Yang et al., TWC 2021, with
                kappa 1e-28 W/Hz^3). A device that is faster by spread is so by its clock.
lognormal       a job takes T exp(sigma N), median T
shifted         T (1 + Exp(mean fraction)): a deterministic part and an exponential one in proportion to the work, as in
exponential     Lee et al., "Speeding up distributed machine learning using codes", IEEE Trans. Inf. Theory 64 (2018).
                The slowest of K equal jobs takes T (1 + fraction H_K) on average, H_K = 1 + 1/2 + ... + 1/K
trace           T times the factors of a file, in turns, from a place of the device's own on
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from wsim.scenario.compute import Compute, ServerCompute, slow_downs
from wsim.streams import Streams


def speeds(computes: Sequence[Compute | ServerCompute], streams: Streams) -> np.ndarray:
    """[num_nodes] how many times as fast as its group's median each node is."""
    factors = np.ones(len(computes))
    for i, compute in enumerate(computes):
        if isinstance(compute, Compute) and compute.spread == "lognormal":
            factors[i] = np.exp(compute.spread_sigma_ln * streams("compute_spread", i).standard_normal())
    return factors


def slow_down(
    compute: Compute | ServerCompute, node: int, texts: Mapping[str, str], streams: Streams
) -> Callable[[], float]:
    """What the usual time of the node's next job is multiplied by. texts: of the trace files that the scenario names."""
    if compute.jitter == "none" or (compute.jitter == "lognormal" and compute.jitter_sigma_ln == 0.0):
        return lambda: 1.0
    rng = streams("jitter", node)
    if compute.jitter == "lognormal":
        sigma = compute.jitter_sigma_ln
        return lambda: float(np.exp(sigma * rng.standard_normal()))
    assert isinstance(compute, Compute)
    if compute.jitter == "shifted_exponential":
        mean = compute.jitter_mean_fraction or 0.0
        return lambda: 1.0 + mean * float(rng.standard_exponential())
    name = compute.jitter_file or ""
    return _turns(slow_downs(texts[name], name), rng)


def _turns(factors: list[float], rng: np.random.Generator) -> Callable[[], float]:
    place = int(rng.integers(len(factors)))

    def next_factor() -> float:
        nonlocal place
        place = (place + 1) % len(factors)
        return factors[place]

    return next_factor
