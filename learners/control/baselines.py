"""Decisions that look at no gain: full power, uniform random power, an equal split of a budget."""

from __future__ import annotations

import numpy as np

from learners.control.gains import check_budget


def full_power(presence: np.ndarray) -> np.ndarray:
    """[..., K] 1 (of the largest power) for every object that is there. presence: [..., K], 0 for padding."""
    return (np.asarray(presence) > 0).astype(np.float64)


def random_power(presence: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[..., K] uniform between 0 and 1 for every object that is there, one draw an object whether it is there or not."""
    there = full_power(presence)
    return there * rng.random(there.shape)


def equal_split(presence: np.ndarray, budget: float | np.ndarray) -> np.ndarray:
    """[..., K] P over the number of objects that are there; 0 where there is none. budget: P, or [...] of them, above 0."""
    there = full_power(presence)
    for power in np.ravel(budget):
        check_budget("budget", float(power))
    return there * (np.asarray(budget, dtype=np.float64) / np.maximum(there.sum(-1), 1))[..., None]
