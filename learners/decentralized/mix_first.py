"""What learners have in common that mix first and look at the received models themselves: CCL and NGC.

    xb_i = x_i + gamma sum_j W_ij (x_j - x_i)      gamma: averaging_rate

Where a model arrived in part it is completed by the own one, coordinate by coordinate, before it is used.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from learners.averaging import fill
from learners.decentralized.neighbor_sgd import Heard, NeighborSgd
from learners.decentralized.quasi_global import check_stable
from learners.local_step import Rule
from learners.protocol import Compute, Message, Node, Payload, Receive, Received, Send, Value
from learners.quantities import Part

EMPTY = Payload(None, 0)


@dataclass(frozen=True)
class MixFirst(NeighborSgd):
    """averaging_rate: gamma. quasi_global: the momentum follows the displacement by mixing, too, and is applied once a round."""

    averaging_rate: Part = 1.0
    quasi_global: bool = False

    exchanges: ClassVar[int] = 2
    leaves_out_rounds: ClassVar[bool] = True
    recursion: ClassVar[str] = "ccl-code"
    """Of the quasi-global momentum, see `quasi_global`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.averaging_rate <= 1:
            raise ValueError(f"averaging_rate = {self.averaging_rate!r}: above 0 and at most 1")
        if self.quasi_global and not self.momentum:
            raise ValueError("quasi_global = True: needs momentum above 0")

    def check_matrix(self, matrix: np.ndarray) -> None:
        """ValueError where a mixing matrix [num_devices, num_devices] makes quasi-global momentum unstable."""
        if self.quasi_global:
            check_stable(self.recursion, matrix, self.momentum, self.nesterov, self.momentum, self.averaging_rate)

    @cached_property
    def rule(self) -> Rule:
        rule = super().rule
        return replace(rule, momentum=0.0, nesterov=False) if self.quasi_global else rule

    @cached_property
    def full_rule(self) -> Rule:
        """The rule of a round's only step: with the momentum in either case."""
        return replace(self.rule, momentum=self.momentum, nesterov=self.nesterov)

    def listen(self, node: Node, k: int, x: Value) -> Generator[Any, Any, Heard]:
        """The models of round k, from who sent them, with weights gamma W_ij."""
        heard = yield from self.gather(node, (yield from self.publish(node, k, x)))
        return heard if self.averaging_rate == 1 else replace(heard, weights=self.averaging_rate * heard.weights)

    def give_back(
        self, node: Node, heard: Heard, payloads: Mapping[int, Payload]
    ) -> Generator[Any, Any, tuple[Message, ...]]:
        """The second exchange: to each neighbor what was made with its model, or an empty message where that is missing, so that
        nobody waits for what will not come; what the neighbors made with the own model. Nothing where the others are in a later
        round."""
        sent, received = heard.sent, Received(())
        if heard.received.newer is not None:
            return ()
        k = sent.k * self.exchanges + 1
        for j in sent.neighbors:
            yield Send(j, sent.kind, k, payloads.get(j, EMPTY), expires_s=self.deadline_s)
        if sent.heard:
            received = yield Receive(sent.heard, sent.kind, k, timeout_s=self.deadline_s)
        return tuple(message for message in received.messages if message.data is not None)


def completed(heard: Heard, own: Value) -> Generator[Compute, Any, Heard]:
    """`heard` with whole models, by the coordinates of `own` [num_params]."""
    if heard.received.masks is None:
        return heard
    messages = []
    for message in heard.received.messages:
        if message.mask is not None:
            message = message._replace(data=(yield Compute(fill, (message.data, message.mask, own))), mask=None)
        messages.append(message)
    return replace(heard, received=heard.received._replace(messages=tuple(messages)))
