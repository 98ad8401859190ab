"""Layers whose objects (users, links, devices) may come in any order and any number: pure functions of two or a few small matrices.

A layer at K objects is a K x K grid of blocks, U on the diagonal and V off it, and is never built: the sum over the others is found
first. Its parameters do not depend on K, and permuting the objects permutes what it returns (but for the heads, which say so).

    two_matrix    U h_k + V sum_(j != k) h_j / s + b
    edge_layer    U h_k + V [sum_j A_kj h_j, sum_j A_jk h_j] / s + b
    two_index     (U - V - P + Q) X_ij + (V - Q) mean_i' X_i'j + (P - Q) mean_j' X_ij' + Q mean_i'j' X_i'j' + b

s, the aggregation scale of n neighbors: 1 ("sum", the literal grid), n ("mean") or sqrt(n) ("sqrt"); 1 where there is no neighbor, whose
sum is empty.

Everywhere, presence [..., K] is 1 for an object and 0 for padding, which is behind the objects; the states of padding are 0 when they go
in and 0 when they come out, and it counts nowhere. An activation with f(0) = 0 may follow.

Wang, Huangfu, Li, Ge and Wang, "Distributed learning for time-varying networks: a scalable design", arXiv 2108.00231, has the principle:
networks of any scale from two basic sub-matrices. The equations above are reconstructed from its lineage: Guo and Yang, "Structure of deep
neural networks with a priori information in wireless tasks", ICC 2020 (two_matrix), and the same authors' later networks for users and antennas
(two_index, there with Q = 0). edge_layer is ours, of the family of random edge graph networks.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Aggregation = Literal["mean", "sum", "sqrt"]


def num_others(presence: Tensor) -> Tensor:
    """n [..., 1]: objects besides oneself."""
    return presence.sum(-1, keepdim=True) - 1


def num_connected(gains: Tensor) -> Tensor:
    """n [..., K]: objects with a gain to or from object k. gains: A [..., K, K] with a diagonal of zeros."""
    return ((gains != 0) | (gains.mT != 0)).to(gains.dtype).sum(-1)


def aggregation_scale(num_neighbors: Tensor, aggregation: Aggregation) -> Tensor:
    """s, shaped as num_neighbors."""
    if aggregation == "sum":
        return torch.ones_like(num_neighbors)
    at_least_one = num_neighbors.clamp(min=1)
    return at_least_one if aggregation == "mean" else at_least_one.sqrt()


def two_matrix(h: Tensor, presence: Tensor, U: Tensor, V: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """[..., K, o] of states h [..., K, i]. U, V: [o, i]; b: [o]; scale: s [..., K] or [..., 1]."""
    others = (h.sum(-2, keepdim=True) - h) / scale.unsqueeze(-1)
    return linear(torch.cat((h, others), -1), torch.cat((U, V), -1), b) * presence.unsqueeze(-1)


def both_ways(gains: Tensor, scale: Tensor) -> Tensor:
    """[..., 2 K, K]: rows 2k and 2k + 1 are A_k. / s_k and A_.k / s_k, what layers of one network have in common.

    gains: A [..., K, K] with a diagonal of zeros, row k the receiver, column j the transmitter; scale: s [..., K] or [..., 1]."""
    return (torch.stack((gains, gains.mT), -2) / scale[..., None, None]).flatten(-3, -2)


def edge_layer(h: Tensor, presence: Tensor, U: Tensor, V: Tensor, b: Tensor, neighbors: Tensor) -> Tensor:
    """[..., K, o] of states h [..., K, i]. U: [o, i]; V: [o, 2 i], of who disturbs k and of whom k disturbs; b: [o]; neighbors: what
    `both_ways` makes of the gains."""
    sums = (neighbors @ h).unflatten(-2, (h.shape[-2], 2)).flatten(-2)  # [..., K, 2 i], no copy
    return linear(torch.cat((h, sums), -1), torch.cat((U, V), -1), b) * presence.unsqueeze(-1)


def two_index(
    X: Tensor, rows: Tensor, columns: Tensor, U: Tensor, V: Tensor, P: Tensor, Q: Tensor, b: Tensor
) -> Tensor:
    """[..., I, J, o] of entries X [..., I, J, i], whose rows and columns may be permuted each on their own.

    rows: presence [..., I]; columns: presence [..., J]; U, V, P, Q: [o, i], b: [o]. U is the block of the entry itself, V of its column's
    others, P of its row's others, Q of all that share neither."""
    num_rows, num_columns = (part.sum(-1)[..., None, None, None].clamp(min=1) for part in (rows, columns))
    over_rows = X.sum(-3, keepdim=True) / num_rows
    over_columns = X.sum(-2, keepdim=True) / num_columns
    over_all = over_rows.sum(-2, keepdim=True) / num_columns
    Y = linear(X, U - V - P + Q, b) + linear(over_rows, V - Q) + linear(over_columns, P - Q) + linear(over_all, Q)
    return Y * (rows.unsqueeze(-1) * columns.unsqueeze(-2)).unsqueeze(-1)


def invariant_head(h: Tensor, presence: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """[..., o], one answer for the whole set, whatever the order: w mean_k h_k + b. w: [o, i]; b: [o]."""
    mean = h.sum(-2) / presence.sum(-1, keepdim=True).clamp(min=1)
    return linear(mean, w, b)


def ego_head(scores: Tensor) -> Tensor:
    """Scores [..., K] of which only that of object 0, the client, is kept; whatever the order of the others, its neighbors. Theirs are 0."""
    return torch.cat((scores[..., :1], torch.zeros_like(scores[..., 1:])), -1)


def linear(h: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[..., o] of h [..., i]: one product of matrices, whatever the leading axes. weight: [o, i]."""
    return F.linear(h.reshape(-1, h.shape[-1]), weight, bias).unflatten(0, h.shape[:-1])
