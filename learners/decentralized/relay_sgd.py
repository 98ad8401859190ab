"""RelaySGD: sums of models are relayed along a tree, so that everybody gets the exact average, some rounds late.

Vogels et al., "RelaySum for decentralized deep learning on heterogeneous data", NeurIPS 2021 (arXiv 2110.04175), Algorithm 1. In
every round, at device i of n with neighbors j in a tree:

    h_i      <- x_i after local SGD
    m_{i->j} <- h_i + sum_{k != j} m_{k->i}  of the last round,     c_{i->j} <- 1 + sum_{k != j} c_{k->i} likewise
    exchange (m, c) with all neighbors
    x_i      <- 1/n (h_i + sum_j m_{j->i} + (n - 1 - sum_j c_{j->i}) f)

f fills in for models that are not in the sums yet: the common initial model (fill = "initial", as the authors' code has it) or h_i
(fill = "own", as their description has it).

Sends, per round, another message to each neighbor: 32 * num_params bits with float32 and 32 bits more for the count.

The paper's: all of this. Ours: several local steps, momentum and weight decay within the half step, a deadline.
Lost messages: a sum that is missing is left out with its count, in this round's average and in the next round's sums; the fill
takes its place. That is the authors' rule for lossy links; a link that stays broken cuts the average in two. Where sums are
missing often, fill = "initial" pulls everybody back to the start by the share of the models that are missing; "own" does not. Of a message that
arrives in part nothing is used, since the count is of whole sums. Needs a fixed graph that is a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from learners.compression.codec import check_for_models
from learners.decentralized.peer_sgd import PeerSgd
from learners.deferred import op
from learners.fields import check_choice, check_number
from learners.protocol import Compute, Node, Outcome, Payload, Program, Receive, Received, Report, Send, Ticket, Value
from learners.quantities import Seconds

COUNT_BITS = 32


@dataclass(frozen=True)
class RelaySgd(PeerSgd):
    """Local training as in `PeerSgd`. deadline_s: of a round, from the device's own send; not given: waits for all neighbors.
    fill: "initial" or "own"."""

    deadline_s: Seconds | None = None
    fill: Literal["initial", "own"] = "initial"

    fixed_graph: ClassVar[bool] = True
    uses_parts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "sums of models")
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("fill", self.fill, ("initial", "own"))

    @staticmethod
    def check_graph(graph: Any) -> None:
        """ValueError unless the graph is a tree."""
        if graph is None or graph.number_of_edges() != graph.number_of_nodes() - 1:
            raise ValueError(
                'name = "relay_sgd": relays sums along a tree, and this topology is none; "chain" or "binary_tree", or a file '
                "with a tree"
            )

    def program(self, node: Node) -> Program:
        initial = x = node.initial_parameters  # [num_params]
        sums: dict[int, tuple[Value, int]] = {}  # neighbor -> its last message, if it was of the last round
        k, num_devices = 0, node.num_devices
        while self.num_rounds is None or k < self.num_rounds:
            neighbors = node.neighbors
            half = yield from self.train(node, x, k, self.batches(node))
            yield Report("after_local_training", half)
            ticket = Ticket(0)
            for j in neighbors:
                others = [sums[i] for i in sums if i != j]
                ticket = yield from self._relay(node, j, k, half, others)
            received = Received(())
            if neighbors:
                received = yield Receive(neighbors, "sum", k, timeout_s=self.deadline_s)
            sums = {message.sender: (message.data[0], int(message.data[1])) for message in received.messages}
            fill = initial if self.fill == "initial" else half
            relayed = sum(count for _, count in sums.values())
            missing = num_devices - 1 - relayed
            x = yield Compute(
                relayed_mean, (half, [m for m, _ in sums.values()], fill, node.tensor(missing), num_devices)
            )
            yield Report("model", x, round=k)
            if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
                yield Outcome(ticket)
            k = k + 1 if received.newer is None else received.newer

    def _relay(self, node: Node, to: int, k: int, half: Value, others: Sequence[tuple[Value, int]]) -> Any:
        """Sends m_{i->j} and c_{i->j}; `yield from` it for the ticket."""
        m, count = half, 1 + sum(count for _, count in others)
        if others:
            m = yield Compute(add, (half, [m for m, _ in others]))
        payload = self.codec.payload(m, node)
        payload = Payload(
            (payload.data, node.tensor(count)), COUNT_BITS + payload.num_bits, None, payload.num_values, payload.flops
        )
        return (yield Send(to, "sum", k, payload, expires_s=self.deadline_s))


@op(ragged=("others",), flops=lambda x, others: others.numel())
def add(x: Tensor, others: Tensor) -> Tensor:
    """x + sum_k m_k. x: [num_params]; others: [m, num_params]."""
    return x + others.sum(0)


@op(ragged=("sums",), flops=lambda half, sums, fill, missing, n: sums.numel() + 4 * half.numel())
def relayed_mean(half: Tensor, sums: Tensor, fill: Tensor, missing: Tensor, n: int) -> Tensor:
    """1/n (h + sum_j m_j + missing f). half, fill: [num_params]; sums: [m, num_params]; missing: []."""
    return (half + sums.sum(0) + missing * fill) / n
