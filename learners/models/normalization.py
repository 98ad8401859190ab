"""Normalization within one sample: nothing about a batch or the past that would have to travel, or that uneven data would spoil
(Hsieh et al., "The non-IID data quagmire", ICML 2020).

    group     w (x - mean) / sqrt(var + 1e-5) + b            mean and var over a group of maps; a ReLU follows
    evonorm   w x hardsigmoid(x) / sqrt(var + 1e-5) + b      var over one of 8 groups; it is an activation, too, and none follows

with hardsigmoid(x) = clip(x / 6 + 1 / 2, 0, 1), and a scale w and a shift b for every map.
Group normalization: Wu and He, ECCV 2018. EvoNorm-S0: Liu, Brock, Simonyan and Le, "Evolving normalization-activation layers",
NeurIPS 2020, has sigmoid(v x) with a v for every map; the form here, with hardsigmoid and without v, is that of the public code of
cross-feature contrastive learning. The variance is the mean square deviation, as in the paper; whether that code divides by one less is
not known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

NormKind = Literal["group", "evonorm"]
NORMS: tuple[NormKind, ...] = ("group", "evonorm")
EVONORM_GROUPS = 8
EPSILON = 1e-5

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(maps [batch, num_maps, height, width], w [num_maps], b [num_maps]) -> maps."""


def norm_of(kind: NormKind, groups: int, num_maps: int) -> tuple[Norm, Callable[[Tensor], Tensor]]:
    """The normalization and the activation after it. groups: of the group normalization. num_maps: the fewest that are normalized.
    Raises ValueError for a kind or number of groups that does not fit."""
    if kind not in NORMS:
        raise ValueError(f"norm = {kind!r}: one of {', '.join(NORMS)}")
    if groups < 1 or num_maps % groups:
        raise ValueError(f"groups = {groups}: a divisor of {num_maps}")
    if kind == "evonorm":
        return evonorm, lambda h: h
    return lambda h, scale, shift: F.group_norm(h, groups, scale, shift, EPSILON), torch.relu


def evonorm(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """EvoNorm-S0 with hardsigmoid. h: [batch, num_maps, height, width]; scale, shift: [num_maps]."""
    groups = h.reshape(len(h), EVONORM_GROUPS, -1)
    deviation = (groups.var(-1, correction=0, keepdim=True) + EPSILON).sqrt()
    active = (F.hardswish(h).reshape(groups.shape) / deviation).reshape(h.shape)  # hardswish(x) = x hardsigmoid(x)
    return active * scale[:, None, None] + shift[:, None, None]
