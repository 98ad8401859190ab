"""FedMD: devices of different architectures teach each other by their scores of public samples.

Li and Wang, "FedMD: heterogenous federated learning via model distillation", arXiv 1910.03581, Algorithm 1. All nodes have the same
labelled public samples ([data] public_fraction). At its start a client trains on these, then on its own (transfer learning). In round t,
with X_t of m public samples,

    S_t,i <- mean_k f_k(x_i)                                  scores: what comes before the softmax; i in X_t
    digest    w_k <- SGD on  mean |f(x_i) - S_t,i|            over the samples and the C classes
    revisit   w_k <- SGD on the cross-entropy of its own samples

Sends, per round and client (float32): up 32 m C bits; down 32 m C and 1 bit a sample, which says of which there is a mean.

A round of a server is here what its clients do between two uplinks: they get S_(t-1), digest, revisit, and send their scores of X_t; in
the first they get nothing, and train as at their start.

As in the authors' code: raw scores, the mean absolute error, a plain mean (server_weights = "samples" weighs by n_k); 5000 of the public
samples a round, 1 pass of digest in batches of 256, 4 passes over the own in batches of 5. There X_t is drawn and announced; here the
samples of round t are the next m of the public ones, which lie in random order, around, so that everybody knows them and no bit is
sent. Ours: plain SGD (Adam there), passes at the start by number (there up to 20 and 25, until they bring no more); a deadline; of a
sample's scores all C have to arrive, up as well as down, and what is missing is not averaged, and not digested. Late scores are of
samples of another round: they are not used.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.codec import check_for_models
from learners.deferred import Op
from learners.federated import class_tables, prototype_message
from learners.federated.prototypes import average_prototypes, placed, rows
from learners.federated.server_sgd import ServerSgd
from learners.fields import check_count, check_number
from learners.models.flat import flatten, unflatten
from learners.protocol import Compute, Message, Node, Program, Received, Report, Value, rounds
from learners.quantities import Count, CountOrZero, LearningRate
from learners.task import Task, weighted_mean


@dataclass(frozen=True)
class FedMd(ServerSgd):
    """Rounds as in `ServerSgd`. scores_per_round: m, all public samples where not given. public_epochs, private_epochs: passes at a
    client's start. digest_epochs, digest_batch_size, digest_learning_rate (as learning_rate where not given): of the digest."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    scores_per_round: Count | None = None
    public_epochs: CountOrZero = 20
    private_epochs: CountOrZero = 25
    digest_epochs: Count = 1
    digest_batch_size: Count = 256
    digest_learning_rate: LearningRate | None = None

    needs_classes: ClassVar[bool] = True
    heterogeneous: ClassVar[bool] = True
    uses_public_samples: ClassVar[bool] = True
    download_kind: ClassVar[str] = "consensus"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "scores of samples")
        check_count("scores_per_round", self.scores_per_round, optional=True)
        check_count("public_epochs", self.public_epochs, zero=True)
        check_count("private_epochs", self.private_epochs, zero=True)
        check_count("digest_epochs", self.digest_epochs)
        check_count("digest_batch_size", self.digest_batch_size)
        check_number("digest_learning_rate", self.digest_learning_rate, optional=True)
        if self.late == "use":
            raise ValueError("late = 'use': late scores are of samples of another round; \"discard\"")

    def check_public(self, num_public: int) -> None:
        """Raise ValueError unless there are enough public samples for a round."""
        if num_public < max(self.scores_per_round or 1, 1):
            says = f"there are {num_public} public samples; at most so many, or a larger [data] public_fraction"
            raise ValueError(f"scores_per_round = {self.scores_per_round}: {says}")

    def asked(self, task: Task, k: int) -> np.ndarray:
        """int64 [m]: X_k, the training samples that are scored in round k."""
        public = task.public_samples
        m = self.scores_per_round or len(public)
        found: np.ndarray = public[(k * m + np.arange(m)) % len(public)]
        return found

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        m = len(self.asked(node.task, 0))
        table = torch.zeros((m, node.task.num_classes), dtype=node.task.dtype)
        consensus, known = table, node.tensor(np.zeros(m))
        for k in rounds(self.num_rounds):
            payload = prototype_message.payload(consensus, known, self.codec, node, with_counts=False)
            clients = yield from self.invite(node, k, payload)
            updates = yield from self.collect(node, clients, k)
            consensus, known = yield from self._consensus(node, table, updates)
            yield Report("model", None)

    def _consensus(self, node: Node, nothing: Tensor, updates: Received) -> Generator[Any, Any, tuple[Value, Tensor]]:
        """S [m, C] of what arrived, and of which samples there is one, [m]."""
        every = torch.arange(len(nothing))
        tables, weights = [], []
        for message, share in zip(updates.messages, self.shares(node, updates), strict=True):
            message = yield from prototype_message.with_known_mask(message)
            mask = torch.ones(nothing.shape) if message.mask is None else message.mask
            whole = mask.reshape(nothing.shape).all(-1)
            tables.append(placed(message.data, every, nothing))
            weights.append(share * whole.to(nothing.dtype))
        if not tables:
            return nothing, node.tensor(np.zeros(len(nothing)))
        consensus = yield Compute(average_prototypes, (nothing, tables, weights))
        return consensus, (torch.stack(weights).sum(0) > 0).to(nothing.dtype)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        x, begun = node.initial_parameters, False
        for name in ("model", "after_local_training"):
            yield Report(name, x)
        while True:
            message = yield from self.download(node)
            k = message.round
            if not begun:
                x, begun = (yield from self._begun(node, x, k)), True
            x = yield from self._digested(node, x, message)
            x = yield from self.train(node, x, k, self.batches(node))
            yield Report("model", x)
            yield Report("after_local_training", x)  # the same: what comes from outside are targets
            asked = self.asked(node.task, k)
            table = yield from self._scores(node, x, asked)
            yield from self.upload(node, k, self.codec.payload(rows(table, torch.arange(len(asked))), node))

    def _begun(self, node: Node, x: Value, k: int) -> Generator[Any, Any, Value]:
        """The client's model after its passes over the public samples, and its own."""
        if self.public_epochs:
            public = BatchStream(node.task.public_samples, node.rng, node.task.dtype, lambda: node.rng)
            batches = public.draw(self.batch_size, epochs=self.public_epochs, crop_padding=self.crop_padding)
            x = yield from self.train(node, x, k, batches)
        if self.private_epochs:
            own = node.batches(self.batch_size, epochs=self.private_epochs, crop_padding=self.crop_padding)
            x = yield from self.train(node, x, k, own)
        return x

    def _digested(self, node: Node, x: Value, message: Message) -> Generator[Any, Any, Value]:
        """The client's model after the passes over those samples of the round before that the server's message has means of."""
        message = yield from prototype_message.with_known_mask(message)
        consensus, held = message.data
        known = class_tables.usable_counts(message, torch.zeros_like(held))
        if not known.any():
            return x
        asked = self.asked(node.task, message.round - 1)
        some = torch.nonzero(known).flatten()
        stream = BatchStream(some.numpy(), node.rng, node.task.dtype)
        batches = stream.draw(self._batch_size(len(asked)), epochs=self.digest_epochs)
        steps = torch.from_numpy(asked)[batches.indices], batches.weights, batches.indices
        rate = self.digest_learning_rate or self.rate(node, message.round)
        return (yield Compute(digest_step(node.task).scan, (x, steps, rate, consensus), work=batches.work))

    def _scores(self, node: Node, x: Value, asked: np.ndarray) -> Generator[Any, Any, Value]:
        """f(x_i) of these training samples, [m, C]."""
        every = BatchStream(np.arange(len(asked)), None, node.task.dtype).all_samples(self._batch_size(len(asked)))
        steps = torch.from_numpy(asked)[every.indices], every.weights, every.indices
        table = torch.zeros((len(asked), node.task.num_classes), dtype=node.task.dtype)
        return (yield Compute(scores(node.task).scan, (table, steps, x), work=every.work))

    def _batch_size(self, m: int) -> int:
        """Of the work on public samples, of which a round has m."""
        return min(self.digest_batch_size, m)


def digest_step(task: Task) -> Op:
    """(x, indices [B], weights [B], positions [B], learning_rate, consensus [m, C]) -> x after a step of SGD on the mean absolute error of
    the scores of these training samples to the rows `positions` of the consensus, over the samples and the classes."""
    model = task.model

    def digest_step(
        x: Tensor, indices: Tensor, weights: Tensor, positions: Tensor, learning_rate: float | Tensor, consensus: Tensor
    ) -> Tensor:
        inputs, _ = task.training_samples(indices)
        targets = consensus[positions]

        def loss(parameters: Sequence[Tensor]) -> Tensor:
            return weighted_mean((model.forward(parameters, inputs) - targets).abs().mean(-1), weights)

        return x - learning_rate * flatten(torch.func.grad(loss)(unflatten(x, model.shapes)))

    return task.op("digest_step", lambda: Op(digest_step, loop=model.has_convolution))


def scores(task: Task) -> Op:
    """(table [m, C], indices [B], weights [B], positions [B], x) -> table with the scores of these training samples added to the rows
    `positions`."""
    model = task.model

    def scores(table: Tensor, indices: Tensor, weights: Tensor, positions: Tensor, x: Tensor) -> Tensor:
        inputs, _ = task.training_samples(indices)
        found = model.forward(unflatten(x, model.shapes), inputs)
        return table.index_add(0, positions, found * weights.unsqueeze(-1))

    return task.op("scores", lambda: Op(scores, loop=model.has_convolution))
