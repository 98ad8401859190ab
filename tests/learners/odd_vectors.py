"""Vectors on which a contraction is hardest to keep, beside random ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def vectors(count: int, outlier: float = 1e12) -> Iterator[Tensor]:
    """float64: random ones of all lengths, many with equal magnitudes, zeros, constants, one-hots, a single huge value; also of
    length 1."""
    rng = np.random.default_rng(8)
    for _ in range(count):
        v = rng.standard_normal(int(rng.integers(1, 60)))
        yield torch.from_numpy(np.round(v, 1) if rng.random() < 0.5 else v)
    for d in (1, 2, 37):
        yield torch.zeros(d, dtype=torch.float64)
        yield torch.full((d,), -2.5, dtype=torch.float64)
        yield torch.nn.functional.one_hot(torch.tensor(d - 1), d).double()
        huge = torch.ones(d, dtype=torch.float64)
        huge[0] = outlier
        yield huge
