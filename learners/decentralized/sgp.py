"""SGP: stochastic gradient push, averaging over links that need not work both ways.

Assran et al., "Stochastic gradient push for distributed deep learning", ICML 2019, Algorithm 1 (arXiv 1811.10792); push-sum:
Kempe, Dobra and Gehrke, FOCS 2003. Every device has a biased model x_i, a weight v_i (1 at first) and z_i = x_i / v_i. In
every round:

    x_i <- x_i - lr * g_i(z_i)
    send the shares (x_i, v_i) / (1 + d_i) to all d_i whom it reaches, and keep one
    (x_i, v_i) <- own share + all that arrive,     z_i <- x_i / v_i

so that columns of the mixing matrix sum to 1: sum_i x_i and sum_i v_i = n are kept, whoever hears whom.

Sends, per round: 32 * num_params bits with float32 and 32 bits more for the weight, once for all (exchange = "broadcast").

The paper's: all of this; `topology = "one_peer_exponential"` is its graph. Ours: several local steps x_i <- x_i + (z_i' - z_i),
momentum and weight decay within them, a deadline.

Lost messages would take their mass along. With recovers = true what travels is not a share but the sum of all shares that were
ever meant for the receiver, which takes the difference from the last such sum that it got: Vaidya, Hadjicostis and
Dominguez-Garcia, "Robust average consensus over packet dropping links", CDC 2012; Hadjicostis, Vaidya and Dominguez-Garcia, IEEE
TAC 61 (2016). So what is lost comes with the next message that arrives, and the mass that was sent is the mass that arrived
and what is still on its way. That holds for a sum of whatever round, so one that comes too late for its round is used in the
next: else a device whose sums come late (it has been away, and the others are rounds further) would give its mass away and get
none, and with a small v_i its steps in z_i = x_i / v_i would grow. Of a message that arrives in part nothing is used: its
share would be of some coordinates.
Receivers that have missed different rounds get messages of their own. The sums grow by one model a round: in float32 they lose a
decimal digit in ten times the rounds, 10^-4 of a model after 1,000. What another codec takes of them grows likewise, until it is
larger than the shares (float16: within hundreds of rounds; 8 bits: tens), and v_i with it: such codecs are refused here.
With recovers = false (the paper's, for links that lose
nothing) shares travel, and what is lost or late is lost: z_i stays a weighted average, the mass shrinks, the steps grow; devices
that come and go take it apart within some rounds. What a codec takes of a share is of that share's size, so that any codec for
models will do.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from learners.compression.codec import check_for_models
from learners.compression.error_feedback import plus
from learners.compression.float32 import Float32
from learners.decentralized.neighbor_sgd import NeighborSgd
from learners.deferred import op
from learners.protocol import Compute, Node, Outcome, Payload, Program, Receive, Received, Report, Send, Ticket, Value


@dataclass(frozen=True)
class Sgp(NeighborSgd):
    """mixing_weights has no meaning here: shares are even, and "file" is refused. recovers: see above."""

    recovers: bool = True

    directed: ClassVar[bool] = True
    uses_parts: ClassVar[bool] = False
    takes_matrix = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "biased models")
        if self.recovers and self.codec is not None and not isinstance(self.codec, Float32):
            raise ValueError(
                f"codec = {type(self.codec).__name__}: the sums that make up for lost messages grow with every round, and what this "
                "codec takes of them, too; float32, or recovers = false, which is for links that lose nothing"
            )

    def program(self, node: Node) -> Program:
        z, k = node.initial_parameters, 0  # z: [num_params]
        mass = yield Compute(with_weight, (z,))  # [num_params + 1]: x and v
        sums: dict[int, Value] = {}  # receiver -> all that was meant for it
        known: dict[
            int, tuple[int, Value]
        ] = {}  # sender -> the round of the last of its sums that arrived, and that sum
        while self.goes_on(k):
            trained = yield from self.train(node, z, k, self.batches(node))
            yield Report("after_local_training", trained)
            to, heard = node.peers(k)
            share = yield Compute(shared_out, (mass, z, trained, node.tensor(1 / (1 + len(to)))))
            ticket = yield from self._push(node, k, to, share, sums)
            received = Received(())
            if heard:
                received = yield Receive(heard, "share", k, timeout_s=self.deadline_s, late=self.recovers)
            newest = {m.sender: m for m in (*received.late, *received.messages)}
            got = [m for m in newest.values() if m.sender not in known or m.round > known[m.sender][0]]
            before = [known[m.sender][1] for m in got if m.sender in known]
            if self.recovers:
                known |= {m.sender: (m.round, m.data) for m in got}
            mass, z = yield Compute(collected, (share, [m.data for m in got], before))
            yield Report("model", z, round=k)
            if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
                yield Outcome(ticket)
            k = k + 1 if received.newer is None else received.newer

    def _push(
        self, node: Node, k: int, to: tuple[int, ...], share: Value, sums: dict[int, Value]
    ) -> Generator[Any, Any, Ticket]:
        """One message to all who have been sent the same so far."""
        groups: dict[int, list[int]] = {}
        for j in to:
            groups.setdefault(id(sums.get(j)), []).append(j)
        ticket = Ticket(0)
        for group in groups.values():
            sent, before = share, sums.get(group[0])
            if before is not None:
                sent = yield Compute(plus, (before, share))
            if self.recovers:
                sums |= dict.fromkeys(group, sent)
            payload = self.codec.payload(sent, node)
            payload = Payload(payload.data, payload.num_bits, None, payload.num_values, payload.flops)
            broadcast = self.exchange == "broadcast"
            ticket = yield Send(tuple(group), "share", k, payload, broadcast, expires_s=self.deadline_s)
        return ticket


@op(flops=lambda z: z.numel())
def with_weight(z: Tensor) -> Tensor:
    """(z, 1) [num_params + 1]."""
    return torch.cat((z, torch.ones_like(z[:1])))


@op(flops=lambda mass, z, trained, part: 3 * mass.numel())
def shared_out(mass: Tensor, z: Tensor, trained: Tensor, part: Tensor) -> Tensor:
    """part (x + z' - z, v). mass: [num_params + 1]; z, trained: [num_params]; part: []."""
    return part * torch.cat((mass[:-1] + (trained - z), mass[-1:]))


@op(ragged=("arrived", "before"), flops=lambda share, arrived, before: arrived.numel() + before.numel() + share.numel())
def collected(share: Tensor, arrived: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """The new mass (x, v) and z = x / v: own share and what arrived, less what of it had arrived before. share:
    [num_params + 1]; arrived, before: [m, num_params + 1], not of the same m."""
    mass = share + arrived.sum(0) - before.sum(0)
    return mass, mass[:-1] / mass[-1]
