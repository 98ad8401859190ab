"""Gossip learning: every device on its own clock.

Ormandi, Hegedus and Jelasity, "Gossip learning with linear models on fully distributed data", Concurrency and
Computation: Practice and Experience 25 (2013), Algorithm 1 (arXiv 1109.1396). Each device repeats, every `period_s`:

    train      x_i <- local SGD on own data
    send       x_i to one random present neighbor
    merge      x_i <- average of x_i and all that has arrived since the last time

Sends, per cycle: one model to one neighbor, 32 * num_params bits with float32, and 32 bits more for the age with
merge = "age".

The paper's: the loop, the uniform choice of a peer, the periods that start out of step. Its devices merge and train
at each arrival; here, on a device with a finite processor, at each cycle, with everything that came in meanwhile.
Merging:

    "mean"   all models alike
    "age"    x_i <- sum_j a_j x_j / sum_j a_j,  a_i <- max_j a_j,  a: the number of local steps behind a model

after Hegedus, Danner and Jelasity, "Decentralized learning works", J. Parallel Distrib. Comput. 148 (2021); their
merge is of two models, the sum over several is ours. A device sends its next model when the fate of the last one is
known (where the transport tells), so that a slow link holds its device back instead of filling a queue.

Lost messages: one merge less; nothing waits for a message, and one that is late is merged when it comes. Of a model that arrives in
part the weight of the missing coordinates stays with the device; one whose age is lost counts as lost.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from learners.averaging import full_masks, mix, mix_masked
from learners.compression.codec import Fragments, check_for_models, values_received
from learners.decentralized.peer_sgd import PeerSgd
from learners.fields import check_choice, check_number
from learners.protocol import (
    Compute,
    Node,
    Observe,
    Outcome,
    Payload,
    Program,
    Receive,
    Received,
    Report,
    Send,
    Sleep,
    Ticket,
    Value,
    rounds,
)
from learners.quantities import SecondsOrZero

AGE_BITS = 32


@dataclass(frozen=True)
class Gossip(PeerSgd):
    """Local training as in `PeerSgd`. The schedule of a device follows its own cycles.
    num_rounds: cycles of each device.
    period_s: a cycle starts at the next multiple of it (from a random start within the first) and takes as many as it
    needs; 0 starts the next cycle at once. merge: "mean" or "age"."""

    period_s: SecondsOrZero = 0.0
    merge: Literal["mean", "age"] = "mean"

    synchronous: ClassVar[bool] = False
    only_trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec)
        check_number("period_s", self.period_s, zero=True)
        check_choice("merge", self.merge, ("mean", "age"))

    def program(self, node: Node) -> Program:
        x, age = node.initial_parameters, 0  # [num_params], number of local steps behind x
        sent: Ticket | None = None
        start_s = yield from self._first_start(node)
        for k in rounds(self.num_rounds):
            batches = self.batches(node)
            x = yield from self.train(node, x, k, batches)
            yield Report("after_local_training", x)
            age += batches.num_steps
            if sent is not None:
                yield Outcome(sent)
                sent = None
            neighbors = node.neighbors
            if neighbors:
                peer = neighbors[int(node.rng.integers(len(neighbors)))]
                sent = yield Send(peer, "model", k, self._payload(node, x, age))
            received = yield Receive(None, "model", timeout_s=0)
            if received.messages:
                x, age = yield from self._merge(node, x, age, received)
            yield Report("model", x)
            if self.period_s:
                start_s = yield from self._next_start(start_s)

    def _payload(self, node: Node, x: Value, age: int) -> Payload:
        payload = self.codec.payload(x, node)
        if self.merge == "mean":
            return payload
        return payload._replace(
            data=(payload.data, node.tensor(age)),
            num_bits=AGE_BITS + payload.num_bits,
            codec=None if payload.codec is None else AgeFirst(payload.codec),
        )

    def _merge(self, node: Node, x: Value, age: int, received: Received) -> Generator[Any, Any, tuple[Value, int]]:
        """The merged model and its age."""
        messages = sorted(received.messages, key=lambda message: (message.sender, message.round))
        received = received._replace(messages=tuple(messages))
        if self.merge == "mean":
            models = received.data
            weights = [1 / (1 + len(models))] * len(models)
        else:
            models = [model for model, _ in received.data]
            ages = [float(sent_age) for _, sent_age in received.data]
            weights = [sent_age / (age + sum(ages)) for sent_age in ages]
            age = int(max(age, *ages))
        masks = full_masks(received)
        if masks is None:
            merged = yield Compute(mix, (x, x, models, node.tensor(weights)))
        else:
            merged = yield Compute(mix_masked, (x, x, models, node.tensor(weights), masks))
        return merged, age

    def _first_start(self, node: Node) -> Generator[Any, Any, float]:
        """A random point of the first period, so that the devices' cycles are out of step. Returns the time, s."""
        if not self.period_s:
            return 0.0
        offset_s = float(node.rng.uniform(0, self.period_s))
        yield Sleep(offset_s)
        return (yield Observe("time"))

    def _next_start(self, start_s: float) -> Generator[Any, Any, float]:
        """Sleeps until the first start_s + n * period_s, n >= 1, that has not passed. Returns that time, s."""
        now_s = yield Observe("time")
        next_s = start_s + self.period_s * max(1, int(np.ceil((now_s - start_s) / self.period_s)))
        if next_s > now_s:
            yield Sleep(next_s - now_s)
        return next_s


@dataclass(frozen=True)
class AgeFirst:
    """Packet losses of a message that starts with its age: the model follows after `AGE_BITS`. A model whose age is lost
    cannot be weighed and counts as lost."""

    model: Fragments

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        if not values_received(arrived, packet_payload_bits, 1, AGE_BITS, first_bit).all():
            return np.zeros(num_values, dtype=bool)
        return self.model.received_mask(arrived, packet_payload_bits, num_values, first_bit + AGE_BITS)
