"""The consensus on class second moments: the dual step, and the objective of the penalized local training.

    Y^k  <- Y^k + alpha sum_j (V_i^k - V_j^k)                                                        j: neighbors whose V^k is known
    loss  = -R + Rc + sum_k [ <Y^k, V_B^k> + rho/2 sum_j |V_B^k - (V_i^k + V_j^k) / 2|_F^2 ]         k: the classes in the minibatch B

In the objective the neighbors enter through their sums alone, T^k = sum_j (V_i^k + V_j^k) / 2, their number m^k and c^k = sum_j
|(V_i^k + V_j^k) / 2|^2, so that its cost does not depend on how many there are.

The reference code's order and constants. That this is consensus ADMM with edge variables eliminated (c = rho / 2, exact for alpha = rho / 2
and an exact primal step) is a derivation of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.deferred import op
from learners.semantic.class_objective import ClassBatch, ClassObjective
from learners.semantic.coding_rate import CodingRateReduction

Anchor = tuple[Tensor, Tensor, Tensor]
"""T [num_classes, d, d], m [num_classes], c [num_classes]."""


@op(
    ragged=("neighbors", "known"),
    flops=lambda y, v, held, alpha, neighbors, known: 5 * neighbors.numel() + 5 * v.numel(),
)
def dual_and_anchor(
    y: Tensor, v: Tensor, held: Tensor, alpha: float, neighbors: Tensor, known: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Y after the dual step, and T, m, c. y, v: [num_classes, d, d]; held: [num_classes] 1 where v has samples, else 0; neighbors: ragged V_j
    [num_classes, d, d]; known: ragged [num_classes], 1 where V_j^k is known."""
    active = known * held  # [m, num_classes]
    number = active.sum(0)
    own = number[:, None, None] * v
    others = (active[:, :, None, None] * neighbors).sum(0)
    sizes = (active * (v + neighbors).square().sum((-2, -1))).sum(0) / 4
    return y + alpha * (own - others), (own + others) / 2, number, sizes


@op(
    ragged=("own", "own_known", "neighbors", "known"),
    flops=lambda y, alpha, own, own_known, neighbors, known: 8 * neighbors.numel(),
)
def dual_and_anchor_of_edges(
    y: Tensor, alpha: float, own: Tensor, own_known: Tensor, neighbors: Tensor, known: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `dual_and_anchor`, where each neighbor has been sent a V of its own. own: ragged V_i [num_classes, d, d] as neighbor j has it,
    own_known: ragged [num_classes], of which classes."""
    active = known * own_known  # [m, num_classes]
    on = active[:, :, None, None]
    both = on * (own + neighbors)
    return (
        y + alpha * (on * (own - neighbors)).sum(0),
        both.sum(0) / 2,
        active.sum(0),
        both.square().sum((0, -2, -1)) / 4,
    )


@dataclass(frozen=True)
class PenalizedRate(ClassObjective):
    """The objective above, see `learners.task.Objective`, of (Y, T, m, c) and, where R and Rc do not weigh classes by the minibatch's own
    shares, the numbers of samples [num_classes] by which they do. penalty: rho."""

    rate: CodingRateReduction
    penalty: float

    __name__ = "penalized_rate"

    def of(
        self, batch: ClassBatch, y: Tensor, target: Tensor, number: Tensor, size: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        loss, v = self.rate.of_sums(batch.sums, batch.counts, weights)
        present = torch.where(batch.counts > 0, 1.0, 0.0).to(v.dtype)
        return loss + (present * self.terms(v, y, target, number, size)).sum()

    def terms(self, v: Tensor, y: Tensor, target: Tensor, number: Tensor, size: Tensor) -> Tensor:
        """<Y^k, V^k> + rho/2 (m^k |V^k|^2 - 2 <V^k, T^k> + c^k), [num_classes], of V^k [num_classes, d, d]."""
        distance = number * v.square().sum((-2, -1)) - 2 * (v * target).sum((-2, -1)) + size
        return (y * v).sum((-2, -1)) + self.penalty / 2 * distance

    def extra_flops(self, model: Any, num_samples: int) -> int:
        """Of a step, beside what torch counts: of the rates, and some 12 operations a number of the matrices."""
        return self.rate.extra_flops(model, num_samples) + 12 * model.num_classes * model.feature_dim**2
