"""All-reduce: the exact average of all devices in every round, over a ring.

    x <- mean of all devices' x after local SGD

the upper bound of what decentralized averaging can reach, and its price. Ring all-reduce (Patarasuk and Yuan, "Bandwidth optimal
all-reduce algorithms for clusters of workstations", J. Parallel Distrib. Comput. 69 (2009)): the model is cut into n pieces;
in n - 1 steps every device passes a partial sum of one piece on to the next device and adds its own, in n - 1 more the finished
pieces go around.

Sends, per round and device: 2 (n - 1) pieces, 2 M (n - 1) / n numbers of 32 bits with float32 (pieces of ceil(M / n); the last
is filled up), and 32 bits a piece for the number of models in it.

Ours: with one local step and no momentum it is synchronous minibatch SGD over all data; several steps are local SGD. A deadline of
each step. Lost pieces: a device that gets no partial sum begins another one with its own piece, and one that gets no finished piece
keeps the partial sum that it has; each piece is divided by the number of models in it. So nobody stops, and with losses the
devices end with averages over different ones of them. A device that is away breaks the ring: the others have averages over those
between the break and themselves, until it is back and the next round has begun. A device that has fallen behind gives the rest of its
round up and goes on in the round of the one before it. Needs a fixed graph with an edge from every device i to i + 1: a ring,
directed or not, a complete or an exponential graph.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor

from learners.compression.codec import check_for_models
from learners.compression.error_feedback import plus
from learners.decentralized.peer_sgd import PeerSgd
from learners.deferred import op
from learners.fields import check_number
from learners.protocol import Compute, Node, Outcome, Payload, Program, Receive, Report, Send, Ticket, Value
from learners.quantities import Seconds

COUNT_BITS = 32


@dataclass(frozen=True)
class AllReduce(PeerSgd):
    """Local training as in `PeerSgd`. deadline_s: of a step, from the device's own send; not given: waits for the piece."""

    deadline_s: Seconds | None = None

    directed: ClassVar[bool] = True
    fixed_graph: ClassVar[bool] = True
    uses_parts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "sums of models")
        check_number("deadline_s", self.deadline_s, optional=True)

    @staticmethod
    def check_graph(graph: Any) -> None:
        """ValueError unless every device has an edge to the next."""
        n = 0 if graph is None else graph.number_of_nodes()
        if n < 2 or not all(graph.has_edge(i, (i + 1) % n) for i in range(n)):
            raise ValueError(
                'name = "all_reduce": passes pieces around a ring, from device i to i + 1, and this topology has none; "ring", '
                '"complete" or "exponential"'
            )

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        while self.num_rounds is None or k < self.num_rounds:
            trained = yield from self.train(node, x, k, self.batches(node))
            yield Report("after_local_training", trained)
            x, newer = yield from self._mean(node, k, trained)
            yield Report("model", x, round=k)
            k = max(k + 1, newer)

    def _mean(self, node: Node, k: int, x: Value) -> Generator[Any, Any, tuple[Value, int]]:
        """The mean of all devices' x, the same to the last bit for all of them; and the round that the device before this one is in,
        as far as it is known."""
        i, n = node.id, node.num_devices
        before, after, neighbors = (i - 1) % n, (i + 1) % n, node.neighbors
        pieces = [(piece, 1) for piece in (yield Compute(cut, (x, n)))]
        num_steps, newer = 2 * (n - 1), k
        for step in range(num_steps):  # partial sums go around, then the sums
            adds = step < n - 1
            number = num_steps * k + step
            away = (i - step) % n if adds else (i + 1 - (step - n + 1)) % n
            here = (away - 1) % n
            ticket = Ticket(0)
            if after in neighbors:
                payload = self._payload(node, *pieces[away])
                ticket = yield Send(after, "piece", number, payload, expires_s=self.deadline_s)
            received = yield Receive((before,), "piece", number, timeout_s=self.deadline_s)
            for message in received.messages:
                (mine, own_models), (came, models) = pieces[here], message.data
                if adds:
                    pieces[here] = (yield Compute(plus, (came, mine))), int(models) + own_models
                elif int(models) >= own_models:
                    pieces[here] = came, int(models)
            if received.newer is not None and received.newer // num_steps > k:
                newer = received.newer // num_steps
                break
            if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
                yield Outcome(ticket)
        counts = node.tensor([models for _, models in pieces])
        return (yield Compute(joined_mean, (tuple(piece for piece, _ in pieces), counts, x))), newer

    def _payload(self, node: Node, piece: Value, models: int) -> Payload:
        payload = self.codec.payload(piece, node)
        data = payload.data, node.tensor(models)
        return Payload(data, COUNT_BITS + payload.num_bits, None, payload.num_values, payload.flops)


@op(flops=lambda x, n: x.numel())
def cut(x: Tensor, n: int) -> tuple[Tensor, ...]:
    """n pieces [ceil(num_params / n)] of x [num_params], the last filled up with zeros."""
    length = ceil(len(x) / n)
    filled = torch.cat((x, x.new_zeros(n * length - len(x))))
    return filled.split(length)


@op(flops=lambda pieces, counts, x: x.numel())
def joined_mean(pieces: tuple[Tensor, ...], counts: Tensor, x: Tensor) -> Tensor:
    """The pieces, each divided by the number of models in it (counts [n]), one after the other: [num_params]."""
    return (torch.stack(pieces) / counts.unsqueeze(-1)).flatten()[: len(x)]
