"""Samples that are set aside: of each device's own for its test, or of all training samples for a public set."""

from __future__ import annotations

import numpy as np


def hold_out(
    part: np.ndarray, labels: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(training, test) of a device's sample indices `part` [n], ascending.

    Held out is the nearest number to `fraction` of its distinct samples, at least one, and at least one is left to train
    on; a device with a single sample keeps it and has no test. The classes share them in proportion (largest remainders,
    ties at random), so that both sides have the device's own mix. All copies of a sample go to one side.

    labels: int [num_samples] of the whole set; fraction: between 0 and 1, both excluded, else ValueError
    """
    if not 0 < fraction < 1:
        raise ValueError(f"local_test_fraction = {fraction}: between 0 and 1, both excluded")
    distinct = np.unique(part)
    if len(distinct) < 2:
        return np.sort(part), np.empty(0, dtype=np.int64)
    num_test = num_set_aside(len(distinct), fraction)
    classes, counts = np.unique(labels[distinct], return_counts=True)
    exact = num_test * counts / len(distinct)
    quotas = np.floor(exact).astype(int)
    order = np.lexsort((rng.random(len(classes)), np.floor(exact) - exact))
    quotas[order[: num_test - quotas.sum()]] += 1
    test = np.concatenate(
        [
            rng.permutation(distinct[labels[distinct] == label])[:quota]
            for label, quota in zip(classes, quotas, strict=True)
        ]
    )
    return np.sort(part[~np.isin(part, test)]), np.sort(test)


def set_aside(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(dealt, public): the training samples that remain, ascending, and the public ones, in random order. The classes share them in
    proportion, as in `hold_out`.

    labels: int [num_samples]; fraction: between 0 and 1, both excluded, else ValueError
    """
    if not 0 < fraction < 1:
        raise ValueError(f"public_fraction = {fraction}: between 0 and 1, both excluded")
    dealt, public = hold_out(np.arange(len(labels)), labels, fraction, rng)
    return dealt, rng.permutation(public)


def num_set_aside(num_samples: int, fraction: float) -> int:
    """How many of distinct samples are held out or set aside."""
    return min(max(1, round(fraction * num_samples)), num_samples - 1)
