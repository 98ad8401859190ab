"""The objective of a turn: the coding rate reduction of a whole cluster, in which the other members' statistics stand still.

A member m gives W_m^k = n_m^k V_m^k / S_m and c_m^k = n_m^k / S_m of each class that it holds (S_m: of how many clusters it is a
member). With W^k and c^k their sums over the other members, Z^k the features of class k in the own minibatch B, n^k their number,
and f = n_i / |B| (counts = "rescale") or 1 ("as_coded"):

    n   = f sum_k n^k / S_i + sum_k c^k
    A   = f/S_i sum_k Z^k' Z^k  +  sum_(k in B) c^k V_B^k  +  sum_(k not in B) W^k
    R   = 1/2 log det(I + d / (n eps) A)
    Rc  = sum_(k in B) (f n^k / S_i + c^k) / (2 n) log det(I + d / eps V_B^k),    V_B^k = Z^k' Z^k / n^k
    loss = -R + Rc + the terms of the consensus on V (`consensus.PenalizedRate.terms`)

Of a class that others hold, too, their second moment is replaced by the own one at their number of samples: the consensus makes them
equal, and so the gradient sees the whole weight of the class. A class that the minibatch lacks keeps W^k.

As in the reference code, whose minibatch counts stand beside counts of whole data sets ("as_coded"); the factor f, and that classes absent from a
minibatch are left out, are ours, and n is one number here where its code overwrites it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.deferred import op
from learners.semantic.class_objective import ClassBatch, ClassObjective
from learners.semantic.coding_rate import moments, rates_of
from learners.semantic.consensus import PenalizedRate


@op(ragged=("v", "known", "counts"), flops=lambda zeros, v, known, counts: 2 * v.numel())
def of_others(zeros: Tensor, v: Tensor, known: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """W [num_classes, d, d] and c [num_classes] of the other members. v: ragged V_m [num_classes, d, d]; known: ragged [num_classes],
    1 where V_m^k is known; counts: ragged n_m^k / S_m [num_classes]. zeros: [num_classes, d, d]."""
    c = known * counts  # [m, num_classes]
    return (c[:, :, None, None] * v).sum(0), c.sum(0)


@dataclass(frozen=True)
class BlockRate(ClassObjective):
    """The objective above, see `learners.task.Objective`. rescale: f is n_i / |B|."""

    consensus: PenalizedRate
    rescale: bool

    __name__ = "block_rate"

    def of(
        self,
        batch: ClassBatch,
        others: Tensor,
        others_counts: Tensor,
        num_samples: Tensor,
        num_clusters: Tensor,
        *consensus: Tensor,
    ) -> Tensor:
        """others, others_counts: W, c. num_samples: n_i, num_clusters: S_i, both []. consensus: Y, T, m, c of `PenalizedRate`."""
        counts = batch.counts
        factor = num_samples / counts.sum().clamp(min=1) if self.rescale else 1
        v = moments(batch.sums, counts)
        present = torch.where(counts > 0, 1.0, 0.0).to(v.dtype)
        all_counts = factor * counts / num_clusters + others_counts
        n = all_counts.sum()
        n = torch.where(n > 0, n, 1)
        shares = present * all_counts / n
        frozen = ((1 - present)[:, None, None] * others).sum(0) / n
        total = (shares @ v.flatten(1)).view(frozen.shape) + frozen
        rate, class_rate = rates_of(total, v, shares, self.consensus.rate.distortion)
        return class_rate - rate + (present * self.consensus.terms(v, *consensus)).sum()

    def extra_flops(self, model: Any, num_samples: int) -> int:
        """Of a step, beside what torch counts: those of `PenalizedRate`, and W."""
        return self.consensus.extra_flops(model, num_samples) + 6 * model.num_classes * model.feature_dim**2
