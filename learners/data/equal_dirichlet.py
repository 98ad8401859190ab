"""Label skew by a Dirichlet law with shares of equal size, as the studies of decentralized learning draw it."""

from __future__ import annotations

import numpy as np

from learners.data.partitions import Parts, ascending, check_shares, dirichlet_rows, samples_and_classes
from learners.data.shape import checked_by
from learners.quantities import Positive

GROUP = 10
"""Devices that divide one block of the samples among them."""

MAX_DRAWS = 1000
"""Then the most even draw is taken, so that every alpha comes to an end."""


def _check(num_train: int, num_classes: int, num_devices: int, *, alpha: float) -> None:
    check_shares(num_train, num_classes, num_devices)
    if not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha = {alpha}: a positive finite number")


@checked_by(_check)
def equal_dirichlet(labels: np.ndarray, num_devices: int, rng: np.random.Generator, *, alpha: Positive) -> Parts:
    """As dirichlet, with shares of equal size: what QG-DSGDm and cross-feature contrastive learning are studied with.

    Partition, after the public code of Lin et al. (quasi-global momentum, ICML 2021), from a description of it: the shuffled samples
    are cut into one block for every ten devices; within a block each class is divided in proportions ~ Dirichlet(alpha) over the
    devices that have not had an equal share yet, and all is drawn anew until the smallest share is half an equal one. The shares, end
    to end, are cut into equal ones, so that a device may have some samples of the next one's mix. Ours: after 1,000 draws the most
    even one is taken, which matters for alpha of 0.01 and below.

    alpha: Dirichlet concentration; small is uneven. Sizes are equal up to one sample.
    """
    _check(*samples_and_classes(labels), num_devices, alpha=alpha)
    order = rng.permutation(len(labels))
    ends = [
        round(len(labels) * min(first + GROUP, num_devices) / num_devices) for first in range(0, num_devices, GROUP)
    ]
    dealt: list[np.ndarray] = []
    for number, block in enumerate(np.split(order, ends[:-1])):
        dealt += _even_draw(labels[block], block, min(GROUP, num_devices - number * GROUP), rng, alpha)
    return ascending(np.array_split(np.concatenate(dealt), num_devices))


def _even_draw(
    labels: np.ndarray, block: np.ndarray, num_devices: int, rng: np.random.Generator, alpha: float
) -> Parts:
    """The samples of a block, by device: the first draw whose smallest share is half an equal one, else the most even."""
    best, most = [], -1
    for _ in range(MAX_DRAWS):
        parts = _draw(labels, block, num_devices, rng, alpha)
        smallest = min(map(len, parts))
        if smallest > most:
            best, most = parts, smallest
        if 2 * smallest * num_devices >= len(block):
            break
    return best


def _draw(labels: np.ndarray, block: np.ndarray, num_devices: int, rng: np.random.Generator, alpha: float) -> Parts:
    """labels: of the samples of the block."""
    parts: list[list[np.ndarray]] = [[] for _ in range(num_devices)]
    held = np.zeros(num_devices)
    for label in np.unique(labels):
        members = block[labels == label]
        shares = dirichlet_rows(rng, np.full(num_devices, alpha), 1)[0]
        shares = np.where(held < len(block) / num_devices, shares, 0.0)
        if not shares.sum():  # the proportions of all who lack samples underflow: to the one who has least
            shares[np.argmin(held)] = 1.0
        cuts = np.round(np.cumsum(shares / shares.sum())[:-1] * len(members)).astype(int)
        for i, piece in enumerate(np.split(members, cuts)):
            parts[i].append(piece)
            held[i] += len(piece)
    return [np.concatenate(pieces) for pieces in parts]
