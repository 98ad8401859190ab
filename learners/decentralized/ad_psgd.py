"""AD-PSGD: pairs of devices average whenever one of them is ready, and nobody waits for a round.

Lian, Zhang, Zhang and Liu, "Asynchronous decentralized parallel stochastic gradient descent", ICML 2018, Algorithm 1 (arXiv
1710.06952). Every device i repeats on its own clock:

    x'     a local step from x_i, computed while the next two lines happen
    x_i -> a random neighbor j, which answers with its x_j
    x_i <- (x_i + x_j) / 2,   x_j <- (x_i + x_j) / 2
    x_i <- x_i + (x' - x of when the step began)

Sends, per cycle: one model to one neighbor and one back, 32 * num_params bits each with float32.

The paper's: the atomic average of a pair, gradients of models that are some averages old, a random neighbor. On the air nothing is
atomic: models change while messages travel. Ours: each end moves by half of the difference between what the two have sent, x_i by
(x_j - x_i) / 2 and x_j by (x_i - x_j) / 2 with the sent models, on top of whatever happened to it meanwhile; so every pair keeps
the sum of all models, as in the paper. (The paper divides devices into active and passive ones against deadlocks; here everybody
answers at once, also while it waits itself.) Also ours: several local steps, momentum and weight decay within them, a deadline.

Lost messages: an asker whose message or whose answer is lost or late goes on after deadline_s; where the answer is lost, one end has moved
and the other has not, and the sum of the models changes by half their difference. Of a message that arrives in part nothing
is used, since the other end would not know which part.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from learners.compression.codec import check_for_models
from learners.compression.error_feedback import plus
from learners.decentralized.peer_sgd import PeerSgd
from learners.deferred import op
from learners.fields import check_number
from learners.protocol import Compute, Node, Payload, Program, Receive, Report, Send, Service, Value, rounds
from learners.quantities import Seconds


@dataclass(frozen=True)
class AdPsgd(PeerSgd):
    """Local training as in `PeerSgd`. num_rounds: cycles of each device. deadline_s: how long a device waits for an answer; not
    given: until it comes."""

    deadline_s: Seconds | None = None

    uses_parts: ClassVar[bool] = False
    depends_on_timing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec)
        check_number("deadline_s", self.deadline_s, optional=True)

    def program(self, node: Node) -> list[Program | Service]:
        node.state["x"] = node.initial_parameters  # [num_params], shared by the two
        return [self._active(node), Service(self._passive(node))]

    def _active(self, node: Node) -> Program:
        for k in rounds(self.num_rounds):
            start, neighbors = node.state["x"], node.neighbors
            asked: tuple[int, Value] | None = None
            if neighbors:
                peer = neighbors[int(node.rng.integers(len(neighbors)))]
                payload = self._whole(node, start)
                yield Send(peer, "ask", k, payload, expires_s=self.deadline_s)
                asked = peer, payload.data
            trained = yield from self.train(node, start, k, self.batches(node))
            yield Report("after_local_training", trained)
            if asked is not None:
                peer, sent = asked
                received = yield Receive((peer,), "answer", k, timeout_s=self.deadline_s)
                for message in received.messages:
                    yield from self._move(node, message.data, sent)
            step = yield Compute(displacement, (trained, start))
            node.state["x"] = plus(node.state["x"], step)
            yield Report("model", node.state["x"], round=k)

    def _passive(self, node: Node) -> Program:
        while True:
            received = yield Receive(None, "ask", count=1)
            for message in received.messages:
                payload = self._whole(node, node.state["x"])
                yield Send(message.sender, "answer", message.round, payload, expires_s=self.deadline_s)
                yield from self._move(node, message.data, payload.data)

    def _whole(self, node: Node, x: Value) -> Payload:
        """x as a message that counts as a whole or not at all."""
        return self.codec.payload(x, node)._replace(codec=None)

    def _move(self, node: Node, theirs: Value, ours: Value) -> Generator[Any, Any, None]:
        """Half of the difference of what two devices have sent each other. The model may change while the processor works it out,
        so it is added to what the model is then (uncharged)."""
        difference = yield Compute(half_difference, (theirs, ours))
        node.state["x"] = plus(node.state["x"], difference)


@op(flops=lambda x, y: 2 * x.numel())
def half_difference(x: Tensor, y: Tensor) -> Tensor:
    """(x - y) / 2."""
    return (x - y) / 2


@op(flops=lambda x, y: 2 * x.numel())
def displacement(x: Tensor, y: Tensor) -> Tensor:
    """x - y; and its addition to a model, which follows."""
    return x - y
