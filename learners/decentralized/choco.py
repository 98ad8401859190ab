"""CHOCO-SGD: decentralized averaging with compressed differences.

Koloskova, Stich and Jaggi, "Decentralized stochastic optimization and gossip algorithms with compressed communication", ICML
2019, Algorithm 2 (arXiv 1902.00340). Everybody keeps a public copy y_j of each neighbor's model and of its own, 0 at first. In every
round, with mixing weights W:

    x_i <- x_i after local SGD
    x_i <- x_i + gamma sum_j W_ij (y_j - y_i)          gamma: consensus_rate
    q_i <- Q(x_i - y_i), to all neighbors
    y_j <- y_j + q_j, for all neighbors and itself

Q is the codec, which is used on differences only. gamma has to be tuned: the coarser Q, the smaller. With gamma too large for
Q the copies run away.

Sends, per round and device: what the codec needs for num_params numbers, once for all neighbors (exchange = "broadcast").

The paper's: all of this; its memory-saving form keeps the weighted sum of the copies only. Ours: a copy of each neighbor by
itself (num_params numbers each), since neighborhoods change and messages are lost; several local steps, momentum and weight decay
within the first line, a deadline.
Lost messages: both ends of a link have to hold the same copy. A device that misses a q_j, gets it in part or too late, or meets a new
neighbor, leaves j out of its average (the weight stays with itself) and asks j for the copy itself: 32 bits there, num_params
numbers of 32 bits back, on the same air; what j sent meanwhile is added to it. Until then the average of the devices is not kept,
unless both ends miss each other.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from learners.averaging import mix
from learners.compression.codec import error_feedback
from learners.compression.error_feedback import minus, plus
from learners.compression.float32 import Float32
from learners.decentralized.neighbor_sgd import NeighborSgd, Sent
from learners.fields import check_number
from learners.local_sgd import LocalSgd
from learners.protocol import Compute, Message, Node, Outcome, Payload, Program, Receive, Received, Report, Send, Value
from learners.quantities import Positive

ASK_BITS = 32
"""The number of the last round that the asker knows."""


@dataclass(frozen=True)
class Choco(NeighborSgd):
    """consensus_rate: gamma."""

    consensus_rate: Positive = 0.5

    uses_parts: ClassVar[bool] = False
    takes_matrix = "symmetric"

    def __post_init__(self) -> None:
        LocalSgd.__post_init__(self)
        self.check_exchange()
        check_number("consensus_rate", self.consensus_rate)
        if error_feedback(self.codec):
            raise ValueError(
                f"codec = {type(self.codec).__name__}: the public copies remember what was left out already; "
                "error_feedback = false"
            )

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        own = node.task.zero_parameters  # y_i
        copies = Copies()
        while self.goes_on(k):
            trained = yield from self.train(node, x, k, self.batches(node))
            yield Report("after_local_training", trained)
            x = yield from self._averaged(node, k, trained, own, copies)
            payload = self.codec.payload((yield Compute(minus, (x, own))), node)._replace(codec=None)
            sent = yield from self.publish_payload(node, k, payload, "difference")
            own = yield Compute(plus, (own, payload.data))
            received = Received(())
            if sent.heard:
                received = yield Receive(sent.heard, "difference", k, timeout_s=self.deadline_s)
            yield from copies.add(received.messages)
            yield from self._resynchronize(node, sent, own, copies)
            yield Report("model", x, round=k)
            if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
                yield Outcome(sent.ticket)
            k = k + 1 if received.newer is None else received.newer

    def _averaged(self, node: Node, k: int, x: Value, own: Value, copies: Copies) -> Generator[Any, Any, Value]:
        """x + gamma sum_j W_ij (y_j - y_i), over the neighbors whose copies are up to date."""
        neighbors = node.neighbors
        there = [j for j in neighbors if copies.is_current(j, k - 1)]
        if not there:
            return x
        degrees = [copies.degree[j] for j in there]
        weights = self.weights_of(node, len(neighbors), there, degrees)
        rates = node.tensor([self.consensus_rate * weight for weight in weights])
        return (yield Compute(mix, (x, own, [copies.value[j] for j in there], rates)))

    def _resynchronize(self, node: Node, sent: Sent, own: Value, copies: Copies) -> Generator[Any, Any, None]:
        """Answer who asks for the copy of this device, take what was asked for, and ask for what is missing."""
        asked = yield Receive(None, "ask", timeout_s=0)
        for j in sorted({message.sender for message in asked.messages} & set(node.neighbors)):
            payload = Float32().payload(own, node)._replace(codec=None)
            yield Send(j, "copy", sent.k, payload, expires_s=self.deadline_s)
        came = yield Receive(None, "copy", timeout_s=0)
        yield from copies.replace(came.messages)
        for j in sent.heard:
            if copies.should_ask(j, sent.k):
                yield Send(j, "ask", sent.k, Payload(node.tensor(float(sent.k)), ASK_BITS), expires_s=self.deadline_s)


class Copies:
    """The public copies of the neighbors at one device: a local variable of its program."""

    ROUNDS_TO_ANSWER = 3  # before a device asks again

    def __init__(self) -> None:
        self.value: dict[int, Value] = {}
        self.round: dict[int, int] = {}  # of the last difference in a copy
        self.degree: dict[int, int] = {}  # of the neighbor, from its last message
        self._waiting: dict[int, dict[int, Value]] = {}  # differences that came while their copy was not up to date
        self._asked: dict[int, int] = {}

    def is_current(self, j: int, k: int) -> bool:
        """Whether the copy of j is that after round k."""
        return self.round.get(j) == k and j in self.value

    def should_ask(self, j: int, k: int) -> bool:
        """Whether the copy of j is not up to date and nobody has been asked lately. Notes that one asks."""
        if self.is_current(j, k) or k - self._asked.get(j, -self.ROUNDS_TO_ANSWER) < self.ROUNDS_TO_ANSWER:
            return False
        self._asked[j] = k
        return True

    def add(self, messages: tuple[Message, ...]) -> Generator[Any, Any, None]:
        """Differences of one round."""
        for message in messages:
            j, k = message.sender, message.round
            self.degree[j] = message.degree
            if k == 0:
                self.value[j], self.round[j] = message.data, 0  # y_j = 0 before
            elif self.is_current(j, k - 1):
                self.value[j] = yield Compute(plus, (self.value[j], message.data))
                self.round[j] = k
            else:
                self._waiting.setdefault(j, {})[k] = message.data

    def replace(self, messages: tuple[Message, ...]) -> Generator[Any, Any, None]:
        """Whole copies, which may be some rounds old."""
        for message in messages:
            j, k = message.sender, message.round
            if k < self.round.get(j, -1):
                continue
            value, waiting = message.data, self._waiting.pop(j, {})
            while k + 1 in waiting:
                k += 1
                value = yield Compute(plus, (value, waiting[k]))
            self.value[j], self.round[j] = value, k
            self.degree.setdefault(j, message.degree)
            self._asked.pop(j, None)
