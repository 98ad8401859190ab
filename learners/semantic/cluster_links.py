"""The messages of one device of `semantic_mcr2_clusters`: shares of V between all who hold a class, statistics between cluster mates.

All are of one kind, so that whoever hears a later one of a sender knows that earlier ones will not come. With T turns a round has T + 2
numbers, from k (T + 2) on:

    0        shares of V, of the classes that sender and receiver both hold (of all that the sender holds with anybody, if one transmission
             is for all receivers)
    1        statistics before the first turn: in the first round, and to whom has been away, or was left behind by rounds
    2 + t    statistics after turn t, to all cluster mates of its device

Statistics are V and c = n / S, 32 bits, of each class held, S the number of the sender's clusters; the receiver makes W = c V of them. What is lost
or late leaves the last value in place; a class whose V has never come whole, or whose c has never come, counts as held by nobody. Those
after the last turns of the last round are of use to nobody, but mates wait for them, as in every round.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.compression.codec import Fragments, values_received
from learners.deferred import op
from learners.protocol import Compute, Message, Node, Observe, Outcome, Payload, Receive, Received, Send, Ticket, Value
from learners.semantic.block_rate import of_others
from learners.semantic.clusters import Turns
from learners.semantic.consensus import dual_and_anchor_of_edges
from learners.semantic.moment_links import MomentLinks, classes_held

COUNT_BITS = 32
KIND = "statistics"
Sums = Generator[Any, Any, Any]


@dataclass(frozen=True)
class CountedFragments:
    """Packet losses of a message of statistics: matrices of so many bits, and behind them num_counts counts."""

    matrices: Fragments
    matrix_bits: int
    num_counts: int

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> Value:
        """Which of the numbers of the matrices survive, then which counts: [num_values]."""
        matrices = self.matrices.received_mask(arrived, packet_payload_bits, num_values - self.num_counts, first_bit)
        behind = first_bit + self.matrix_bits
        counts = values_received(arrived, packet_payload_bits, self.num_counts, COUNT_BITS, behind)
        if isinstance(matrices, np.ndarray):
            return np.concatenate([matrices, counts])
        return joined(matrices, torch.from_numpy(counts))  # of values, which may come later


@op()
def joined(matrices: Tensor, counts: Tensor) -> Tensor:
    """The mask [num_values] of one of the matrices [n] and one of the counts [num_held]."""
    return torch.cat([matrices, counts])


@op(flops=lambda last, counts, held, mask: counts.numel())
def merged_counts(last: Tensor, counts: Tensor, held: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What arrived of the matrices, bool [n], and the counts [num_classes]: the last ones, those of a message in the place of which its
    mask [n + num_held] says that they arrived. held: int64 [num_held], the classes of the message."""
    n = mask.shape[0] - held.shape[0]
    arrived = torch.zeros_like(last, dtype=torch.bool).index_copy(0, held, mask[n:])
    return mask[:n], torch.where(arrived, counts, last)


class ClusterLinks:
    """shares, statistics: what is held of others, and how own matrices become a message. broadcast: one transmission for all
    receivers. deadline_s, turn_deadline_s: of an exchange, of a turn; None: no limit."""

    def __init__(
        self,
        node: Node,
        turns: Turns,
        shares: MomentLinks,
        statistics: MomentLinks,
        broadcast: bool,
        deadline_s: float | None,
        turn_deadline_s: float | None,
    ) -> None:
        self._node, self._turns = node, turns
        self._shares, self._statistics = shares, statistics
        self._broadcast = broadcast
        self._deadline_s, self._turn_deadline_s = deadline_s, turn_deadline_s
        self._counts_of = node.class_counts_of
        self._held = classes_held(self._counts_of(node.id))
        self._shared = (
            sum(np.minimum(self._counts_of(i), 1) for i in range(node.num_devices)) > 1
        )  # [num_classes] by two or more
        self._mates = turns.mates(node.id)
        self._count = node.tensor(self._counts_of(node.id) / turns.num_clusters(node.id))  # c [num_classes]
        self._counts: dict[int, Value] = {}  # c of mates that have been heard, 0 of classes of which it has never come
        self._own: dict[int, tuple[Value, Value]] = {}  # V as each receiver of a share holds it, and of which classes
        self._here: tuple[int, ...] = ()
        self._last = -1  # the round of the last exchange
        self._ticket = Ticket(0)
        self._further = 0  # in which round to go on after this one
        self.missed_turns = 0

    @property
    def unheard(self) -> bool:
        """Nothing has ever come of a cluster mate."""
        return any(mate not in self._counts for mate in self._mates)

    @property
    def zeros(self) -> Tensor:
        """[num_classes, d, d]."""
        return self._shares.zeros

    def sums(self, x: Value) -> Sums:
        """See `MomentLinks.sums`."""
        return (yield from self._shares.sums(x))

    # -- shares of V ----------------------------------------------------------------------------------------------------

    def exchange(self, k: int, sums: Value) -> Sums:
        """Sends the shares of round k, and statistics to whom they are due; takes what comes."""
        changes = yield Observe("membership")
        self._here, hears = self._node.peers(k)
        receivers = self._sharing(self._here)
        yield from self._share(k, sums, receivers)
        behind = not k or k != self._last + 1
        self._last, self._further = k, k + 1
        back = {change.node for change in changes}
        due = [mate for mate in self._present_mates() if behind or mate in back]
        if due:
            yield from self.tell(k, -1, sums, due)
        senders = self._sharing(hears)
        if senders:
            left = len(self._turns.owners) - 1 - self._turns.of(self._node.id)[-1] if k else 0
            received = yield from self._receive(senders, self._number(k, 0), self._patience_s(left))
            if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
                yield Outcome(self._ticket)
        if not k and self._present_mates():
            yield from self._receive(self._present_mates(), self._number(k, 1), self._deadline_s)

    def consensus(self, y: Value, dual_step: float) -> Sums:
        """Y after the dual step, and T, m, c of the objective."""
        edges = []
        for sender in sorted(self._own):
            v, known = yield from self._shares.tables((sender,))
            if v:
                edges.append((*self._own[sender], v[0], known[0]))
        if not edges:
            zeros = self._shares.zeros
            return y, zeros, zeros[:, 0, 0], zeros[:, 0, 0]
        own, own_known, v, known = map(list, zip(*edges, strict=True))
        return (yield Compute(dual_and_anchor_of_edges, (y, dual_step, own, own_known, v, known)))

    def _share(self, k: int, sums: Value, receivers: Sequence[int]) -> Sums:
        by_classes: dict[tuple[int, ...], list[int]] = {}
        for receiver in receivers:
            by_classes.setdefault(self._classes(self._node.id, receiver), []).append(receiver)
        self._own = {}
        for classes, to in by_classes.items():
            payload = yield from self._shares.payload(sums, classes)
            self._ticket = yield from self._send(to, self._number(k, 0), payload, self._patience_s(0))
            own = yield from self._shares.own(payload, classes)
            self._own |= dict.fromkeys(to, own)

    def _sharing(self, devices: Sequence[int]) -> tuple[int, ...]:
        """Those that hold a class that this device holds."""
        return tuple(j for j in devices if (self._counts_of(j) * self._counts_of(self._node.id)).any())

    def _classes(self, sender: int, receiver: int) -> tuple[int, ...]:
        """Of a share."""
        of_both = self._shared if self._broadcast else self._counts_of(receiver)
        return tuple(classes_held(self._counts_of(sender) * of_both))

    # -- turns ----------------------------------------------------------------------------------------------------------

    def tell(self, k: int, turn: int, sums: Value, to: Sequence[int] | None = None) -> Sums:
        """Statistics after a turn (-1: before the first) to these mates, or to all."""
        to = self._present_mates() if to is None else to
        if to:
            payload = yield from self._statistics.payload(sums, self._held)
            number = len(self._held)
            payload = payload._replace(
                data=(payload.data, self._count),
                num_bits=payload.num_bits + COUNT_BITS * number,
                codec=payload.codec and CountedFragments(payload.codec, payload.num_bits, number),
                num_values=payload.num_values + number,
            )
            self._ticket = yield from self._send(to, self._number(k, 2 + turn), payload, self._patience_s(1))

    def listen(self, k: int, turn: int, since: int) -> Sums:
        """Takes the statistics of a mate after its turn. since: the turn that this device has seen last."""
        owner = self._turns.owners[turn]
        received = Received((), missing=(owner,))
        if owner in self._here:
            number = self._number(k, 2 + turn)
            received = yield from self._receive((owner,), number, self._patience_s(turn - since, exchanges=0))
        self.missed_turns += len(received.missing)

    def of_others(self, turn: int) -> Sums:
        """W [num_classes, d, d] and c [num_classes] of the other members of the cluster whose turn it is."""
        tables: list[Value] = []
        known: list[Value] = []
        counts: list[Value] = []
        zeros = self._statistics.zeros
        for mate in self._turns.others[turn]:
            v, flags = yield from self._statistics.tables((mate,))
            tables += v
            known += flags
            counts.append(self._counts.get(mate, zeros[:, 0, 0]))
        if not tables:
            return zeros, zeros[:, 0, 0]
        return (yield Compute(of_others, (zeros, tables, known, counts)))

    def next_round(self, num_rounds: int | None) -> int:
        """In which the device goes on: the next one, or that of the others, if it was left behind; not after the last one, in which they
        may wait for it."""
        last = self._further if num_rounds is None else num_rounds - 1
        return max(self._last + 1, min(self._further, last))

    # -- both -----------------------------------------------------------------------------------------------------------

    def _present_mates(self) -> tuple[int, ...]:
        return tuple(mate for mate in self._mates if mate in self._here)

    @property
    def _numbers(self) -> int:
        return len(self._turns.owners) + 2

    def _number(self, k: int, exchange: int) -> int:
        return k * self._numbers + exchange

    def _patience_s(self, turns: int, exchanges: int = 1) -> float | None:
        if self._deadline_s is None:
            return None
        return exchanges * self._deadline_s + turns * (self._turn_deadline_s or self._deadline_s)

    def _send(self, to: Sequence[int], number: int, payload: Payload, expires_s: float | None) -> Sums:
        return (yield Send(tuple(to), KIND, number, payload, self._broadcast, expires_s=expires_s))

    def _receive(self, senders: Sequence[int], number: int, timeout_s: float | None) -> Sums:
        received = yield Receive(senders, KIND, number, timeout_s=timeout_s, late=True)
        for message in (*received.late, *received.messages):
            if message.round % self._numbers:
                yield from self._keep_statistics(message)
            else:
                yield from self._shares.receive(message, self._classes(message.sender, self._node.id))
        if received.newer is not None:
            self._further = max(self._further, -(-received.newer // self._numbers))
        return received

    def _keep_statistics(self, message: Message) -> Sums:
        values, counts = message.data
        sender, mask = message.sender, message.mask
        classes = classes_held(self._counts_of(sender))
        if mask is not None:
            last = self._counts.get(sender, torch.zeros_like(self._count))
            held = torch.tensor(classes, dtype=torch.int64)
            mask, counts = yield Compute(merged_counts, (last, counts, held, mask))
        self._counts[sender] = counts
        yield from self._statistics.receive(message._replace(data=values, mask=mask), classes)
