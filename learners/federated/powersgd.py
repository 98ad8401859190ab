"""PowerSGD: clients' differences as low-rank factors, in two dependent exchanges with the server, with error feedback.

Vogels, Karimireddy and Jaggi, "PowerSGD: practical low-rank gradient compression for distributed optimization", NeurIPS 2019
(arXiv 1905.13727), Algorithms 1 and 2, here for the changes d_i of FedAvg's local training (`uplink = "powersgd"`). With
M_i = d_i + e_i of client i, a matrix of the model at a time (see `low_rank`), and p_i the clients' weights:

    w, Q               down
    P_i = M_i Q,       up;     P = sum_i p_i P_i,     P^ = P with orthonormal columns,     down
    Q_i = M_i^T P^,    up;     Q = sum_i p_i Q_i starts the next round
    w  <- w + P^ Q^T,          e_i <- M_i - P^ Q_i^T

Nobody can form Q_i before P^ has come back. Tensors of one dimension travel whole, beside Q_i.

Sends, per round and client, in single precision: 32 r n bits up for a matrix [n, m] of rank r, 32 r n down, 32 r m up and 32 a
value of other tensors; 32 r m down with the model.
Ours: a star, where the paper has an all-reduce; the server orthonormalizes. The error is what is left to the client's own
product, as in the paper, so that the second down-link has to carry nothing but the start of the next round: who missed a round, or
comes late, takes part with any Q, which decides how good P^ is and not whether Q_i fits it. Factors are used whole or not at
all; nothing of a message that was lost is forgotten, so the transport has to tell (reliability "arq" or "fountain"). Either exchange has half of the
deadline, and a Q_i that is delivered after the server's half is discarded, and forgotten by its client. With late = "abort" the round
ends at an instant, which both messages of the server tell in 64 bits (see `round_end`): half of the deadline before it the P_i are taken
off the air, and with it the Q_i, whose clients then know that they were lost. P is the mean over the clients whose P_i arrived, Q and
the tensors of one dimension over those whose Q_i did, too.
Columns of Q that become 0 keep what they were before.

The server's messages of round k are numbered 2 k (model and Q) and 2 k + 1 (P^), the clients' 2 k (P_i) and 2 k + 1 (Q_i).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from torch import Tensor

from learners.averaging import average
from learners.compression.error_feedback import plus
from learners.compression.float32 import Float32
from learners.compression.low_rank import (
    initial_start,
    left,
    matrices,
    num_start,
    orthonormal,
    product,
    residual,
    right,
    warm,
)
from learners.federated.round_end import left_s, stamped
from learners.federated.shared_part import in_one_row, parts_of
from learners.protocol import SERVER, Compute, Node, Observe, Outcome, Payload, Receive, Received, Send, Ticket, Value


def closing_s(number: int, ends_s: float, wait_s: float | None) -> float:
    """When the exchange with this number is over in a round that ends at ends_s."""
    return ends_s if number % 2 else ends_s - (wait_s or 0.0)


class Factors:
    """What both ends know: the shapes of the matrices, their rank, and Q at first.
    Raises ValueError for a model without matrices."""

    def __init__(self, node: Node, rank: int) -> None:
        shapes = node.task.model.shapes
        if not matrices(shapes):
            raise ValueError(f"rank = {rank}: the model has no tensor of two dimensions to find factors of")
        self.node = node
        self.of = shapes, rank
        self.start: Value = node.tensor(initial_start(shapes, rank))

    def payload(self, factor: Value) -> Payload:
        """Whole or not at all."""
        return Float32().payload(factor, self.node)._replace(codec=None)


class LowRankMean(Factors):
    """The server's side; `start`: Q, from round to round."""

    def invitation(self, w: Value) -> Payload:
        """The model and Q. A client may use what arrived of it."""
        return Float32().payload(in_one_row((w, self.start)), self.node)

    def collect(
        self,
        k: int,
        clients: list[int],
        shares: Callable[[Node, Received], Tensor],
        broadcast: bool,
        wait_s: float | None,
        ends_s: float | None = None,
    ) -> Generator[Any, Any, tuple[Value | None, list[int]]]:
        """P^ Q^T of round k and whose it is; None if it is nobody's. wait_s: for either exchange. ends_s: when the second one ends, and
        the first wait_s before, where clients are told."""
        p_hat = mean = None
        for number in (2 * k, 2 * k + 1):
            timeout_s = wait_s
            if ends_s is not None:
                timeout_s = left_s(closing_s(number, ends_s, wait_s), (yield Observe("time")))
            received = yield Receive(clients, "update", number, timeout_s=timeout_s)
            clients = received.senders
            if not clients:
                return None, clients
            mean = yield Compute(average, (received.data, shares(self.node, received)))
            if p_hat is None:
                p_hat = yield Compute(orthonormal, (mean, *self.of))
                payload = self.payload(p_hat) if ends_s is None else stamped(self.payload(p_hat), ends_s)
                yield Send(clients, "model", number + 1, payload, broadcast, expires_s=wait_s, expires_at_s=ends_s)
        self.start = yield Compute(warm, (mean, self.start, *self.of))
        return (yield Compute(product, (p_hat, mean, *self.of))), clients


class LowRankUpdates(Factors):
    """A client's side: its error, and the round that it is in."""

    def __init__(self, node: Node, rank: int) -> None:
        super().__init__(node, rank)
        self._error: Value | None = None  # e, None for zero
        self._round: tuple[int, Value] | None = None  # k and M, until P^ has come
        self._on_its_way: tuple[Ticket, tuple[Value, ...]] | None = None  # Q_i, and M, P^, Q_i

    def opened(self, invitation: Value) -> tuple[Value, Value]:
        """Model and Q of an invitation."""
        num_values = num_start(*self.of)
        w, q = parts_of(invitation, (invitation.shape[0] - num_values, num_values))
        return w, q

    def begin(
        self, k: int, difference: Value, q: Value, wait_s: float | None, ends_s: float | None = None
    ) -> Generator[Any, Any, None]:
        """Sends P_i of round k, once it is known what became of the last Q_i. q: Q of the round; wait_s, ends_s: as in
        `LowRankMean.collect`."""
        error = yield from self.error()
        m = difference if error is None else (yield Compute(plus, (error, difference)))
        self._error, self._round = m, (k, m)  # all of it, as long as no Q_i is delivered
        p = yield Compute(left, (m, q, *self.of))
        yield self._sending(2 * k, p, wait_s, ends_s)

    def go_on(
        self, number: int, p_hat: Value, wait_s: float | None, ends_s: float | None = None
    ) -> Generator[Any, Any, None]:
        """Sends Q_i, if that is P^ of the round that the client is in."""
        if self._round is None or number != 2 * self._round[0] + 1:
            return
        _, m = self._round
        self._round = None
        q = yield Compute(right, (m, p_hat, *self.of))
        ticket = yield self._sending(number, q, wait_s, ends_s)
        self._on_its_way = ticket, (m, p_hat, q)

    def _sending(self, number: int, factor: Value, wait_s: float | None, ends_s: float | None) -> Send:
        if ends_s is None:
            return Send([SERVER], "update", number, self.payload(factor), expires_s=wait_s)
        return Send([SERVER], "update", number, self.payload(factor), expires_at_s=closing_s(number, ends_s, wait_s))

    def error(self) -> Generator[Any, Any, Value | None]:
        """e after the last round, None for zero; waits until it is known what became of the last Q_i."""
        if self._on_its_way is not None:
            ticket, factors = self._on_its_way
            outcome = yield Outcome(ticket)
            if outcome == "unknown":
                raise RuntimeError("error feedback: the transport does not tell what became of a message")
            if outcome != "lost":
                self._error = yield Compute(residual, (*factors, *self.of))
            self._on_its_way = None
        return self._error
