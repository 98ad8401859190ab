"""FedBuff: asynchronous federated learning with a buffer.

Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek and Huba, "Federated learning with buffered asynchronous aggregation", AISTATS 2022,
Algorithm 1 (arXiv 2106.06639). Clients train and answer as `learners.federated.async_sgd` says; the server makes one step of K updates:

    d_i = w_i - w^tau                                      how far client i came from the version tau that it was sent
    w   <- w + server_rate / K sum_{K updates} s(t - tau) d_i,      t <- t + 1           s = 1 / sqrt(1 + t - tau)

Sends, per update: the model to one client and a difference back, 32 * num_params bits each way with float32. A round is a version,
of K updates.

The paper's: the buffer, the division by K and not by the sum of the s, equal weights of clients. Ours: other functions of the staleness; a
deadline. Lossy codecs are for the differences and error feedback works on them; with those for differences only the model travels
in float32. A missing coordinate of an update is no change. With K = M, equal durations and equal shares it is FedAvg.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from learners.averaging import full_masks
from learners.compression.codec import error_feedback
from learners.compression.error_feedback import ErrorFeedback, minus
from learners.deferred import op
from learners.federated.async_sgd import AsyncSgd, round_of
from learners.fields import check_count, check_number
from learners.protocol import SERVER, Compute, Message, Node, Received, Report, Send, Value
from learners.quantities import Count, LearningRate


@dataclass(frozen=True)
class FedBuff(AsyncSgd):
    """As `AsyncSgd`. buffer_size: K. server_rate: of the server's step."""

    buffer_size: Count = 10
    server_rate: LearningRate = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("buffer_size", self.buffer_size)
        check_number("server_rate", self.server_rate)

    def absorb(self, node: Node, w: Value, update: Message, weight: float) -> Generator[Any, Any, Value | None]:
        buffer = node.state.setdefault("buffer", [])
        buffer.append((update, weight))
        if len(buffer) < self.buffer_size:
            return None
        node.state["buffer"] = []
        received = Received(tuple(message for message, _ in buffer))
        weights, masks = node.tensor([weight for _, weight in buffer]), full_masks(received)
        args = w, received.data, weights, self.server_rate / self.buffer_size
        if masks is None:
            return (yield Compute(add_weighted, args))
        return (yield Compute(add_weighted_masked, (*args, masks)))

    def answer(self, node: Node, w: Value, number: int) -> Generator[Any, Any, None]:
        trained = yield from self.train(node, w, round_of(number), self.batches(node))
        yield Report("after_local_training", trained)
        difference = yield Compute(minus, (trained, w))
        if error_feedback(self.codec):
            feedback = node.state.setdefault("feedback", ErrorFeedback(self.codec, node))
            yield from feedback.send(SERVER, "update", number, difference, self.deadline_s)
        else:
            payload = self.codec.payload(difference, node)
            yield Send([SERVER], "update", number, payload, expires_s=self.deadline_s)


@op(loop=True, ragged=("differences", "weights"))
def add_weighted(w: Tensor, differences: Tensor, weights: Tensor, rate: float) -> Tensor:
    """w + rate sum_k s_k d_k. w: [num_params]; differences: [m, num_params]; weights: [m]."""
    return w + rate * (weights @ differences)


@op(loop=True, ragged=("differences", "weights", "masks"))
def add_weighted_masked(w: Tensor, differences: Tensor, weights: Tensor, rate: float, masks: Tensor) -> Tensor:
    """As `add_weighted`, where a coordinate of d_k that did not arrive is no change. masks: bool [m, num_params]."""
    return w + rate * (weights @ torch.where(masks, differences, 0))
