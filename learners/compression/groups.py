"""Groups of consecutive values that share a scale.

Groups are a number, so many values each and what is left in the last, or a tuple of sizes that add up to all values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Groups = int | tuple[int, ...]


def sizes_of(groups: Groups, num_values: int) -> list[int]:
    """Values in each group."""
    if isinstance(groups, tuple):
        return list(groups)
    return [min(groups, num_values - start) for start in range(0, num_values, groups)]


def maxima(v: Tensor, groups: Groups) -> Tensor:
    """[num_groups] the largest of each group of v [num_values], or 0 if that is more; NaN where a group has one."""
    if isinstance(groups, tuple):
        return torch.stack([part.amax() for part in v.split(groups)]).clamp(min=0)
    num_groups = -(-v.shape[0] // groups)
    padded = F.pad(v, (0, num_groups * groups - v.shape[0]))
    return padded.view(num_groups, groups).amax(1).clamp(min=0)


def sums(v: Tensor, groups: Groups) -> Tensor:
    """float64 [num_groups] the sum of each group of v [num_values], in float64."""
    v = v.double()
    if isinstance(groups, tuple):
        return torch.stack([part.sum() for part in v.split(groups)])
    num_groups = -(-v.shape[0] // groups)
    return F.pad(v, (0, num_groups * groups - v.shape[0])).view(num_groups, groups).sum(1)


def means(v: Tensor, groups: Groups) -> Tensor:
    """float64 [num_groups] the mean of each group of v [num_values]."""
    return sums(v, groups) / torch.tensor(sizes_of(groups, v.shape[0]), dtype=torch.float64)


def spread(of_groups: Tensor, groups: Groups, num_values: int) -> Tensor:
    """[num_values] each value's own of of_groups [num_groups]."""
    if isinstance(groups, tuple):
        return torch.cat([value.expand(size) for value, size in zip(of_groups.unbind(), groups, strict=True)])
    return of_groups.unsqueeze(1).expand(-1, groups).reshape(-1)[:num_values]
