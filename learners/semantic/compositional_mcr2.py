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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from learners.decentralized.neighbor_sgd import Heard, NeighborSgd
from learners.fields import check_count, check_number
from learners.local_step import OptimizerName
from learners.models.flat import Model
from learners.protocol import Batches, Node, Program, Receive, Received
from learners.quantities import Count, LearningRate, PositiveOrZero
from learners.semantic.bases import BasisLinks
from learners.semantic.coding_rate import CodingRateReduction, class_sums, rate_of, spared_flops
from learners.task import cross_entropy, weighted_cross_entropy


@dataclass(frozen=True)
class CompositionalMcr2(NeighborSgd):
    """Local training as in `LocalSgd`, with Adam by default; one pass a round if neither local_steps nor local_epochs is given.
    basis_dim: r, of a class's basis that travels. joint_dim: R, of the subspace that all have in common, at least r.
    subspace_weight: lambda."""

    basis_dim: Count = 10
    joint_dim: Count = 16
    subspace_weight: PositiveOrZero = 100.0
    learning_rate: LearningRate = 0.01
    batch_size: Count = 1000
    weight_decay: PositiveOrZero = 1e-5
    local_optimizer: OptimizerName = "adam"

    objectives: ClassVar[tuple[str, ...]] = ("coding_rate_reduction", "cross_entropy")
    heterogeneous: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    takes_momentum: ClassVar[bool] = False
    takes_matrix: ClassVar[None] = None
    leaves_out_rounds: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ()
    default_local_steps: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.local_steps is None and self.local_epochs is None:
            object.__setattr__(self, "local_epochs", 1)
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
        if self.mixing_weights != "metropolis":
            raise ValueError(
                f"mixing_weights = {self.mixing_weights!r}: neighbors are not averaged here; leave this out"
            )

    def check_models(self, models: Sequence[Model]) -> None:
        """Raise ValueError unless all representations have one length."""
        dims = sorted({model.feature_dim for model in models})
        if len(dims) > 1:
            raise ValueError(f"feature_dim {', '.join(map(str, dims))}: subspaces are compared, so one for all devices")

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        links = BasisLinks(node, self.codec, self.basis_dim, self.size(node))
        objective = SubspaceRate(rate_for(node.task), self.subspace_weight)
        while self.goes_on(k):
            payload = yield from links.payload(x)
            sent = yield from self.publish_payload(node, k, payload, "bases")
            received = Received(())
            if sent.heard:
                number = sent.k * self.exchanges
                received = yield Receive(sent.heard, sent.kind, number, timeout_s=self.deadline_s, late=True)
            for message in (*received.late, *received.messages):
                yield from links.receive(message)
            projections = yield from links.projections(payload, sent.heard, self.joint_dim)
            x = yield from self.train(node, x, k, self.batches(node), objective, projections)
            k = yield from self.close(node, x, Heard(sent, received, node.tensor([])))

    def size(self, node: Node) -> int:
        """Samples a minibatch: not many more than the device has (rounded up to eights, so that devices share their ops)."""
        return min(self.batch_size, -(-node.num_samples // 8) * 8)

    def batches(self, node: Node) -> Batches:
        return node.batches(
            self.size(node), steps=self.local_steps, epochs=self.local_epochs, crop_padding=self.crop_padding
        )


def rate_for(task: Any) -> CodingRateReduction | None:
    """The coding rate reduction to be minimized with the subspaces; None: the cross-entropy, where that is the task's objective."""
    return None if task.objective is cross_entropy else rate_of(task)


@dataclass(frozen=True)
class SubspaceRate:
    """The objective above, see `learners.task.Objective`, of P [num_classes, d, d], the projections onto the classes' common subspaces.
    rate: None for the cross-entropy. weight: lambda.

    As P^k is a projection, the mean is sum_k (tr S^k - <S^k, P^k>) / (n d) with S^k = Z^k' Z^k, which the rates need anyway."""

    rate: CodingRateReduction | None
    weight: float

    __name__ = "subspace_rate"
    loop = True  # see `local_step`

    def __call__(
        self,
        model: Any,
        parameters: Sequence[Tensor],
        inputs: Tensor,
        labels: Tensor,
        weights: Tensor,
        projections: Tensor,
    ) -> Tensor:
        z = model.representation(parameters, inputs)
        sums, counts = class_sums(z, labels, weights, model.num_classes)
        if self.rate is None:
            loss = weighted_cross_entropy(model.head(parameters, z), labels, weights)
        else:
            loss = self.rate.of_sums(sums, counts)[0]
        outside = sums.diagonal(dim1=-2, dim2=-1).sum() - (sums * projections).sum()
        return loss + self.weight * outside / (counts.sum().clamp(min=1) * z.shape[-1])

    def extra_flops(self, model: Any, num_samples: int) -> int:
        """Of a step, beside what torch counts: of the rates, or less the products with zeros, and some 4 operations a number of P."""
        num_classes, d = model.num_classes, model.feature_dim
        if self.rate is None:
            rates = -3 * spared_flops(num_samples, num_classes, d)
        else:
            rates = self.rate.extra_flops(model, num_samples)
        return rates + 4 * num_classes * d**2
