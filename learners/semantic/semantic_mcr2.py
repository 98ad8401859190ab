"""Semantic distributed learning by class second moments (MCR2 consensus), Algorithm I: for i.i.d. data.

Tian, Ben Issaid and Bennis, "Semantic-based distributed learning for diverse and discriminative representations" (arXiv
2604.18237), as its public code runs it; the paper's own text was not available. Every device trains an encoder of its own, whose
architectures may differ, so that its features have a large coding rate reduction (`coding_rate`), and the classes' second moments
V_i^k agree with the neighbors'. In round t, at device i with neighbors j:

    V_i^k <- second moments of the features of all own samples, in evaluation mode       (`moments`)
    send V_i, wait for V_j
    Y_i^k <- Y_i^k + alpha sum_j (V_i^k - V_j^k)                                            Y_i = 0 at first
    x_i   <- local training on  -R + Rc + sum_k [ <Y_i^k, V_B^k> + rho/2 sum_j |V_B^k - (V_i^k + V_j^k)/2|^2 ]       (`consensus`)

Sends, per round: K matrices to all neighbors at once, with float32 4 K d^2 bytes ("full") or 2 K d (d + 1) ("triangle"), whatever
the size of the encoder.

The code's: what is exchanged, the loss and its constants (rho 5, alpha 0.1, distortion 0.5, batches of 1000, one pass a round, Adam at 0.01
with weight decay 1e-5), the order of the steps. A share leaves at the beginning of a round here, so that the last round sends none
that nobody uses. Ours: everything about messages that do not arrive, the packed triangle, codecs.
Lost or late messages: the last V_j is used again, number by number where a message arrives in part; a neighbor of which a class has never
come whole takes no part in that class, at this end only (the other end does not know). The dual variables of all devices add up to zero
while every message of a round arrives, with any codec: a device takes its own V as it has sent it. Received matrices are made second moments again
(`moments.projected`) with projection = "psd_trace1" unless they came whole and unrounded.
Second moments do not tell z from -z: devices share subspaces, not directions, so compare their features by nearest subspace or
|cosine|. alpha = rho / 2, the exact dual step, diverges with few local steps a round.
With unequal class shares the consensus on V alone is only approximately the global objective: R and Rc of a device weigh the classes by
its own shares. With class_shares = "agreed" (ours) they do by those of the whole network, sum_j n_j^k / n, among the classes of the minibatch; a
class of which a device has few samples then counts with them as much as everywhere. The n_j^k are what the devices have told each other when the
network was set up (`Node.class_counts_of`, by which they also know who holds which classes): one vector of K numbers each, which no message of a run
carries and no loss concerns. Algorithm II (`semantic_mcr2_clusters`) is for devices without some classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from learners.compression.codec import error_feedback
from learners.fields import check_choice, check_count, check_number
from learners.protocol import Compute, Node, Program, Value
from learners.quantities import Count, PositiveOrZero
from learners.semantic.coding_rate import rate_of
from learners.semantic.consensus import PenalizedRate, dual_and_anchor
from learners.semantic.moment_links import MomentLinks, classes_held
from learners.semantic.moments import MatrixForm
from learners.semantic.statistics_sgd import StatisticsSgd
from learners.semantic.task_head import HeadKind, train_head

Projection = Literal["psd_trace1", "none"]
BATCH_CLASS_SAMPLES = 20
"""Of each class that a minibatch should hold."""


@dataclass(frozen=True)
class SemanticMcr2(StatisticsSgd):
    """Local training as in `StatisticsSgd`.
    class_shares: "own" or "agreed", see above. penalty: rho. dual_step: alpha. matrix: "triangle" or "full", which numbers of a matrix travel. projection: "psd_trace1" or
    "none", see above. least_class_samples: of a class that a device holds; fewer are refused. head: "none", "linear" or "mlp", a
    classifier that every device trains on its own samples in the last round, of head_epochs passes (`task_head`), reported as "head"."""

    penalty: PositiveOrZero = 5.0
    dual_step: PositiveOrZero = 0.1
    matrix: MatrixForm = "triangle"
    projection: Projection = "psd_trace1"
    least_class_samples: Count = 2
    head: HeadKind = "none"
    head_epochs: Count = 10
    class_shares: Literal["own", "agreed"] = "own"

    reports: ClassVar[tuple[str, ...]] = ("head",)
    own_metrics: ClassVar[tuple[str, ...]] = ("head",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("penalty", self.penalty, zero=True)
        check_number("dual_step", self.dual_step, zero=True)
        check_choice("matrix", self.matrix, ("triangle", "full"))
        check_choice("projection", self.projection, ("psd_trace1", "none"))
        check_count("least_class_samples", self.least_class_samples)
        check_choice("class_shares", self.class_shares, ("own", "agreed"))
        check_choice("head", self.head, ("none", "linear", "mlp"))
        check_count("head_epochs", self.head_epochs)
        if self.head != "none" and self.num_rounds is None:
            raise ValueError(f'head = {self.head!r}: is trained in the last round; stop by rounds, or "none"')

    def check_codec(self) -> None:
        """Moments are statistics, not models: codecs whose zeros leave out what is small will do, but for those that need error feedback,
        which a lost message would undo."""
        if error_feedback(self.codec):
            raise ValueError(
                f"codec = {type(self.codec).__name__}: has error_feedback, and class moments are sent anew in every round; "
                "error_feedback = false, or another codec"
            )

    def check_parts(self, class_counts: np.ndarray) -> None:
        """Raise ValueError also unless every class that a device holds has enough samples; warn once where a minibatch has few of a class.
        class_counts: int [num_devices, num_classes]."""
        for device, counts in enumerate(class_counts):
            held = counts[counts > 0]
            if len(held) and held.min() < self.least_class_samples:
                k = int(np.flatnonzero(counts == held.min())[0])
                raise ValueError(
                    f"least_class_samples = {self.least_class_samples}: device {device} holds {held.min()} sample(s) of class {k}, "
                    "too few for a second moment; deal more samples, or lower this"
                )
        super().check_parts(class_counts)
        self._warn_of_small_batches(class_counts)

    def _warn_of_small_batches(self, class_counts: np.ndarray) -> None:
        """Second moments of few samples are noisy and of low rank: the reference's batches of 1000 and 3000 are deliberate."""
        num_samples = class_counts.sum(1, keepdims=True)
        in_batch = class_counts * np.minimum(self.batch_size, num_samples) / np.maximum(num_samples, 1)
        in_batch[class_counts == 0] = np.inf
        device, k = np.unravel_index(in_batch.argmin(), in_batch.shape)
        if in_batch[device, k] < BATCH_CLASS_SAMPLES:
            warnings.warn(
                f"batch_size = {self.batch_size}: a minibatch of device {device} has {in_batch[device, k]:.1f} samples of class {k} on "
                f"average; second moments of fewer than {BATCH_CLASS_SAMPLES} are noisy and of low rank",
                stacklevel=2,
            )

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        links = MomentLinks(node, self.codec, self.matrix, self.projection == "psd_trace1", self.size(node))
        classes = classes_held(node.class_counts_of(node.id))
        y: Value = links.zeros  # [num_classes, d, d]
        objective = PenalizedRate(rate_of(node.task), self.penalty)
        weights = self.weights(node)
        while self.goes_on(k):
            payload = yield from links.payload((yield from links.sums(x)), classes)
            sent = yield from self.publish_payload(node, k, payload, "moments")
            v, held = yield from links.own(payload, classes)
            heard = yield from self.gather_statistics(node, sent, links)
            neighbors, known = yield from links.tables(sent.heard)
            y, *anchor = yield Compute(dual_and_anchor, (y, v, held, self.dual_step, neighbors, known))
            x = yield from self.train(node, x, k, self.batches(node), objective, y, *anchor, *weights)
            yield from self.finish(node, x, k)
            k = yield from self.close(node, x, heard)

    def weights(self, node: Node) -> list[Value]:
        """Of the classes in R and Rc [num_classes], if those are not the minibatch's own."""
        if self.class_shares == "own":
            return []
        return [node.tensor(sum(node.class_counts_of(device) for device in range(node.num_devices)))]

    def finish(self, node: Node, x: Value, k: int) -> Generator[Any, Any, None]:
        """After the last round's training: the head, where there is to be one."""
        if self.head != "none" and k + 1 == self.num_rounds:
            yield from train_head(node, x, self.head, self.head_epochs)
