"""WMMSE on the links that a device knows of, as an op: what `learners.control.wmmse` computes, for one channel, in the run's dtype.

Symbols and source: there. Objects whose gains are 0, such as padding, get no power and take no part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.control.wmmse import NUM_ITERATIONS
from learners.deferred import op


def wmmse_flops(gains: Tensor, num_iterations: int = NUM_ITERATIONS) -> int:
    """The two products of a matrix and a vector of each iteration, and the first; the elementwise rest is left out."""
    K = gains.shape[-1]
    return (2 * num_iterations + 1) * 2 * K * K


@op(flops=wmmse_flops)
def local_wmmse(gains: Tensor, num_iterations: int = NUM_ITERATIONS) -> Tensor:
    """Powers [K] from 0 to 1, of full power at the start. gains: [K, K] SNRs at full power, row = receiver."""
    return torch.square(amplitudes(gains, num_iterations))


def amplitudes(gains: Tensor, num_iterations: int) -> Tensor:
    """b [..., K] of gains [..., K, K]."""
    direct = gains.diagonal(dim1=-2, dim2=-1).sqrt()
    cross = gains * ~torch.eye(gains.shape[-1], dtype=torch.bool, device=gains.device)
    b = torch.ones_like(direct)
    f, w = _respond(direct, cross, b)
    for _ in range(num_iterations):
        costs = w * f.square()
        slope = (costs.unsqueeze(-1) * cross).sum(-2) + costs * direct.square()
        wanted = w * f * direct
        positive = wanted > 0
        b = torch.where(positive, (wanted / torch.where(positive, slope, 1.0)).clamp(max=1.0), 0.0)
        f, w = _respond(direct, cross, b)
    return b


def _respond(direct: Tensor, cross: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """f and w."""
    disturbed = 1 + (cross * b.square().unsqueeze(-2)).sum(-1)
    received = direct * b
    total = disturbed + received.square()
    return received / total, total / disturbed
