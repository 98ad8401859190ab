"""FD: federated distillation. Mean answers, label by label, travel; models never do.

Jeong et al., "Communication-efficient on-device machine learning: federated distillation and augmentation under non-IID private
data", arXiv 1811.11479. F_k,l: mean of client k's answers (softmax, C numbers) to its own samples of label l, with the trained model.
In round t the server sends each sampled client the mean of what the others brought in the round before,

    T_k,l <- sum_{j != k} m_jl F_j,l / sum_{j != k} m_jl        m_jl = 1 where j brought label l
    w_k   <- local SGD on  CE(f(x), y) + gamma CE(f(x), T_k,y)  CE of a soft target: -sum_c T_c log p_c(x)

and gets {F_k,l : l among its labels} back. A label without a target has the first term only.

Sends, per round (float32, C classes, of which client k has C_k): down 32 C (labels that others brought) bits and 1 bit a class; up 32 C_k C
and 1 bit a class (`prototype_message`), with server_weights = "samples" 32 C_k more for the counts, which are the m then.

The paper's: probabilities, the mean without one's own (own_answers = "left_out"), gamma = 1. Where the downlink is a broadcast, all get
one table, with their own in it. HtFLlib averages raw logits, over all batches while the model changes, keeps one's own, and hands raw
logits to a cross-entropy that wants probabilities. Here the trained model passes over the samples once more, as in `fedproto`, which is
charged. Ours: a client keeps the last target of a label that the newest table does not have; a deadline, lost and partial messages as in
`class_tables` (the server keeps nothing longer than a round: of a label's row all has to arrive).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import check_for_models
from learners.deferred import Op, op
from learners.federated import class_tables, prototype_message
from learners.federated.prototypes import class_means, preferred, sums_by_class
from learners.federated.server_sgd import ServerSgd
from learners.fields import check_choice, check_number
from learners.protocol import Compute, Message, Node, Payload, Program, Report, Value, rounds
from learners.quantities import PositiveOrZero
from learners.task import Task, weighted_cross_entropy, weighted_mean


@dataclass(frozen=True)
class FederatedDistillation(ServerSgd):
    """Rounds as in `ServerSgd`. server_weights: of the answers, "uniform" or by "samples" of the label. distillation_weight: gamma.
    own_answers: a client's own are "left_out" of its table, or "kept"; "auto": left out unless the downlink is a broadcast."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    distillation_weight: PositiveOrZero = 1.0
    own_answers: Literal["auto", "left_out", "kept"] = "auto"

    needs_classes: ClassVar[bool] = True
    heterogeneous: ClassVar[bool] = True
    download_kind: ClassVar[str] = "answers"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "tables of answers")
        check_number("distillation_weight", self.distillation_weight, zero=True)
        check_choice("own_answers", self.own_answers, ("auto", "left_out", "kept"))
        if self.own_answers == "left_out" and self.downlink == "broadcast":
            raise ValueError(
                'own_answers = \'left_out\': a broadcast is one table for all; "auto" or "kept", or downlink = "unicast"'
            )

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        brought: list[Message] = []  # in the last round that had any
        for k in rounds(self.num_rounds):
            clients = yield from self.chosen(node, k, self._largest_table(node))
            for group, payload in (yield from self._tables(node, clients, brought)):
                yield from self.send_download(node, group, k, payload)
            updates = yield from self.collect(node, clients, k)
            brought = (yield from class_tables.readable(updates)) or brought
            yield Report("model", None)

    def _tables(
        self, node: Node, clients: list[int], brought: list[Message]
    ) -> Generator[Any, Any, list[tuple[list[int], Payload]]]:
        """What is sent to whom."""
        nothing = node.tensor(np.zeros(node.task.num_classes))
        if not brought:
            empty = node.tensor(np.zeros((node.task.num_classes, 0)))
            return [(clients, self._payload(empty, nothing, node))]
        own_table = {message.sender: message.data[0] for message in brought}
        own_shares = {message.sender: class_tables.usable_counts(message, nothing) for message in brought}
        total = torch.stack(list(own_shares.values())).sum(0)
        sums = yield Compute(answer_sums, (list(own_table.values()), list(own_shares.values())))
        left_out = [] if self._keeps_own else [client for client in clients if client in own_table]
        tables = []
        for client in left_out:
            rest = total - own_shares[client]
            mean = yield Compute(mean_of_others, (sums, own_table[client], own_shares[client], rest))
            tables.append(([client], self._payload(mean, rest, node)))
        others = [client for client in clients if client not in left_out]
        if others:
            mean = yield Compute(class_means, (sums, total))
            tables.append((others, self._payload(mean, total, node)))
        return tables

    def _largest_table(self, node: Node) -> Payload:
        """As long as one of all labels with float32."""
        return Payload(None, 32 * node.task.num_classes**2)

    @property
    def _keeps_own(self) -> bool:
        return self.downlink == "broadcast" if self.own_answers == "auto" else self.own_answers == "kept"

    def _payload(self, table: Value, shares: Tensor, node: Node) -> Payload:
        return prototype_message.payload(table, shares, self.codec, node, with_counts=False)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        task, x = node.task, node.initial_parameters
        samples = node.all_samples(self.batch_size)
        counts = node.tensor(class_tables.counts(task.train_labels, samples, task.num_classes))
        zeros = torch.zeros((task.num_classes, task.num_classes), dtype=task.dtype)
        table, known = zeros, torch.zeros_like(counts)  # the last known target of each label
        with_counts = self.server_weights == "samples"
        for name in ("model", "after_local_training"):
            yield Report(name, x)
        while True:
            message = yield from self.download(node)
            message = yield from prototype_message.with_known_mask(message)
            values, sent = yield from class_tables.updated(table, known, message)
            table, known = preferred(values, sent, table), torch.maximum(known, sent)
            x = yield from self._train(node, x, message.round, table, known)
            yield Report("model", x)
            yield Report("after_local_training", x)  # the same: what comes from outside are targets
            sums = yield Compute(answers_by_class(task).scan, (zeros, samples.steps, x), work=samples.work)
            own = yield Compute(class_means, (sums, counts))
            payload = prototype_message.payload(own, counts, self.codec, node, with_counts=with_counts)
            yield from self.upload(node, message.round, payload)

    def _train(self, node: Node, x: Value, k: int, table: Value, known: Tensor) -> Generator[Any, Any, Value]:
        batches = self.batches(node)
        if not self.distillation_weight or not known.any():
            return (yield from self.train(node, x, k, batches))
        return (yield from self.train(node, x, k, batches, answer_loss, table, known, self.distillation_weight))


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """[B] -sum_c t_c log softmax(z)_c. logits, targets: [B, num_classes], targets probabilities."""
    return -(targets * logits.log_softmax(-1)).sum(-1)


def answer_loss(
    model: Any,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    table: Tensor,
    known: Tensor,
    distillation_weight: float,
) -> Tensor:
    """CE(f(x), y) + distillation_weight * CE(f(x), T_y), means over the batch; samples of labels without a target add 0 to the
    second, and count. table: T [num_classes, num_classes]; known: [num_classes], above 0 where there is a target"""
    logits = model.forward(parameters, inputs)
    distilled = soft_cross_entropy(logits, table[labels]) * (known > 0)[labels]
    return weighted_cross_entropy(logits, labels, weights) + distillation_weight * weighted_mean(distilled, weights)


def answers_by_class(task: Task) -> Op:
    """(sums [num_classes, num_classes], indices [B], weights [B], x) -> sums with the softmax of the answers to these training
    samples added to the rows of their labels."""
    model = task.model

    def answers(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return model.forward(parameters, inputs).softmax(-1)

    return sums_by_class(task, "answers_by_class", answers)


@op(loop=True, ragged=("tables", "shares"), flops=lambda tables, shares: 2 * tables.numel())
def answer_sums(tables: Tensor, shares: Tensor) -> Tensor:
    """sum_j m_jl F_j,l [num_classes, num_classes] of tables F [m, num_classes, num_classes] and shares [m, num_classes]. Charged are a
    product and a sum a value."""
    return (shares.unsqueeze(-1) * tables).sum(0)


@op(flops=lambda sums, own, shares, rest: 3 * sums.numel())
def mean_of_others(sums: Tensor, own: Tensor, shares: Tensor, rest: Tensor) -> Tensor:
    """(sums_l - m_l F_l) / rest_l, 0 where nobody else has the label. sums, own F: [num_classes, num_classes]; shares m and rest:
    [num_classes]. Charged are three operations a value."""
    others = (sums - shares.unsqueeze(-1) * own) / torch.where(rest > 0, rest, 1).unsqueeze(-1)
    return others * (rest > 0).unsqueeze(-1)
