"""Who fades: links by the identity of their ends, and the receive antennas ("branches") that each of them combines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .counter import Words, extend, hash_u64

Floats = NDArray[np.float64]


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


def branches_of(key: int, ends: Ends) -> Branches:
    """The branches of links, with a hash for each that starts from `key`."""
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
