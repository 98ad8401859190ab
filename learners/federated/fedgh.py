"""FedGH: a global last layer, trained by the server on representations.

Yi, Wang, Liu, Shi and Yu, "FedGH: heterogeneous federated learning with generalized global header", ACM Multimedia 2023 (arXiv
2303.13137). Every client has a model of its own architecture, the same size of representation d, and the last layer h in common:

    w_k = [body_k | h_k],   h_k <- h, then local SGD on the whole model
    c_kj <- mean representation of k's samples of class j, with the trained model
    h <- SGD on CE(h(c_kj), j) over all that arrived, one pass in minibatches              at the server

Sends, per round (float32, C classes of which client k holds C_k): the last layer down, 32 (d C + C) bits; up 32 C_k d and 1 bit a class
(`prototype_message`), with server_weights = "samples" 32 C_k more for counts, which weigh the loss then.

As HtFLlib has it: order, one pass at the server in batches of the clients' size, plain loss. Ours: the server's order is drawn from its
own stream; the trained model passes over the samples once more for the c_kj, which is charged; a client that is not sampled gets h when it is
next; a deadline; of a class's representation all has to arrive, missing numbers of h stay as in the client's last copy. The first h is
that of [model] at the server, so that the representation of [model] has to be as long as those of the variants.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.deferred import op
from learners.federated import class_tables, last_layer, prototype_message
from learners.federated.last_layer import LastLayerSgd
from learners.federated.prototypes import class_means, prototype_sums
from learners.federated.shared_part import parts_of
from learners.fields import check_number
from learners.protocol import Compute, Message, Node, Program, Report, Value, rounds
from learners.quantities import LearningRate
from learners.task import weighted_cross_entropy


@dataclass(frozen=True)
class FedGh(LastLayerSgd):
    """As `LastLayerSgd`. server_weights: of a class's representation, "uniform" or by "samples". server_learning_rate: of the server's steps."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    server_learning_rate: LearningRate = 0.01

    needs_classes: ClassVar[bool] = True
    learner_name: ClassVar[str] = "fedgh"
    what_is_sent: ClassVar[str] = "a whole layer and tables of representations"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("server_learning_rate", self.server_learning_rate)

    def server(self, node: Node) -> Program:
        header = self.initial_part(node)
        for k in rounds(self.num_rounds):
            clients = yield from self.invite(node, k, self.codec.payload(header, node))
            updates = yield from self.collect(node, clients, k)
            readable = yield from class_tables.readable(updates)
            if readable:
                header = yield from self._trained(node, header, readable)
            yield Report("model", None)

    def _trained(self, node: Node, header: Value, messages: list[Message]) -> Generator[Any, Any, Value]:
        """The last layer after one pass over the representations that arrived."""
        nothing = node.tensor(np.zeros(node.task.num_classes))
        shares = torch.stack([class_tables.usable_counts(message, nothing) for message in messages]).flatten()
        held = np.flatnonzero(shares.numpy() > 0)
        if not len(held):
            return header
        num_steps = -(-len(held) // self.batch_size)
        rows = np.full(num_steps * self.batch_size, held[0])
        rows[: len(held)] = node.rng.permutation(held)
        weights = node.tensor(np.where(np.arange(len(rows)) < len(held), shares.numpy()[rows], 0.0))
        tables = [message.data[0] for message in messages]
        batches = torch.from_numpy(rows).reshape(num_steps, -1), weights.reshape(num_steps, -1)
        return (yield Compute(header_trained, (header, tables, *batches, self.server_learning_rate)))

    def client(self, node: Node) -> Program:
        task = node.task
        body, header = yield from self.begun(node)
        samples = node.all_samples(self.batch_size)
        counts = node.tensor(class_tables.counts(task.train_labels, samples, task.num_classes))
        zeros = torch.zeros((task.num_classes, task.model.feature_dim), dtype=task.dtype)
        with_counts = self.server_weights == "samples"
        while True:
            k, header, x = yield from self.trained(node, body, header)
            body, _ = parts_of(x, last_layer.sizes(node))
            sums = yield Compute(prototype_sums(task).scan, (zeros, samples.steps, x), work=samples.work)
            own = yield Compute(class_means, (sums, counts))
            yield from self.upload(
                node, k, prototype_message.payload(own, counts, self.codec, node, with_counts=with_counts)
            )


@op(loop=True, ragged=("tables",))
def header_trained(header: Tensor, tables: Tensor, rows: Tensor, weights: Tensor, learning_rate: float) -> Tensor:
    """The last layer [num_classes * d + num_classes] after one step of SGD on each batch of representations.

    tables: m of [num_classes, d]; rows: int64 [num_steps, B], m * num_classes of them as they lie; weights: [num_steps, B], 0 for
    padding"""
    num_classes, d = tables.shape[1:]
    z, labels = tables.reshape(-1, d), torch.arange(tables.shape[0] * num_classes) % num_classes

    def loss(header: Tensor, chosen: Tensor, counted: Tensor) -> Tensor:
        weight, bias = header[: num_classes * d].reshape(num_classes, d), header[num_classes * d :]
        return weighted_cross_entropy(F.linear(z[chosen], weight, bias), labels[chosen], counted)

    for chosen, counted in zip(rows, weights, strict=True):
        header = header - learning_rate * torch.func.grad(loss)(header, chosen, counted)
    return header
