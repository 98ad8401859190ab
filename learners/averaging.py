"""Weighted averages of received models, as ops: what servers and neighbors do with what arrived.

In each, x and the models z_j are [num_params], the weights [m] in the order of the models, and masks m bool tensors
[num_params], True where a coordinate of z_j arrived. Charged are 2 m num_params operations, a product and a sum
a value: torch counts them where they are a product of vector and matrix, `mix_masked` declares them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.deferred import op
from learners.protocol import Received


@op(ragged=("received", "weights"))
def mix(base: Tensor, x: Tensor, received: Tensor, weights: Tensor) -> Tensor:
    """base + sum_j w_j (z_j - x).  With base = x: (1 - sum_j w_j) x + sum_j w_j z_j."""
    return base - weights.sum() * x + weights @ received


@op(
    ragged=("received", "weights", "masks"),
    flops=lambda base, x, received, weights, masks: 2 * received.numel(),
)
def mix_masked(base: Tensor, x: Tensor, received: Tensor, weights: Tensor, masks: Tensor) -> Tensor:
    """base + sum_j w_j (z_j - x) over the coordinates of z_j that arrived: the weight of the others returns to x."""
    return base + torch.where(masks, weights.unsqueeze(-1) * (received - x), 0).sum(0)


@op(loop=True, ragged=("models", "shares"))
def average(models: Tensor, shares: Tensor) -> Tensor:
    """sum_k p_k z_k with p_k = shares_k / sum of shares."""
    return (shares / shares.sum()) @ models


@op(loop=True, ragged=("models", "shares", "masks"))
def average_masked(models: Tensor, shares: Tensor, masks: Tensor, w: Tensor) -> Tensor:
    """sum_k p_k z_k, where a coordinate of z_k that did not arrive is that of w [num_params], the server's own."""
    return (shares / shares.sum()) @ torch.where(masks, models, w)


@op(loop=True, ragged=("differences", "shares"))
def add_average(w: Tensor, differences: Tensor, shares: Tensor) -> Tensor:
    """w + sum_k p_k d_k with p_k = shares_k / sum of shares."""
    return w + (shares / shares.sum()) @ differences


@op(loop=True, ragged=("differences", "shares", "masks"))
def add_average_masked(w: Tensor, differences: Tensor, shares: Tensor, masks: Tensor) -> Tensor:
    """w + sum_k p_k d_k, where a coordinate of d_k that did not arrive is no change."""
    return w + (shares / shares.sum()) @ torch.where(masks, differences, 0)


@op(flops=lambda received, mask, previous: received.numel())
def fill(received: Tensor, mask: Tensor, previous: Tensor) -> Tensor:
    """`received` where it arrived (mask), else `previous`. All: [num_params]. One operation a value is charged."""
    return torch.where(mask, received, previous)


def full_masks(received: Received) -> list[Tensor] | None:
    """One mask a message, all True for a whole one; None if every message is whole."""
    masks = received.masks
    if masks is None:
        return None
    whole = torch.ones(next(mask.shape for mask in masks if mask is not None), dtype=torch.bool)
    return [whole if mask is None else mask for mask in masks]
