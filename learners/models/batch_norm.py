"""Batch normalization as functions: running statistics in, running statistics out.

    y = w (x - mean) / sqrt(var + 1e-5) + b                    for every map (or unit), w its scale and b its shift

    train mode        mean and var (mean square deviation) over the samples and pixels of the batch;
                      running mean <- 0.9 running mean + 0.1 mean,   running var <- 0.9 running var + 0.1 n / (n - 1) var
    evaluation mode   the running ones

with n the samples times the pixels that were averaged. Ioffe and Szegedy, "Batch normalization: accelerating deep network training by
reducing internal covariate shift", ICML 2015; constants and the unbiased running variance as in torch.nn.BatchNorm2d.

Ours: rows of padding (weight 0) count neither for the batch nor for the running statistics. A batch of one value, which torch refuses,
has variance 0 in both; a batch of padding only leaves the running statistics alone. A negative running variance, which rounding by a
codec can make, counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Protocol

import numpy as np
from torch import Tensor

EPSILON = 1e-5
MOMENTUM = 0.1
"""Weight of a new batch in the running statistics."""


class Normalization(Protocol):
    """One pass through a network's normalizations, in order."""

    def __call__(self, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """h [batch, num_maps, ...] normalized; scale and shift: [num_maps]."""


class RunningStatistics:
    """Evaluation mode. statistics: mean and var [num_maps] of every normalization, in order; no gradient flows into them."""

    def __init__(self, statistics: Sequence[Tensor]) -> None:
        self._statistics = iter(statistics)

    def __call__(self, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean, var = next(self._statistics).detach(), next(self._statistics).detach()
        slope = scale * (var.clamp(min=0) + EPSILON).rsqrt()
        return h * _by_map(slope, h) + _by_map(shift - mean * slope, h)


class BatchStatistics:
    """Train mode. statistics: the running ones so far, as above. weights: [batch], 0 for padding; all others count the same.

    updated: the running statistics after the pass."""

    def __init__(self, statistics: Sequence[Tensor], weights: Tensor) -> None:
        self._statistics = iter(statistics)
        self._weights = weights
        self.updated: list[Tensor] = []

    def __call__(self, h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        counts = (self._weights > 0).to(h.dtype)[:, None]
        n = counts.sum() * prod(h.shape[2:])
        mean = (_over_pixels(h) * counts).sum(0) / n.clamp(min=1)
        centered = h - _by_map(mean, h)
        squares = (_over_pixels(centered.square()) * counts).sum(0)
        var = squares / n.clamp(min=1)
        momentum = MOMENTUM * (n > 0).to(h.dtype)
        for running, found in (
            (next(self._statistics), mean),
            (next(self._statistics), squares / (n - 1).clamp(min=1)),
        ):
            self.updated.append(running + momentum * (found - running))
        return centered * _by_map(scale * (var + EPSILON).rsqrt(), h) + _by_map(shift, h)


def initial_statistics(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Means 0 and variances 1, in turn. shapes: of the buffers."""
    return [np.full(shape, i % 2, dtype=np.float64) for i, shape in enumerate(shapes)]


def _by_map(values: Tensor, h: Tensor) -> Tensor:
    """values [num_maps], to be combined with h [batch, num_maps, ...]."""
    return values.reshape(-1, *[1] * (h.ndim - 2))


def _over_pixels(h: Tensor) -> Tensor:
    """[batch, num_maps], sums over the pixels, if any."""
    return h.flatten(2).sum(-1) if h.ndim > 2 else h
