"""Compositional multi-view learning: every agent sees a view of its own, and they agree on the subspaces of the classes.

Tian and Bennis, "Compositional distributed learning for multi-view perception: a maximal coding rate reduction perspective" (arXiv
2511.08707), as its public code runs it; the letter's own text was not available. Every agent trains an encoder on its own view of the
same samples ([data] views). In a round, at agent i:

    B_i^k <- top r left singular vectors of the d x n features of class k, of all own samples      (`bases`)
    send B_i, wait for B_j of all neighbors j
    U^k   <- top R left singular vectors of [B_1^k ... B_N^k]                                        [d, R], of i and its neighbors
    x_i   <- local training on  -R + Rc + lambda mean of (z U^y (U^y)' - z)^2 over samples and coordinates

with the cross-entropy in the place of -R + Rc under [task] objective = "cross_entropy", the letter's baseline (there lambda is 10).

Sends, per round: K bases to all neighbors at once, 4 K d r bytes with float32 (d = 64, K = 10, r = 10: 25,600), whatever the size of
the encoder.

The code's: what is exchanged, the loss and its constants (r 10, R 16, lambda 100, batches of 1000, one pass a round, Adam at 0.01 with
weight decay 1e-5), a complete graph of 4 agents. Ours: that the subspaces enter from the first round on (the published script goes on from models
of round 4,000, whose training is not visible), bases at the beginning of a round, graphs that are not complete, codecs, and everything about
messages that do not arrive: a class's last basis is used again, and neighbors that were never heard are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from learners.fields import check_count, check_number
from learners.protocol import Node, Program
from learners.quantities import Count, PositiveOrZero
from learners.semantic.bases import BasisLinks
from learners.semantic.class_objective import ClassBatch, ClassObjective
from learners.semantic.coding_rate import CodingRateReduction, rate_of, spared_flops
from learners.semantic.statistics_sgd import StatisticsSgd
from learners.task import cross_entropy, weighted_cross_entropy


@dataclass(frozen=True)
class CompositionalMcr2(StatisticsSgd):
    """Local training as in `StatisticsSgd`.
    basis_dim: r, of a class's basis that travels. joint_dim: R, of the subspace that all have in common, at least r.
    subspace_weight: lambda."""

    basis_dim: Count = 10
    joint_dim: Count = 16
    subspace_weight: PositiveOrZero = 100.0

    objectives: ClassVar[tuple[str, ...]] = ("coding_rate_reduction", "cross_entropy")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("basis_dim", self.basis_dim)
        check_count("joint_dim", self.joint_dim)
        check_number("subspace_weight", self.subspace_weight, zero=True)
        if self.joint_dim < self.basis_dim:
            raise ValueError(
                f"joint_dim = {self.joint_dim}: at least basis_dim = {self.basis_dim}, else which part of its own basis a device on its own "
                "keeps would be arbitrary"
            )
        dim = getattr(getattr(self.task, "model", None), "feature_dim", None)  # no model before the data is loaded
        for key in ("basis_dim", "joint_dim"):
            if dim is not None and getattr(self, key) > dim:
                raise ValueError(f"{key} = {getattr(self, key)}: representations have {dim} dimensions; at most {dim}")

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        links = BasisLinks(node, self.codec, self.basis_dim, self.size(node))
        objective = SubspaceRate(rate_for(node.task), self.subspace_weight)
        while self.goes_on(k):
            payload = yield from links.payload(x)
            sent = yield from self.publish_payload(node, k, payload, "bases")
            heard = yield from self.gather_statistics(node, sent, links)
            projections = yield from links.projections(payload, sent.heard, self.joint_dim)
            x = yield from self.train(node, x, k, self.batches(node), objective, projections)
            k = yield from self.close(node, x, heard)


def rate_for(task: Any) -> CodingRateReduction | None:
    """The coding rate reduction to be minimized with the subspaces; None: the cross-entropy, where that is the task's objective."""
    return None if task.objective is cross_entropy else rate_of(task)


@dataclass(frozen=True)
class SubspaceRate(ClassObjective):
    """The objective above, see `learners.task.Objective`, of P [num_classes, d, d], the projections onto the classes' common subspaces.
    rate: None for the cross-entropy. weight: lambda.

    As P^k is a projection, the mean is sum_k (tr S^k - <S^k, P^k>) / (n d) with S^k = Z^k' Z^k, which the rates need anyway."""

    rate: CodingRateReduction | None
    weight: float

    __name__ = "subspace_rate"

    def of(self, batch: ClassBatch, projections: Tensor) -> Tensor:
        sums, counts = batch.sums, batch.counts
        if self.rate is None:
            loss = weighted_cross_entropy(batch.model.head(batch.parameters, batch.z), batch.labels, batch.weights)
        else:
            loss = self.rate.of_sums(sums, counts)[0]
        outside = sums.diagonal(dim1=-2, dim2=-1).sum() - (sums * projections).sum()
        return loss + self.weight * outside / (counts.sum().clamp(min=1) * batch.z.shape[-1])

    def extra_flops(self, model: Any, num_samples: int) -> int:
        """Of a step, beside what torch counts: of the rates, or less the products with zeros, and some 4 operations a number of P."""
        num_classes, d = model.num_classes, model.feature_dim
        if self.rate is None:
            rates = -3 * spared_flops(num_samples, num_classes, d)
        else:
            rates = self.rate.extra_flops(model, num_samples)
        return rates + 4 * num_classes * d**2
