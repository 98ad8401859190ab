"""Coding rate reduction: how many nats a set of features takes as a whole, less what its classes take one by one.

With features Z [n, d] of unit norm, Z^k those of class k, n^k their number, a = d / eps:

    V^k = Z^k' Z^k / n^k,   M = sum_k n^k/n V^k                    second moments: symmetric, positive semi-definite, trace 1
    R   = 1/2 log det(I + a M)
    Rc  = sum_k n^k/(2n) log det(I + a V^k)
    DR  = R - Rc                                                   to be maximized

Classes without a sample have no V^k and take no part. Their gradient is known: with G^k = (a n^k/(2n)) [(I + a M)^-1 - (I + a
V^k)^-1] it is d DR / d Z^k = (2 / n^k) Z^k G^k.

Yu, Chan, You, Song and Ma, "Learning diverse and discriminative representations via the principle of maximal coding rate
reduction", NeurIPS 2020 (arXiv 2006.08558), with gamma1 = gamma2 = 1; its eps^2 is eps here, as in its public code. Natural
logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor

from learners.fields import check_number
from learners.quantities import Positive

DISTORTION = 0.5
"""eps of the sources."""


def log_det(matrices: Tensor) -> Tensor:
    """[...] of symmetric positive definite matrices [..., d, d], by Cholesky. The gradient is the inverse, computed once beside it
    (that of the factorization takes half as long again). NaN where a matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(matrices.detach())
    value = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    linear = (torch.cholesky_inverse(factor) * matrices).sum((-2, -1))  # its gradient is the inverse
    return torch.where(failed == 0, value + (linear - linear.detach()), torch.nan)


def log_det_flops(num_matrices: int, d: int) -> int:
    """Of their log-determinants and gradients: d^3 / 3 multiplications and additions for a factorization, three times that with the
    gradient."""
    return 2 * num_matrices * d**3


def class_sums(z: Tensor, labels: Tensor, weights: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Z^k' Z^k [num_classes, d, d] and n^k [num_classes]. z: [B, d]; labels: [B]; weights [B]: 1, or 0 for padding."""
    member = (labels.unsqueeze(-1) == torch.arange(num_classes)) * weights.unsqueeze(-1)  # [B, num_classes]
    columns = (member.unsqueeze(-1) * z.unsqueeze(-2)).flatten(1)  # [B, num_classes * d]
    return (columns.mT @ z).view(num_classes, *2 * z.shape[-1:]), member.sum(0)


def spared_flops(num_samples: int, num_classes: int, d: int) -> int:
    """What torch counts for `class_sums` beyond n d^2 multiplications and additions: its products with zeros."""
    return 2 * num_samples * d * d * (num_classes - 1)


def moments(sums: Tensor, counts: Tensor) -> Tensor:
    """V^k [num_classes, d, d] of sums over counts [num_classes]; 0 where there is no sample."""
    return sums / torch.where(counts > 0, counts, 1)[:, None, None]


def rates(v: Tensor, shares: Tensor, distortion: float) -> tuple[Tensor, Tensor]:
    """R and Rc of class moments v [num_classes, d, d] and class shares pi_k [num_classes] that add up to 1."""
    return rates_of((shares @ v.flatten(1)).view(v.shape[1:]), v, shares, distortion)


def rates_of(total: Tensor, v: Tensor, shares: Tensor, distortion: float) -> tuple[Tensor, Tensor]:
    """As `rates`, R of a second moment total [d, d] of its own."""
    d = v.shape[-1]
    matrices = torch.cat([total.unsqueeze(0), v])
    dets = 0.5 * log_det(torch.eye(d, dtype=v.dtype) + (d / distortion) * matrices)
    return dets[0], (shares * dets[1:]).sum()


def rate_reduction(z: Tensor, labels: Tensor, num_classes: int, distortion: float = DISTORTION) -> float:
    """DR in nats of features z [n, d], outside ops."""
    sums, counts = class_sums(z, labels, torch.ones_like(z[:, 0]), num_classes)
    rate, class_rate = rates(moments(sums, counts), counts / counts.sum(), distortion)
    return float(rate - class_rate)


def largest_rate_reduction(d: int, num_classes: int, distortion: float = DISTORTION) -> float:
    """DR of balanced classes, each isotropic in d / K dimensions of its own: the ceiling where K divides d."""
    return d / 2 * log(1 + 1 / distortion) - d / (2 * num_classes) * log(1 + num_classes / distortion)


@dataclass(frozen=True)
class CodingRateReduction:
    """The objective -DR of a minibatch, see `learners.task.Objective`; a batch of padding only has 0. distortion: eps."""

    distortion: Positive = DISTORTION

    __name__ = "coding_rate_reduction"  # ops are named by it
    loop = True  # see `local_step`

    def __post_init__(self) -> None:
        check_number("distortion", self.distortion)

    def __call__(
        self, model: Any, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        sums, counts = class_sums(model.representation(parameters, inputs), labels, weights, model.num_classes)
        return self.of_sums(sums, counts)[0]

    def of_sums(self, sums: Tensor, counts: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """-DR of Z^k' Z^k [num_classes, d, d] and n^k [num_classes], and the V^k. weights: [num_classes] what the classes that are
        there weigh in R and Rc, instead of n^k."""
        v = moments(sums, counts)
        weights = counts if weights is None else torch.where(counts > 0, weights, 0)
        rate, class_rate = rates(v, weights / weights.sum().clamp(min=1), self.distortion)
        return class_rate - rate, v

    def extra_flops(self, model: Any, num_samples: int) -> int:
        """Of a step on so many samples, beside what torch counts: log-determinants, and no products with zeros, of which a step has
        three."""
        num_classes, d = model.num_classes, model.feature_dim
        return log_det_flops(num_classes + 1, d) - 3 * spared_flops(num_samples, num_classes, d)


def rate_of(task: Any) -> CodingRateReduction:
    """The objective of the task. ValueError where it is no coding rate reduction (of a task of one's own), whose distortion is not known."""
    objective = getattr(task, "objective", None)
    if not isinstance(objective, CodingRateReduction):
        raise ValueError(
            f"objective {getattr(objective, '__name__', objective)}: of the task; a CodingRateReduction is needed, which says the distortion"
        )
    return objective
