"""FedDF: FedAvg whose server then learns from the ensemble of the clients' models, by their answers to public samples.

Lin, Kong, Stich and Jaggi, "Ensemble distillation for robust model fusion in federated learning", NeurIPS 2020 (arXiv 2006.07242),
Algorithm 1 for one architecture. Clients train as in FedAvg; then, with f_i the model that client i sent and X public samples whose
labels are not used ([data] public_fraction),

    w   <- sum_{i in S_k} p_i w_i,   p_i = n_i / sum_{j in S_k} n_j                          where the student starts
    q_x  = softmax(mean_i f_i(x))                                                            ensemble = "logits"
    w   <- Adam on  mean KL(q_x || softmax f_w(x)),  `distill_steps` minibatches of X, its rate falling by a cosine

ensemble = "probabilities": q_x = mean_i softmax(f_i(x)), another target.

Sends what FedAvg sends of models, 32 * num_params bits each way with float32: targets are the server's own work, which is charged to
its processor.

As in the authors' code: the means of scores, KL of target to student at temperature 1, Adam at 1e-3 with cosine decay, batches of 128.
Ours: a fixed number of steps (there up to 10,000, until accuracy on validation samples stops rising, and the best student is kept), no
clipping of gradients; all public samples are scored once a round; one architecture. A deadline, lost messages and parts as in FedAvg:
missing coordinates of an update count as the server's own, in the teacher too; of a round of which nothing came nothing is learned.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from learners.averaging import average, fill
from learners.batching import BatchStream
from learners.compression.codec import check_for_models
from learners.deferred import op
from learners.federated.fedmd import scores
from learners.federated.server_sgd import ServerSgd
from learners.fields import check_choice, check_count, check_number
from learners.local_step import Rule, local_step
from learners.protocol import Compute, Node, Program, Received, Report, Value, rounds
from learners.quantities import Count, LearningRate
from learners.task import weighted_mean

ADAM = Rule(optimizer="adam")


@dataclass(frozen=True)
class FedDf(ServerSgd):
    """Rounds as in `ServerSgd`. distill_steps, distill_batch_size, distill_learning_rate: of the server, after each round; the rate is where
    the cosine begins. ensemble: what is averaged over the clients, "logits" or "probabilities"."""

    distill_steps: Count = 100
    distill_batch_size: Count = 128
    distill_learning_rate: LearningRate = 1e-3
    ensemble: Literal["logits", "probabilities"] = "logits"

    uses_public_samples: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = True
    sends_what_is_trained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec)
        check_count("distill_steps", self.distill_steps)
        check_count("distill_batch_size", self.distill_batch_size)
        check_number("distill_learning_rate", self.distill_learning_rate)
        check_choice("ensemble", self.ensemble, ("logits", "probabilities"))

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        w = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            clients = yield from self.invite(node, k, self.codec.payload(w, node))
            updates = yield from self.collect(node, clients, k)
            if updates.messages:
                w = yield from self._fused(node, w, updates)
            yield Report("model", w)

    def _fused(self, node: Node, w: Value, updates: Received) -> Generator[Any, Any, Value]:
        """The student after a round."""
        teachers: list[Value] = []
        for message in updates.messages:
            whole = message.mask is None
            teachers.append(message.data if whole else (yield Compute(fill, (message.data, message.mask, w))))
        start = yield Compute(average, (teachers, self.shares(node, updates)))
        tables = []
        for teacher in teachers:
            tables.append((yield from self._answers(node, teacher)))
        return (yield from self._distilled(node, start, (yield Compute(targets, (tables, self.ensemble)))))

    def _answers(self, node: Node, x: Value) -> Generator[Any, Any, Value]:
        """f(x_i) of all public samples, [m, C]."""
        public = torch.from_numpy(node.task.public_samples)
        every = BatchStream(torch.arange(len(public)).numpy(), None, node.task.dtype).all_samples(self._batch(node))
        table = torch.zeros((len(public), node.task.num_classes), dtype=node.task.dtype)
        steps = public[every.indices], every.weights, every.indices
        return (yield Compute(scores(node.task).scan, (table, steps, x), work=every.work))

    def _distilled(self, node: Node, x: Value, table: Value) -> Generator[Any, Any, Value]:
        """x after the server's steps towards the targets [m, C]."""
        public, n = torch.from_numpy(node.task.public_samples), self.distill_steps
        stream = BatchStream(torch.arange(len(public)).numpy(), node.rng, node.task.dtype)
        batches = stream.draw(self._batch(node), steps=n)
        rates = node.tensor([self.distill_learning_rate * (1 + cos(pi * i / n)) / 2 for i in range(n)])
        steps = public[batches.indices], batches.weights, rates, batches.indices
        step = local_step(node.task, distillation, ADAM).scan
        x, *_ = yield Compute(step, ((x, *ADAM.start(node.task)), steps, table), work=batches.work)
        return x

    def _batch(self, node: Node) -> int:
        return min(self.distill_batch_size, len(node.task.public_samples))

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        w = node.initial_parameters  # the last copy of the server's model
        while True:
            message = yield from self.download(node, w)
            w = message.data
            yield Report("model", w)
            trained = yield from self.train(node, w, message.round, self.batches(node))
            yield Report("after_local_training", trained)
            yield from self.upload(node, message.round, self.codec.payload(trained, node))


@op(loop=True, ragged=("tables",), flops=lambda tables, ensemble: 5 * tables.numel())
def targets(tables: Tensor, ensemble: str) -> Tensor:
    """q [m, C] of scores of the same samples by several models, each [m, C]; ensemble: what is averaged. Charged are 5 operations a
    score."""
    if ensemble == "probabilities":
        return tables.softmax(-1).mean(0)
    return tables.mean(0).softmax(-1)


def distillation(
    model: Any,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    positions: Tensor,
    table: Tensor,
) -> Tensor:
    """Mean over samples of KL(q || softmax of the model's scores). positions: [B], of the samples in the table of q, [m, C]. labels: unused."""
    q = table[positions]
    log_p = model.forward(parameters, inputs).log_softmax(-1)
    return weighted_mean((torch.xlogy(q, q) - q * log_p).sum(-1), weights)
