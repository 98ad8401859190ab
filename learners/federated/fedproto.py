"""FedProto: federated prototype learning. Class prototypes travel, models never do.

Tan et al., "FedProto: federated prototype learning across heterogeneous clients", AAAI 2022, Algorithm 1 (arXiv
2105.00243). In round k the server samples K clients S_k; with representations h_i of dimension d_p, the same at all
devices whatever their architectures, client i trains its own model and sends the prototypes of the classes it holds:

    w_i  <- local SGD on  cross-entropy + lambda * mean over the batch and the d_p dimensions of (h_i(x) - C_y)^2
    c_ij <- mean of h_i over its n_ij samples of class j, with the trained model
    C_j  <- sum_{i in S_k: n_ij > 0} n_ij c_ij / sum n_ij

Sends, per round (float32, C classes of which client i holds C_i): server to client 32 C d_p bits and 1 bit a class; back
32 C_i d_p, 32 C_i for the counts and 1 bit a class (`prototype_message`). In round 0 the server has no prototypes: it
sends the bits only, and clients train on the cross-entropy alone. So does whoever lambda = 0.

Two classifiers: the nearest prototype, argmin_j |h_i(x) - C_j|^2, reported as "model", and the last layer, reported as "head".
A device's own prototypes stand in for classes of which it knows no global one.

The paper's: the objective, weights by counts, the nearest prototype. The authors' code collects prototypes during the last
epoch, while the model still changes; here, as the paper's equation 3 has it, the trained model passes over the samples once
more, which is charged. Their code averages prototypes without weights (server_weights = "uniform", which sends no counts) and
looks among a client's own classes (inference_classes = "own").
Ours: a deadline, after which the server averages what arrived; a class that nobody brought keeps its last prototype, at the
server as at the clients. Where the transport delivers parts of a message, missing numbers of a known prototype stay as they
were, and a new prototype counts when all of it has arrived; a message that lost its beginning, which says what it holds,
is treated as lost, but for the number of the round that its packets bear.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import check_for_models
from learners.federated import class_tables, prototype_message
from learners.federated.prototypes import class_means, nearest_prototype, preferred, prototype_loss, prototype_sums
from learners.federated.server_sgd import ServerSgd
from learners.fields import check_choice, check_number
from learners.models.flat import Model
from learners.protocol import Compute, Node, Program, Report, Value, rounds
from learners.quantities import PositiveOrZero


@dataclass(frozen=True)
class FedProto(ServerSgd):
    """Local training and rounds as in `ServerSgd`, momentum from zero in each round as in the authors' code.
    server_weights: "samples" (by counts) or "uniform". prototype_weight: lambda.
    inference_classes: "all" with a prototype, or the device's "own"."""

    prototype_weight: PositiveOrZero = 1.0
    inference_classes: Literal["all", "own"] = "all"

    needs_classes: ClassVar[bool] = True
    heterogeneous: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ("head", "after_local_training", "head/after_local_training")
    own_metrics: ClassVar[tuple[str, ...]] = ("model", "after_local_training")
    download_kind: ClassVar[str] = "prototypes"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "prototypes")
        check_number("prototype_weight", self.prototype_weight, zero=True)
        check_choice("inference_classes", self.inference_classes, ("all", "own"))

    @staticmethod
    def check_models(models: Sequence[Model]) -> None:
        """Raise ValueError unless all architectures have representations of one size."""
        sizes = sorted({model.feature_dim for model in models})
        if len(sizes) > 1:
            found = ", ".join(map(str, sizes))
            raise ValueError(
                f"variants have representations of {found} numbers: prototypes need one size, the last hidden layer's"
            )

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        table, known = node.tensor(np.zeros((node.task.num_classes, 0))), node.tensor(np.zeros(node.task.num_classes))
        for k in rounds(self.num_rounds):
            payload = prototype_message.payload(table, known, self.codec, node, with_counts=False)
            clients = yield from self.invite(node, k, payload)
            updates = yield from self.collect(node, clients, k)
            readable = yield from class_tables.readable(updates)
            if readable:
                table, known = yield from class_tables.averaged(table, known, readable)
            yield Report("model", None)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        task, x = node.task, node.initial_parameters
        samples = node.all_samples(self.batch_size)
        counts = node.tensor(class_tables.counts(task.train_labels, samples, task.num_classes))
        zeros = torch.zeros((task.num_classes, task.model.feature_dim), dtype=task.dtype)
        table, known = zeros, torch.zeros_like(counts)  # the last known global prototypes
        sums = prototype_sums(task).scan(zeros, samples.steps, x)  # for the evaluation alone
        yield from self._reports(node, x, class_means(sums, counts), counts, table, known)
        while True:
            message = yield from self.download(node)
            message = yield from prototype_message.with_known_mask(message)
            table, known = yield from class_tables.updated(table, known, message)
            x = yield from self._train(node, x, message.round, table, known)
            sums = yield Compute(prototype_sums(task).scan, (zeros, samples.steps, x), work=samples.work)
            own = yield Compute(class_means, (sums, counts))
            yield from self._reports(node, x, own, counts, table, known)
            payload = prototype_message.payload(
                own, counts, self.codec, node, with_counts=self.server_weights == "samples"
            )
            yield from self.upload(node, message.round, payload)

    def _reports(
        self, node: Node, x: Value, own: Value, counts: Tensor, table: Value, known: Tensor
    ) -> Generator[Report, Any, None]:
        """Both classifiers of the model x with prototypes `own` of its own, before local training and after it: the same, what comes
        from outside are prototypes."""
        usable = counts if self.inference_classes == "own" else counts + known
        classifier = (x, preferred(table, known, own), usable)
        for name in ("model", "after_local_training"):
            yield Report(name, classifier, nearest_prototype(node.task))
        for name in ("head", "head/after_local_training"):
            yield Report(name, x)

    def _train(self, node: Node, x: Value, k: int, table: Value, known: Tensor) -> Generator[Any, Any, Value]:
        batches = self.batches(node)
        if not self.prototype_weight or not known.any():
            return (yield from self.train(node, x, k, batches))
        weight = self.prototype_weight
        return (yield from self.train(node, x, k, batches, prototype_loss, table, known, weight))
