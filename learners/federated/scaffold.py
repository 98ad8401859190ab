"""SCAFFOLD: control variates against client drift.

Karimireddy, Kale, Mohri, Reddi, Stich and Suresh, "SCAFFOLD: stochastic controlled averaging for federated learning", ICML 2020,
Algorithm 1 with option II (arXiv 1910.06378). The server keeps w and c, client i a c_i, all c zero at first; N clients in all:

    y   <- w,  then K local SGD steps  y <- y - lr * (g_i(y; batch) - c_i + c)
    c_i <- c_i + dc_i,   dc_i = (w - y) / (K lr) - c
    w   <- w + server_rate sum_{i in S_k} p_i (y_i - w),   p_i = 1 / |S_k|
    c   <- c + 1 / N sum_{i in S_k} dc_i

so that with all clients in every round c = mean_i c_i, and constant rates have no bias where gradients have no noise.

Sends, per round: (w, c) as one message from the server to each client and (y - w, dc_i) back, 2 * 32 * num_params bits each way with
float32, and down a bit a device before them, filled up to whole bytes (8 ceil(N / 8)): which flips whenever the server has moved c by that
device's dc_i. Codecs apply to all but those bits; those for differences only carry the uplink, and the downlink is float32 then.

The paper's: option II, plain means, N of all clients, also of those that are away. Local training is plain SGD: with momentum
(w - y) / (K lr) is no mean of gradients, and it is refused. Weight decay is part of the gradient. Ours: server_weights = "samples" takes
n_i / sum n for p_i and, over all clients, for 1 / N.

Lossy links: c_i moves by what the client has sent of its last dc_i, after its codec, when the next download says by its bit that c has
moved, and else not at all; so c stays the mean of the c_i, whatever became of an update, and the fixed point the optimum. When a
client is invited again, its earlier rounds are over, and one bit is enough; late = "use" would make it ambiguous, and is refused. Of an update of which only a
part arrives, missing numbers of y - w count as no change, and dc_i, of which the client could not know what arrived, not at all. Missing
numbers of a download stay as in the last one; one without its beginning is as if it were lost.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from learners.averaging import full_masks
from learners.compression.codec import differences_only, error_feedback, whole_bytes
from learners.compression.error_feedback import plus
from learners.compression.float32 import Float32
from learners.deferred import op
from learners.federated import header
from learners.federated.server_sgd import ServerSgd
from learners.fields import check_number
from learners.local_step import divisor
from learners.protocol import Compute, Message, Node, Program, Received, Report, Value, rounds
from learners.quantities import LearningRate


@dataclass(frozen=True)
class Scaffold(ServerSgd):
    """Local training and rounds as in `ServerSgd`, without momentum. server_rate: of the server's step."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    server_rate: LearningRate = 1.0

    takes_momentum: ClassVar[bool] = False
    sends_what_is_trained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("server_rate", self.server_rate)
        if error_feedback(self.codec):
            name = type(self.codec).__name__
            says = "the control variates need to know what was sent of each update; error_feedback = false"
            raise ValueError(f"codec = {name} with error feedback: {says}")
        if self.late == "use":
            says = "a client has to know what became of its last update before it trains again"
            raise ValueError(f'late = "use": {says}; "discard" or "abort"')

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        codec = Float32() if differences_only(self.codec) else self.codec
        wc = joined(node.initial_parameters, node.task.zero_parameters)  # [2 num_params], w and c
        used = [False] * node.num_devices  # flips with each dc_i by which c has moved
        for k in rounds(self.num_rounds):
            payload = header.headed(codec.payload(wc, node), tuple(used), whole_bytes(node.num_devices))
            clients = yield from self.invite(node, k, payload)
            updates = yield from self.collect(node, clients, k)
            if updates.messages:
                wc = yield self._step(node, wc, updates)
            for message in updates.messages:
                used[message.sender] ^= is_whole(message)
            yield Report("model", first_half(wc))

    def _step(self, node: Node, wc: Value, updates: Received) -> Compute:
        shares, masks = self.shares(node, updates), full_masks(updates)
        by_samples = self.server_weights == "samples"
        total = node.tensor(sum(node.samples_of) if by_samples else node.num_devices)
        args = wc, updates.data, shares, total, self.server_rate
        if masks is None:
            return Compute(server_step, args)
        whole = node.tensor([float(is_whole(message)) for message in updates.messages])
        return Compute(server_step_masked, (*args, whole, masks))

    def model_in(self, download: Value) -> Value:
        return first_half(download)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        own = node.task.zero_parameters  # c_i
        wc = joined(node.initial_parameters, own)  # the last that it has of w and c
        sent: Value | None = None  # the last update
        used = False  # this device's bit when that was sent
        while True:
            message = yield from self.download(node, wc)
            wc = message.data
            w, k = self._model_of(wc), message.round
            yield Report("model", w)
            bit = node.state["used"][node.id]
            if sent is not None and bit != used:
                own = yield Compute(plus, (own, second_half(sent)))
            used = bit
            batches, shift = self.batches(node), (yield Compute(drift, (wc, own)))
            y = yield from self.train(node, w, k, batches, None, shift, correction=shifted)
            yield Report("after_local_training", y)
            length = node.tensor(batches.num_steps * divisor(self.rate(node, k)))
            payload = self.codec.payload((yield Compute(update, (wc, y, length))), node)
            yield from self.upload(node, k, payload)
            sent = payload.data

    def _model_of(self, wc: Value) -> Value:
        """w; one value for all clients that hold the same download, so that it is evaluated once."""
        if self._halved.get("wc") is not wc:
            self._halved.update(wc=wc, w=first_half(wc))
        return self._halved["w"]

    @cached_property
    def _halved(self) -> dict[str, Value]:
        return {}

    def opened(self, node: Node, message: Message) -> Generator[Any, Any, Message | None]:
        """The download behind everybody's bits, which the device keeps."""
        found = yield from header.read(message)
        if found is None:
            return None
        message, node.state["used"] = found
        return message


def is_whole(message: Message) -> bool:
    """Whether c moves by this update."""
    return message.mask is None


def shifted(y: Tensor, shift: Tensor) -> Tensor:
    """What is added to the gradient at y, wherever that is. Both: [num_params]."""
    return shift


@op
def joined(w: Tensor, c: Tensor) -> Tensor:
    """w and c [num_params] as one vector [2 num_params]."""
    return torch.cat((w, c))


@op
def first_half(wc: Tensor) -> Tensor:
    """[num_params] of [2 num_params]."""
    return wc[: wc.shape[0] // 2].clone()


@op
def second_half(wc: Tensor) -> Tensor:
    """[num_params] of [2 num_params]."""
    return wc[wc.shape[0] // 2 :].clone()


@op(flops=lambda wc, own: own.numel())
def drift(wc: Tensor, own: Tensor) -> Tensor:
    """c - c_i. wc: [2 num_params]; own: c_i [num_params]."""
    return wc[own.shape[0] :] - own


@op(flops=lambda wc, y, length: 4 * y.numel())
def update(wc: Tensor, y: Tensor, length: Tensor) -> Tensor:
    """(y - w, (w - y) / length - c) [2 num_params]. y: [num_params]; length: K lr, a scalar."""
    n = y.shape[0]
    difference = y - wc[:n]
    return torch.cat((difference, -difference / length - wc[n:]))


@op(loop=True, ragged=("updates", "shares"))
def server_step(wc: Tensor, updates: Tensor, shares: Tensor, total: Tensor, server_rate: float) -> Tensor:
    """(w, c) after a round. wc: [2 num_params]; updates: [m, 2 num_params]; shares: [m] of p_i, not divided by their sum; total: a
    scalar, the sum of the shares of all clients there are."""
    n = wc.shape[0] // 2
    return wc + torch.cat((server_rate * (shares / shares.sum()) @ updates[:, :n], (shares / total) @ updates[:, n:]))


@op(loop=True, ragged=("updates", "shares", "whole", "masks"))
def server_step_masked(
    wc: Tensor, updates: Tensor, shares: Tensor, total: Tensor, server_rate: float, whole: Tensor, masks: Tensor
) -> Tensor:
    """As `server_step`, where numbers that did not arrive are no change, and c moves by whole updates only. whole: [m] of 0 and 1;
    masks: bool [m, 2 num_params]."""
    n = wc.shape[0] // 2
    y, dc = torch.where(masks[:, :n], updates[:, :n], 0), updates[:, n:]
    return wc + torch.cat((server_rate * (shares / shares.sum()) @ y, (whole * shares / total) @ dc))
