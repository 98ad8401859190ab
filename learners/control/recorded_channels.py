"""Gains of your own, measured or from another simulator: an .npz file as numpy.savez writes it.

    numpy.savez("channels.npz", gains=...)

    gains: [num_channels, K, K] SNRs at full power, linear, not negative; row = receiver, column = transmitter of the K links
    types: [K] numbers, optional: which kind of link each is. They have to be equal: to a permutation-equivariant model all links are alike.

Read as `learners.data.npz` reads: no objects, nothing that runs code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from learners.control.gains import check_gains
from learners.data.npz import read_arrays


def read_channels(path: Path) -> np.ndarray:
    """SNRs [num_channels, K, K], float64. ValueError, one line, for a file that is damaged, for negative or infinite gains, no
    channel, K = 0, or links of different types."""
    arrays = read_arrays(path, [("gains",)], optional=("types",))
    gains = arrays["gains"].astype(np.float64)
    check_gains(f"{path}: array gains", gains, 3)
    if len(gains) == 0:
        raise ValueError(f"{path}: array gains has the shape {gains.shape}: at least one channel")
    if "types" in arrays:
        _check_types(path, arrays["types"], gains.shape[1])
    return gains


def _check_types(path: Path, types: np.ndarray, num_links: int) -> None:
    if types.shape != (num_links,):
        raise ValueError(
            f"{path}: array types has the shape {types.shape}, for gains of {num_links} links it is ({num_links},)"
        )
    kinds = np.unique(types)
    if len(kinds) > 1:
        shown = ", ".join(str(kind) for kind in kinds[:4])
        raise ValueError(
            f"{path}: array types holds {shown}: links of one problem are exchangeable, all of one type (a file for each type)"
        )
