"""PowerSGD: the mean of everybody's differences by two dependent exchanges of low-rank factors, with error feedback.

Vogels, Karimireddy and Jaggi, "PowerSGD: practical low-rank gradient compression for distributed optimization", NeurIPS 2019
(arXiv 1905.13727), Algorithms 1 and 2. With M_i = u_i + e_i of client i, a matrix of the model at a time (see `low_rank`), and
p_i the clients' weights:

    P_i = M_i Q,       up;     P = sum_i p_i P_i,     P^ = P with orthonormal columns,     down
    Q_i = M_i^T P^,    up;     Q = sum_i p_i Q_i,                                          down
    the result is P^ Q^T everywhere,     e_i <- M_i - P^ Q^T,     Q starts the next step

Nobody can form Q_i before P^ has come back. Tensors of one dimension travel whole, with P. As a spread implementation of it does
and unlike Algorithm 1, the error is what is left to the mean, not to the client's own product; both have the same mean.

Sends, per step and client: 32 r (n + m) bits for a matrix [n, m], and 32 a value of other tensors, up and down; in single
precision, all or nothing.
Ours: a star, where the paper has an all-reduce; the server orthonormalizes. Columns of Q that become 0 keep what they were before.
Both sides wait for each other without a deadline: made for a transport that delivers (reliability "arq" or "fountain"). Where it gives up
all the same, P and the tensors of one dimension are means over the clients whose first factor arrived, Q over those whose second did,
too; whose factor did not arrive gets no answer, and waits on.

    exchange = PowerSgd(node, rank)                                at both ends, kept from step to step
    mean = yield from exchange.average(k, u)                       a client's program
    mean = yield from exchange.serve(k, clients, shares)           the server's program
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from learners.averaging import average
from learners.compression.error_feedback import minus, plus
from learners.compression.float32 import Float32
from learners.compression.low_rank import (
    initial_right,
    left,
    matrices,
    orthonormal,
    product,
    right,
    warm,
)
from learners.fields import check_count
from learners.protocol import SERVER, Compute, Node, Payload, Receive, Send, Value


class PowerSgd:
    """One node's side: Q and its error. right: Q at first, flat; not given: Gaussian, the same at all nodes.
    Raises ValueError for a rank that is none, or a model without matrices."""

    def __init__(self, node: Node, rank: int, kind: str = "powersgd", right: Value = None) -> None:
        check_count("rank", rank)
        shapes = node.task.model.shapes
        if not matrices(shapes):
            raise ValueError(f"rank = {rank}: the model has no tensor of two dimensions to find factors of")
        self._node = node
        self._of = shapes, rank
        self._kinds = f"{kind}/left", f"{kind}/right"
        self._right = node.tensor(initial_right(shapes, rank)) if right is None else right
        self._error: Value | None = None

    @property
    def error(self) -> Value | None:
        """e, None for zero."""
        return self._error

    def average(self, k: int, u: Value) -> Generator[Any, Any, Value]:
        """Step k of a client: the mean of all u + e, as far as it could be sent."""
        p = u if self._error is None else (yield Compute(plus, (u, self._error)))
        p_hat = yield from self._asked(k, 0, (yield Compute(left, (p, self._right, *self._of))))
        q = yield from self._asked(k, 1, (yield Compute(right, (p, p_hat, *self._of))))
        mean = yield from self._finished(p_hat, q)
        self._error = yield Compute(minus, (p, mean))
        return mean

    def serve(self, k: int, clients: Sequence[int], shares: Mapping[int, float]) -> Generator[Any, Any, Value | None]:
        """Step k of the server. shares: of each client, not yet divided by their sum. None if nobody is left."""
        p_hat = q = None
        for exchange in (0, 1):
            received = yield Receive(list(clients), self._kinds[exchange], k)
            clients = received.senders
            if not clients:
                return None
            weights = self._node.tensor([shares[client] for client in clients])
            mean = yield Compute(average, (received.data, weights))
            if exchange == 0:
                p_hat = mean = yield Compute(orthonormal, (mean, *self._of))
            else:
                q = mean
            yield Send(clients, self._kinds[exchange], k, self._payload(mean), broadcast=True)
        return (yield from self._finished(p_hat, q))

    def _asked(self, k: int, exchange: int, factor: Value) -> Generator[Any, Any, Value]:
        """What comes back for a factor."""
        kind = self._kinds[exchange]
        yield Send([SERVER], kind, k, self._payload(factor))
        return (yield Receive([SERVER], kind, k)).data[0]

    def _finished(self, p_hat: Value, q: Value) -> Generator[Any, Any, Value]:
        self._right = yield Compute(warm, (q, self._right, *self._of))
        return (yield Compute(product, (p_hat, q, *self._of)))

    def _payload(self, factor: Value) -> Payload:
        return Float32().payload(factor, self._node)._replace(codec=None)
