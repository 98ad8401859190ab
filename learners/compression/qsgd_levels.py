"""The arithmetic of QSGD: norms of groups, levels of values, and their message with codes of one width. See `qsgd`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Literal

import torch
from torch import Tensor

from learners.compression.bits import float32_bits, float32_from
from learners.compression.codec import Tensors, refuse_non_finite
from learners.compression.groups import Groups, maxima, sizes_of, spread, sums
from learners.compression.layout import Grouped

NORM_BITS = 32
LARGEST = torch.finfo(torch.float32).max

Norm = Literal["l2", "max"]


def norms(v: Tensor, norm: Norm, groups: Groups) -> Tensor:
    """r float32 [num_groups] of v [num_values]; squares are added up in float64."""
    if norm == "max":
        return maxima(v.abs(), groups)
    r = sums(v.double().square(), groups).sqrt()
    return torch.where(r.isfinite(), r.clamp(max=LARGEST), r).float()


def levels(v: Tensor, noise: Tensor, num_levels: int, norm: Norm, groups: Groups) -> tuple[Tensor, Tensor]:
    """Signed z (whole numbers) [num_values] and r [num_groups] of v [num_values], float32. noise: u."""
    r = norms(v, norm, groups)
    return rounded(v, noise, spread(divisors(r), groups, v.shape[0]), num_levels), r


def divisors(r: Tensor) -> Tensor:
    """r, 1 where it is 0: of a group of zeros."""
    return torch.where(r == 0, 1, r)


def rounded(v: Tensor, noise: Tensor, r: Tensor, num_levels: int) -> Tensor:
    """Signed z [num_values] of v; r [num_values]: the norm of each one's group, not 0."""
    a = v.abs() / r * num_levels
    whole = a.floor()
    z = whole + (a - whole - noise).ceil()  # 1 where u < frac(a), else 0: comparisons take several times as long
    return torch.copysign(z.clamp(max=num_levels), v)


def variance_bound(num_levels: int, num_values: int) -> float:
    """w = min(d / s^2, sqrt(d) / s)."""
    return min(num_values / num_levels**2, sqrt(num_values) / num_levels)


def decoded(z: Tensor, r: Tensor, num_levels: int, contractive: bool, groups: Groups) -> Tensor:
    """float32 [num_values] of z and r: z / s * r, or with r / tau."""
    num_values = z.shape[0]
    scales = over_tau(r, num_levels, sizes_of(groups, num_values)) if contractive else r
    return z / num_levels * spread(scales, groups, num_values)


def over_tau(r: Tensor, num_levels: int, sizes: Sequence[int]) -> Tensor:
    """r / tau [num_groups] of groups of these sizes."""
    return r / torch.tensor([1 + variance_bound(num_levels, size) for size in sizes])


@dataclass(frozen=True)
class QsgdEncoding(Grouped):
    """Group after group: the norm, then the signed level of each value."""

    levels: int
    norm: Norm
    contractive: bool

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(levels int32 [num_values], norms [num_groups])."""
        refuse_non_finite(v)
        if noise is None:
            raise ValueError("noise = None: rounding is at random")
        z, r = levels(v.flatten().float(), noise, self.levels, self.norm, self.layout.groups)
        return z.to(torch.int32), r

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        z, r = tensors
        return decoded(z.float(), r, self.levels, self.contractive, self.layout.groups).reshape(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        z, r = (tensor.numpy() for tensor in tensors)
        return self.layout.encode(float32_bits(r).reshape(-1, NORM_BITS), z, prod(shape))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        headers, z = self.layout.decode(data, prod(shape), signed=True)
        return torch.from_numpy(z).to(torch.int32), torch.from_numpy(float32_from(headers))
