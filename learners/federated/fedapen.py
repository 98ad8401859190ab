"""FedAPEN: personalized ensembles. A common and a private model learn from each other and answer together.

Qin, Deng, Zhao and Yan, "FedAPEN: personalized cross-silo federated learning with adaptability to statistical heterogeneity", KDD 2023.
F_k private, of any architecture; G common; lambda_k a private number, how much F_k has to say:

    z_E = lambda z_F + (1 - lambda) z_G
    L_F = CE(z_F, y) + KL(p_G || p_F) + CE(z_E, y)       in z_E the other's logits are detached, and so is who teaches
    L_G = CE(z_G, y) + KL(p_F || p_G) + CE(z_E, y)
    G <- mean over the clients of the round
    lambda <- SGD on CE(z_E, y) over samples that were held out of training, with the new G, clipped to [0, 1]

Sends, per round and client: G each way, 32 |G| bits with float32.

Three ways to infer: together, "model" (z_E), "private" (z_F) and "shared" (z_G), each before and after local training.

The authors' code's: the losses, detached teachers, KL as a mean over the batch, 10 passes at rate 1e-3 over 5 % of a device's samples,
lambda = 1/2 until a device has trained (private_share_part = 0 keeps it there: FedEN), a plain mean. Their order is kept: a device
learns lambda when the new G has come, which is in the next round in which it takes part, before it trains with that lambda.
Ours: minibatches of training and the held-out samples are drawn from the device's stream of decisions; one held-out sample at least, none
where a device has only one; a deadline, lost and partial messages as in `shared_part`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.deferred import Op
from learners.federated.mutual import Pair, ensemble_loss
from learners.federated.shared_part import (
    SharedPartSgd,
    after_local_training,
    head_metric,
    in_one_row,
    parts_of,
    reports_of,
    with_task,
)
from learners.fields import check_count, check_number
from learners.models.flat import unflatten
from learners.protocol import Compute, Node, Program, Report, Value
from learners.quantities import Count, LearningRate, PartOrZero
from learners.scoring import padded_length
from learners.task import Task, weighted_mean

FIRST_SHARE = 0.5
MIN_HELD_OUT = 64
"""Padded length of the held-out samples, more where there are more."""


@dataclass(frozen=True)
class FedApen(SharedPartSgd):
    """Rounds as in `ServerSgd`. The common model is that of [model], the devices' own are its variants.
    private_share_part: of a device's samples that lambda is learned on instead of the models, 0: lambda stays 1/2.
    private_share_passes: over these samples. private_share_rate: learning rate of lambda."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    private_share_part: PartOrZero = 0.05
    private_share_passes: Count = 10
    private_share_rate: LearningRate = 1e-3

    shared_head: ClassVar[str | None] = "shared"
    heads: ClassVar[Mapping[str, str]] = {"private": "forward", "shared": "shared_alone"}
    reports: ClassVar[tuple[str, ...]] = reports_of(heads)
    own_metrics: ClassVar[tuple[str, ...]] = ("model", *reports)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.private_share_part < 1:
            raise ValueError(f"private_share_part = {self.private_share_part!r}: from 0 to below 1")
        check_count("private_share_passes", self.private_share_passes)
        check_number("private_share_rate", self.private_share_rate)

    def client(self, node: Node) -> Program:
        task = self.pair(node, Pair)
        own = with_task(node, task)
        sizes = (self.task.num_params, task.num_params - self.task.num_params)
        private, theta = node.initial_parameters, self.drawn_part(node)  # theta: then the last copy of the common model
        stream, num_held_out, (held_out, weights) = self._split(node)
        share: Value = node.tensor(FIRST_SHARE)  # lambda
        has_trained = False
        for trained in (False, True):
            yield from self._report(task, in_one_row((theta, private)), share, trained=trained)
        while True:
            k, theta = yield from self.received_part(node, theta)
            x = in_one_row((theta, private))
            if has_trained and num_held_out:
                settings = self.batch_size, self.private_share_passes, self.private_share_rate
                args = (share, x, held_out, weights, *settings)
                share = yield Compute(learned_share(task), args, work=num_held_out / len(held_out))
            yield from self._report(task, x, share)
            batches = stream.draw(
                self.batch_size, steps=self.local_steps, epochs=self.local_epochs, crop_padding=self.crop_padding
            )
            x = yield from self.train(own, x, k, batches, ensemble_loss, share)
            yield from self._report(task, x, share, trained=True)
            trained, private = parts_of(x, sizes)
            has_trained = True
            yield from self.upload(node, k, self.shared_payload(node, trained))

    def _split(self, node: Node) -> tuple[BatchStream, int, tuple[Tensor, Tensor]]:
        """The samples that the models are trained on; the number of those that lambda is learned on, and their indices and weights,
        padded to one of few lengths, so that devices do so together."""
        samples = node.all_samples(self.batch_size)
        indices = samples.indices[samples.weights > 0].numpy()
        num_held_out = 0
        if self.private_share_part and len(indices) > 1:
            num_held_out = min(max(1, round(self.private_share_part * len(indices))), len(indices) - 1)
        indices = node.rng.permutation(indices)
        stream = BatchStream(indices[num_held_out:], node.rng, node.task.dtype, lambda: node.rng)
        held_out = np.full(max(MIN_HELD_OUT, padded_length(num_held_out)), indices[0])
        held_out[:num_held_out] = indices[:num_held_out]
        weights = node.tensor(np.arange(len(held_out)) < num_held_out)
        return stream, num_held_out, (torch.from_numpy(held_out), weights)

    def _report(self, task: Task, x: Value, share: Value, *, trained: bool = False) -> Generator[Report, Any, None]:
        name = after_local_training("model") if trained else "model"
        yield Report(name, (x, share), ensemble_metric(task))
        for head, method in self.heads.items():
            yield Report(after_local_training(head) if trained else head, x, head_metric(task, method))


def learned_share(task: Task) -> Op:
    """(lambda [], x, indices of training samples [n], weights [n], batch_size, passes, learning_rate) -> lambda after SGD on CE(z_E)
    over these samples, in minibatches in their order; the models do not move, so that their answers are computed once."""
    model = task.model

    def learned_share(
        share: Tensor, x: Tensor, indices: Tensor, weights: Tensor, batch_size: int, passes: int, learning_rate: float
    ) -> Tensor:
        inputs, labels = task.training_samples(indices)
        shared, private = model.both(unflatten(x, model.shapes), inputs)  # type: ignore[attr-defined]  # a Pair
        right = (labels.unsqueeze(-1) == torch.arange(model.num_classes)).to(x.dtype)
        batches = list(
            zip(*(part.split(batch_size) for part in (shared, private - shared, right, weights)), strict=True)
        )
        for base, gap, target, counted in batches * passes:
            slopes = ((base + share * gap).softmax(-1) - target) * gap  # of the cross-entropy, in lambda
            share = (share - learning_rate * weighted_mean(slopes.sum(-1), counted)).clamp(0, 1)
        return share

    return task.op(
        "learned_share",
        lambda: Op(learned_share, name="learned_share", loop=model.has_convolution),
    )


def ensemble_metric(task: Task) -> Op:
    """((x, lambda), inputs [n, ...], labels [n]) -> (correct [n] bool, losses [n]) of z_E; the task's own score."""
    model = task.model

    def ensemble(value: tuple[Tensor, Tensor], inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        x, share = value
        inputs = task.samples.prepared(inputs).reshape(-1, *model.input_shape)
        shared, private = model.both(unflatten(x, model.shapes), inputs)  # type: ignore[attr-defined]  # a Pair
        return task.score(share * private + (1 - share) * shared, labels)

    return task.op("ensemble", lambda: Op(ensemble, name="ensemble", loop=model.has_convolution))
