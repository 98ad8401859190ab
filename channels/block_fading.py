"""Block fading: a new, independent circular complex normal in every block of block_s seconds, or a transform of its power.

Drawn by a counter-based hash of (link, antenna, block), so the law is exact and nothing is stored.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .branches import Branches, Ends, branches_of
from .counter import Words, extend, to_uniform
from .fading import Fading

Floats = NDArray[np.float64]

PHASE_TAG = 1  # last id of the second draw of a block


class BlockFading:
    """Independent blocks. `cell_s` is the block."""

    def __init__(self, config: Fading, key: int) -> None:
        self.cell_s = config.block_s
        self._key = key
        self._config = config
        self._k = config.k
        self._direct = math.sqrt(config.k / (1 + config.k))
        self._scatter = 1 / (1 + config.k)

    def prepare(self, ends: Ends) -> Branches:
        """What does not depend on time, once for a set of links."""
        return branches_of(self._key, ends)

    def power(self, branches: Branches, t_s: Floats) -> Floats:
        """sum over antennas of |h|^2 at times t_s [k]. Returns [L, k]."""
        return self.power_of_blocks(branches, np.floor(t_s / self.cell_s).astype(np.int64))

    def power_of_blocks(self, branches: Branches, block: NDArray[np.int64]) -> Floats:
        """The same for block indices [k]."""
        return branches.combine(self._antenna_power(branches.key, block))

    def complex_gain(self, branches: Branches, t_s: Floats) -> NDArray[np.complex128]:
        """h of every antenna at times t_s [k]: [R, k], rows as in `Branches`; its squared amplitude is what `power` adds up."""
        words = extend(branches.key, np.floor(t_s / self.cell_s).astype(np.int64))
        amplitude = np.sqrt(-np.log(to_uniform(words)) * self._scatter)
        angle = 2 * np.pi * (to_uniform(extend(words, np.full(1, PHASE_TAG))) - 0.5)
        gain: NDArray[np.complex128] = amplitude * np.exp(1j * angle) + self._direct
        return gain

    def _antenna_power(self, key: Words, block: NDArray[np.int64]) -> Floats:
        words = extend(key, block)  # [R, k]
        scattered = np.log(to_uniform(words))
        np.negative(scattered, out=scattered)
        if self._k == 0:
            transformed = self._config.from_exponential(scattered)
            return scattered if transformed is None else transformed
        angle = to_uniform(extend(words, np.full(1, PHASE_TAG)))
        angle -= 0.5
        angle *= 2 * np.pi
        scattered *= self._scatter
        cosine = np.cos(angle.astype(np.float32)).astype(np.float64)
        power: Floats = scattered + self._direct**2 + 2 * self._direct * np.sqrt(scattered) * cosine
        return np.maximum(power, 0.0)
