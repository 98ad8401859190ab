"""What synchronous learners between neighbors have in common: send to all of them, wait for theirs, weigh what came.

A round k of a device, in the words of an algorithm's program:

    sent  = yield from self.publish(node, k, z)        one transmission to all present neighbors
    heard = yield from self.gather(node, sent)         theirs of round k, or what came before the deadline
    x     = yield from heard.mix(base, z)              base + sum_j w_ij (z_j - z)
            or heard.combine(then, z, ...)             then(z, sum_j w_ij (z_j - z), ...), see `combination`
    k     = yield from self.close(node, x, heard)      reports "model"; the number of the next round

The weight of a neighbor whose message is missing, lost or later than the deadline, returns to the device itself, coordinate by
coordinate where the transport delivers parts of a message; this keeps the average of the devices only if both ends miss each
other. Nothing makes them: broadcasts are not acknowledged, and the last acknowledgement of a unicast can be lost itself. The neighborhood may change
from round to round: a round is with those who were present when it began.

A device that has been away goes on in the round that its neighbors are in by now. Others count rounds of their own, so those that
were apart are in different rounds when they meet, and messages of another round are of no use. With round_clock = "newest" rounds
are counted by a logical clock (Lamport 1978) instead: after each, a device goes on in the newest that it has heard of. The rounds between
are left out, and whoever counts fastest, such as a device on its own, which waits for nobody, sets the count of all: so neither the
end of a run nor the learning rate may depend on it. A device whose local work takes longer than the rounds of the others stays late.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from learners.averaging import full_masks, mix, mix_masked
from learners.compression.codec import check_for_models
from learners.decentralized.combination import Combination
from learners.decentralized.peer_sgd import PeerSgd
from learners.fields import check_choice, check_number
from learners.mixing import FILE, MIXING_WEIGHTS, mixing_matrix
from learners.protocol import Compute, Node, Outcome, Payload, Receive, Received, Report, Send, Ticket, Value
from learners.quantities import Seconds

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Sent:
    """What a device has sent in round k, to whom, and whom it hears then. number: that of the exchange, see `NeighborSgd.exchanges`."""

    k: int
    kind: str
    neighbors: tuple[int, ...]
    heard: tuple[int, ...]
    ticket: Ticket
    number: int


@dataclass(frozen=True)
class Heard:
    """What came back. weights: [num_messages] of the messages, in their order."""

    sent: Sent
    received: Received
    weights: torch.Tensor

    @property
    def values(self) -> list[Value]:
        return self.received.data

    def mix(self, base: Value, own: Value) -> Generator[Compute, Any, Value]:
        """base + sum_j w_ij (z_j - own), over what arrived; base where nothing did. All: [num_values]."""
        if not self.received.messages:
            return base
        masks = full_masks(self.received)
        if masks is None:
            return (yield Compute(mix, (base, own, self.values, self.weights)))
        return (yield Compute(mix_masked, (base, own, self.values, self.weights, masks)))

    def combine(self, combination: Combination, own: Value, *args: Any) -> Generator[Compute, Any, Any]:
        """The results of `combination`, of what arrived against own [num_values]."""
        masks = full_masks(self.received)
        if masks is None:
            complete = len(self.values) == len(self.sent.heard)
            return (yield Compute(combination.whole, (own, self.values, self.weights, complete, *args)))
        num_neighbors = self.weights.new_tensor(len(self.sent.heard))
        return (yield Compute(combination.masked, (own, self.values, self.weights, masks, num_neighbors, *args)))


@dataclass(frozen=True)
class NeighborSgd(PeerSgd):
    """Local training as in `PeerSgd`.
    deadline_s: of a round, from the device's own send; not given: waits for all neighbors. exchange: one transmission to all
    neighbors, or one to each.
    mixing_weights: "metropolis", "uniform", or "file", a matrix that the scenario names, see `learners.mixing`.
    round_clock: how rounds are counted, each device its "own" or by the "newest" heard of, see above."""

    deadline_s: Seconds | None = None
    exchange: Literal["broadcast", "unicast"] = "broadcast"
    mixing_weights: Literal["metropolis", "uniform", "file"] = "metropolis"
    round_clock: Literal["own", "newest"] = "own"

    leaves_out_rounds: ClassVar[bool] = False
    """Nothing that it keeps belongs to consecutive rounds, so that `round_clock` may be "newest"."""
    exchanges: ClassVar[int] = 1
    """Of a round; exchange e of round k bears the number k * exchanges + e. So whoever hears of a later exchange knows that a neighbor
    is past all earlier ones."""
    takes_matrix: ClassVar[Literal["row stochastic", "doubly stochastic", "symmetric"] | None] = "doubly stochastic"
    """What its theory asks of a matrix from a file: rows that sum to 1, columns, too, and w_ij = w_ji, too. None: its weights are its
    own."""
    negative_weights: ClassVar[bool] = False
    """Whether such a matrix may have entries below 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_codec()
        self.check_exchange()

    def check_codec(self) -> None:
        """ValueError for a codec that what is sent is not made for."""
        check_for_models(self.codec)

    def check_exchange(self) -> None:
        """ValueError for the keys of this class."""
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("exchange", self.exchange, ("broadcast", "unicast"))
        check_choice("mixing_weights", self.mixing_weights, (*MIXING_WEIGHTS, FILE))
        if self.mixing_weights == FILE and self.takes_matrix is None:
            raise ValueError('mixing_weights = "file": the weights of this method are its own; leave this out')
        check_choice("round_clock", self.round_clock, ("own", "newest"))
        if self.round_clock == "newest":
            self._check_newest()

    def _check_newest(self) -> None:
        if not self.leaves_out_rounds:
            raise ValueError('round_clock = "newest": what this method keeps belongs to consecutive rounds; "own"')
        if self.num_rounds is not None:
            raise ValueError(
                'round_clock = "newest": leaves out rounds, so stop by simulated_s, air_bits or energy_j, not by rounds'
            )
        if self.learning_rate_schedule != "constant" or self.warmup_rounds:
            raise ValueError(
                'round_clock = "newest": leaves out rounds, which the learning rate may not follow; "constant", no warmup_rounds'
            )

    def check_graph(self, graph: nx.Graph | None) -> None:
        """ValueError where the mixing matrix of a fixed graph does not do for the method (its `check_matrix`); of a graph that
        changes nothing is known."""
        check = getattr(self, "check_matrix", None)
        if check is not None and graph is not None and self.mixing_weights != FILE:
            check(mixing_matrix(graph, MIXING_WEIGHTS[self.mixing_weights]))

    def goes_on(self, k: int) -> bool:
        """Whether there is a round k."""
        return self.num_rounds is None or k < self.num_rounds

    def publish(
        self, node: Node, k: int, z: Value, kind: str = "model", exchange: int = 0
    ) -> Generator[Any, Any, Sent]:
        """z [num_values], encoded by the codec, to all present neighbors, in an exchange of round k."""
        return (yield from self.publish_payload(node, k, self.codec.payload(z, node), kind, exchange))

    def publish_payload(
        self, node: Node, k: int, payload: Payload, kind: str = "model", exchange: int = 0
    ) -> Generator[Any, Any, Sent]:
        """As `publish`, of something that is encoded already."""
        (neighbors, heard), ticket, number = node.peers(k), Ticket(0), k * self.exchanges + exchange
        if neighbors:
            broadcast = self.exchange == "broadcast"
            ticket = yield Send(neighbors, kind, number, payload, broadcast, expires_s=self.deadline_s)
        return Sent(k, kind, neighbors, heard, ticket, number)

    def gather(self, node: Node, sent: Sent) -> Generator[Any, Any, Heard]:
        """What the neighbors sent in the same round."""
        received = Received(())
        if sent.heard:
            received = yield Receive(sent.heard, sent.kind, sent.number, timeout_s=self.deadline_s)
        degrees = [message.degree for message in received.messages]
        weights = self.weights_of(node, len(sent.neighbors), received.senders, degrees)
        return Heard(sent, received, node.tensor(weights))

    def weights_of(
        self, node: Node, own_degree: int, senders: Sequence[int], sender_degrees: Sequence[int]
    ) -> list[float]:
        """The mixing weights of these neighbors, in their order."""
        if self.mixing_weights == FILE:
            return [node.mixing_row[sender] for sender in senders]
        return MIXING_WEIGHTS[self.mixing_weights](own_degree, sender_degrees)

    def close(self, node: Node, x: Value, heard: Heard, metric: Any = None) -> Generator[Any, Any, int]:
        """Reports x as the model after this round and says which round is next. metric: as of `Report`."""
        k, received = heard.sent.k, heard.received
        yield Report("model", x, metric, round=k)
        if received.alone:  # back from an absence, not counted in yet: no faster than its messages leave
            yield Outcome(heard.sent.ticket)
        heard_of = received.newest if self.round_clock == "newest" else received.newer
        return k + 1 if heard_of is None else max(k + 1, -(-heard_of // self.exchanges))
