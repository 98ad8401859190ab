"""FedAsync: every update is mixed into the server's model when it comes.

Xie, Koyejo and Gupta, "Asynchronous federated optimization", 2019, Algorithm 1 (arXiv 1903.03934). Clients train and answer as
`learners.federated.async_sgd` says, each near the model w^tau that it was sent; the server mixes, for every update:

    w_i <- w^tau,  then local SGD steps  w_i <- w_i - lr * (g_i(w_i; batch) + rho (w_i - w^tau))
    w   <- (1 - a) w + a w_i,   a = mixing_weight * s(t - tau),     t <- t + 1

Sends, per update: the model to one client and back, 32 * num_params bits each way with float32. A round is as many updates as
clients train at a time.

The paper's: the mixing, the three functions of the staleness, no weights by samples, rho. Ours: the server gives a free place away
at once (the paper's scheduler triggers clients at its own times); a deadline. A missing coordinate of an update counts as the server's own.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.compression.codec import check_for_models
from learners.deferred import op
from learners.federated.async_sgd import AsyncSgd, round_of
from learners.federated.fedprox import proximal
from learners.fields import check_number
from learners.protocol import SERVER, Compute, Message, Node, Report, Send, Value
from learners.quantities import Part, PositiveOrZero


@dataclass(frozen=True)
class FedAsync(AsyncSgd):
    """As `AsyncSgd`. mixing_weight: alpha, of an update without staleness. proximal_weight: rho."""

    mixing_weight: Part = 0.6
    proximal_weight: PositiveOrZero = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec)
        check_number("mixing_weight", self.mixing_weight)
        if self.mixing_weight > 1:
            raise ValueError(f"mixing_weight = {self.mixing_weight!r}: at most 1")
        check_number("proximal_weight", self.proximal_weight, zero=True)

    def versions_per_round(self, node: Node) -> int:
        return min(self.concurrency or node.num_devices, node.num_devices)

    def absorb(self, node: Node, w: Value, update: Message, weight: float) -> Generator[Any, Any, Value | None]:
        alpha = node.tensor(self.mixing_weight * weight)
        if update.mask is None:
            return (yield Compute(mixed_in, (w, update.data, alpha)))
        return (yield Compute(mixed_in_masked, (w, update.data, alpha, update.mask)))

    def answer(self, node: Node, w: Value, number: int) -> Generator[Any, Any, None]:
        batches = self.batches(node)
        if self.proximal_weight:
            args = w, self.proximal_weight
            trained = yield from self.train(node, w, round_of(number), batches, None, *args, correction=proximal)
        else:
            trained = yield from self.train(node, w, round_of(number), batches)
        yield Report("after_local_training", trained)
        payload = self.codec.payload(trained, node)
        yield Send([SERVER], "update", number, payload, expires_s=self.deadline_s)


@op(loop=True, flops=lambda w, received, alpha: 3 * w.numel())
def mixed_in(w: Tensor, received: Tensor, alpha: Tensor) -> Tensor:
    """(1 - alpha) w + alpha received. w, received: [num_params]; alpha: a scalar."""
    return (1 - alpha) * w + alpha * received


@op(loop=True, flops=lambda w, received, alpha, mask: 3 * w.numel())
def mixed_in_masked(w: Tensor, received: Tensor, alpha: Tensor, mask: Tensor) -> Tensor:
    """As `mixed_in`, where a coordinate that did not arrive is that of w. mask: bool [num_params]."""
    return torch.where(mask, (1 - alpha) * w + alpha * received, w)
