"""Error feedback: what a lossy message leaves out is added to the next one.

Seide et al., "1-bit stochastic gradient descent", Interspeech 2014; Karimireddy et al., "Error feedback fixes SignSGD", ICML
2019 (arXiv 1901.09847), Algorithm 2, here for any codec and any difference u_t (a scaled gradient, a round's change):

    p = e + u_t,   send C(p),   e <- p - C(p)                 e = 0 at first; the receiver uses C(p) only

so that sum_t C(p_t) + e_T = sum_t u_t whatever C is. The unit of e is that of u: a learning rate belongs into u.

Ours: the error stays on the device until it takes part again, and a message that was lost changes nothing but e <- p. So the
sender has to learn what became of each message before it encodes the next (`Outcome`: reliability "arq" or "fountain"), and a
message counts as a whole or not at all: of one that arrives in part nothing is used, since the sender could not tell what.
"Delivered" is what the transport says; what a receiver gets too late for its round and does not use is gone from the sum: with a
server and a deadline, updates that are discarded (late = "discard"). With late = "abort" those are lost, and their error is kept.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from torch import Tensor

from learners.compression.codec import Codec
from learners.deferred import op
from learners.protocol import Compute, Node, Outcome, Payload, Send, Ticket, Value


@op(flops=lambda x, y: x.numel())
def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y, one operation a value."""
    return x + y


@op(flops=lambda x, y: x.numel())
def minus(x: Tensor, y: Tensor) -> Tensor:
    """x - y, one operation a value."""
    return x - y


class ErrorFeedback:
    """The error of one sender towards one receiver; a local variable of a program, used by `yield from`.

    feedback = ErrorFeedback(codec, node)
    yield from feedback.send(SERVER, "update", k, difference)
    """

    def __init__(self, codec: Codec, node: Node) -> None:
        self._codec = codec
        self._node = node
        self._error: Value | None = None  # e, None for zero
        self._encoded: tuple[Value, Value]  # p and C(p) of the last message
        self._on_its_way: tuple[Ticket, Value, Value] | None = None  # the same, with its ticket

    def send(
        self, to: int, kind: str, round: int, u: Value, expires_s: float | None = None
    ) -> Generator[Any, Any, Ticket]:
        """Sends C(e + u), once it is known what became of the last message."""
        payload = yield from self.payload(u)
        ticket: Ticket = yield Send(to, kind, round, payload, expires_s=expires_s)
        self.sent(ticket)
        return ticket

    def payload(self, u: Value) -> Generator[Any, Any, Payload]:
        """C(e + u) as a message, once it is known what became of the last one; `sent` has to follow."""
        error = yield from self.error()
        p = u if error is None else (yield Compute(plus, (error, u)))
        payload = self._codec.payload(p, self._node)._replace(codec=None)  # all or nothing
        self._encoded = p, payload.data
        return payload

    def sent(self, ticket: Ticket) -> None:
        """The last `payload` is on its way."""
        self._on_its_way = ticket, *self._encoded

    def error(self) -> Generator[Any, Any, Value | None]:
        """e after the last message, None for zero; waits until it is known what became of that."""
        if self._on_its_way is not None:
            ticket, p, sent = self._on_its_way
            outcome = yield Outcome(ticket)
            if outcome == "unknown":
                raise RuntimeError("error feedback: the transport does not tell what became of a message")
            self._error = p if outcome == "lost" else (yield Compute(minus, (p, sent)))
            self._on_its_way = None
        return self._error
