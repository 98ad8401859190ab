"""Rates of powers, differentiable: K links that interfere, and K parallel channels.

    R_k = log2(1 + G_kk p_k / (1 + sum_{j != k} G_kj p_j))          interfering links, in bit/s/Hz
    R_k = log2(1 + g_k p_k)                                         parallel channels

G_kj = |h_kj|^2 / sigma^2 is the SNR at receiver k of transmitter j at unit power, and p_j its power in that unit. An object
whose gains are 0 has the rate 0 and disturbs nobody, whatever its power: so is a sample padded to more objects.

Sun et al., "Learning to optimize: training deep neural networks for interference management", IEEE Trans. Signal Process. 2018
(interfering links); any textbook (parallel channels).
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor


def log2_1p(x: Tensor) -> Tensor:
    """log2(1 + x), exact for small x."""
    return x.log1p() / log(2)


def link_rates(gains: Tensor, powers: Tensor) -> Tensor:
    """R_k [..., K] in bit/s/Hz of links that interfere.

    gains: [..., K, K] SNRs at unit power, row = receiver, column = transmitter; powers: [..., K], not below 0
    """
    direct = gains.diagonal(dim1=-2, dim2=-1)
    # Not the sum over all less the link's own: where that is 1e6 times the noise, float32 would lose the noise.
    others = ~torch.eye(gains.shape[-1], dtype=torch.bool, device=gains.device)
    interference = (gains * others * powers.unsqueeze(-2)).sum(-1)
    return log2_1p(direct * powers / (1 + interference))


def sum_rates(gains: Tensor, powers: Tensor) -> Tensor:
    """sum_k R_k [...] of links that interfere, see `link_rates`."""
    return link_rates(gains, powers).sum(-1)


def parallel_rates(gains: Tensor, powers: Tensor) -> Tensor:
    """R_k [..., K] in bit/s/Hz of parallel channels. gains, powers: [..., K], SNRs at unit power and powers not below 0."""
    return log2_1p(gains * powers)
