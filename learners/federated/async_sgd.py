"""A server that waits for nobody: what the asynchronous algorithms with a server have in common.

The server has a model w and its version t, and M places for clients that train at the same time. A client gets w, trains, and sends back
what it has; the server uses each update when it comes, and gives the free place at once to a client that it draws among the idle
ones, with the w of that moment. Nobody who trains is interrupted. An update that was begun at version tau has the staleness
t - tau >= 0, the number of versions since, by which it counts less:

    s = 1                                                   staleness = "const"
    s = (1 + t - tau)^-staleness_exponent                   staleness = "poly"
    s = 1 if t - tau <= staleness_grace, else
        1 / (staleness_slope (t - tau - staleness_grace) + 1)     staleness = "hinge"

The staleness of a device's last update is measured ("staleness"). What arrives at one instant is used before any place is given away.

A place is free again when its client goes away, comes back, or has not answered deadline_s after it was invited. An update
that comes later is used all the same, with its staleness, unless that is above max_staleness. Each counts once.

Every message bears a number in its header, by which the server knows the version that an update began with,

    number = INVITATIONS k + how often this client has been invited in round k before

of the server's round k, which the learning rate's schedule follows.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from learners.averaging import fill
from learners.compression.codec import differences_only
from learners.compression.float32 import Float32
from learners.federated.participation import newest_download
from learners.fields import check_choice, check_count, check_number
from learners.local_sgd import LocalSgd
from learners.protocol import (
    SERVER,
    AwaitJoin,
    Compute,
    Measure,
    Message,
    Node,
    Observe,
    Program,
    Receive,
    Report,
    Send,
    Service,
    Value,
)
from learners.quantities import Count, Positive, PositiveOrZero, RoundsOrZero, Seconds

SAME_INSTANT_S = 1e-9
"""Of simulated time, for which the server takes what comes before it invites again: the clock's smallest step."""
INVITATIONS = 1_000_000
"""Numbers of one round: more than a client is ever invited in it."""
DEFAULT_EXPONENT, DEFAULT_SLOPE, DEFAULT_GRACE = 0.5, 10.0, 4


@dataclass(frozen=True)
class AsyncSgd(LocalSgd):
    """Local training as in `LocalSgd`, momentum from zero each time.
    concurrency: M, all who are there where not given. deadline_s: after which a client's place is given away; not given: none.
    staleness: "poly", "hinge" or "const". staleness_exponent: of "poly" (0.5). staleness_slope: of "hinge" (10). staleness_grace:
    versions that cost nothing with "hinge" (4). max_staleness: of updates that are used; all where not given. The counts of messages
    have those above it as used, since the server has looked at them."""

    concurrency: Count | None = None
    deadline_s: Seconds | None = None
    staleness: Literal["poly", "hinge", "const"] = "poly"
    staleness_exponent: PositiveOrZero | None = None
    staleness_slope: Positive | None = None
    staleness_grace: RoundsOrZero | None = None
    max_staleness: RoundsOrZero | None = None

    uses_server: ClassVar[bool] = True
    synchronous: ClassVar[bool] = True  # a place waits for its client
    value_dependent: ClassVar[bool] = False
    depends_on_timing: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {"staleness": ("of the last update",)}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("concurrency", self.concurrency, optional=True)
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("staleness", self.staleness, ("poly", "hinge", "const"))
        hinge = self.staleness == "hinge"
        self._only_with("staleness_exponent", self.staleness == "poly", 'staleness = "poly"', DEFAULT_EXPONENT)
        self._only_with("staleness_slope", hinge, 'staleness = "hinge"', DEFAULT_SLOPE)
        self._only_with("staleness_grace", hinge, 'staleness = "hinge"', DEFAULT_GRACE)
        check_number("staleness_exponent", self.staleness_exponent, optional=True, zero=True)
        check_number("staleness_slope", self.staleness_slope, optional=True)
        check_count("staleness_grace", self.staleness_grace, optional=True, zero=True)
        check_count("max_staleness", self.max_staleness, optional=True, zero=True)

    def program(self, node: Node) -> Program | Service:
        return self._server(node) if node.id == SERVER else Service(self._client(node))

    # -- what an algorithm says ---------------------------------------------------------------------------------------

    def versions_per_round(self, node: Node) -> int:
        """How many versions of the server's model make a round."""
        return 1

    def absorb(self, node: Node, w: Value, update: Message, weight: float) -> Generator[Any, Any, Value | None]:
        """The server's next model after an update of this weight s, None where it is the old one still. `yield from` it."""
        raise NotImplementedError

    def answer(self, node: Node, w: Value, number: int) -> Generator[Any, Any, None]:
        """A client trains from w [num_params], in round `round_of(number)`, and sends its update. `yield from` it."""
        raise NotImplementedError

    # -- server -------------------------------------------------------------------------------------------------------

    def _server(self, node: Node) -> Program:
        codec = Float32() if differences_only(self.codec) else self.codec
        w, version, per_round = node.initial_parameters, 0, self.versions_per_round(node)
        payload = None
        places = _Places(self.concurrency, self.deadline_s)
        while self.num_rounds is None or version < self.num_rounds * per_round:
            yield from places.free(node)
            payload = codec.payload(w, node) if payload is None else payload
            for number, clients in places.give(node, version, version // per_round).items():
                yield Send(clients, "model", number, payload, expires_s=self.deadline_s)
            received = yield from places.arrivals()
            for message in received:
                begun = places.returned(message)
                if begun is None:
                    continue
                yield Measure("staleness", node.tensor([float(version - begun)]), device=message.sender)
                if self.max_staleness is not None and version - begun > self.max_staleness:
                    continue
                following = yield from self.absorb(node, w, message, self.weight(version - begun))
                if following is None:
                    continue
                w, version, payload = following, version + 1, None
                yield Report("model", w, round=version // per_round - 1)
                if self.num_rounds is not None and version >= self.num_rounds * per_round:
                    return

    def weight(self, staleness: int) -> float:
        """s of an update."""
        return staleness_weight(
            self.staleness,
            staleness,
            self.staleness_exponent or 0.0,
            self.staleness_slope or DEFAULT_SLOPE,
            self.staleness_grace or 0,
        )

    # -- client -------------------------------------------------------------------------------------------------------

    def _client(self, node: Node) -> Program:
        w = node.initial_parameters  # the last copy of the global model
        while True:
            model = yield from newest_download("model", waits=False)
            w = model.data if model.mask is None else (yield Compute(fill, (model.data, model.mask, w)))
            yield Report("model", w)
            yield from self.answer(node, w, model.round)


def round_of(number: int) -> int:
    """The server's round in which it sent the invitation of this number."""
    return number // INVITATIONS


def staleness_weight(kind: str, staleness: int, exponent: float, slope: float, grace: int) -> float:
    """s of an update of this staleness, see above."""
    if kind == "const" or (kind == "hinge" and staleness <= grace):
        return 1.0
    return (1.0 + staleness) ** -exponent if kind == "poly" else 1.0 / (slope * (staleness - grace) + 1.0)


@dataclass
class _Places:
    """Who trains for the server, since which version, and until when it is waited for."""

    concurrency: int | None
    deadline_s: float | None
    taken: dict[int, tuple[int, float]] = field(
        default_factory=dict
    )  # client -> number of its invitation, until when, s
    begun: dict[int, dict[int, int]] = field(
        default_factory=dict
    )  # client -> number -> version, of what may still come
    last: dict[int, int] = field(default_factory=dict)  # client -> number of its last invitation
    now_s: float = 0.0

    def free(self, node: Node) -> Generator[Any, Any, None]:
        """Those of clients that went away or came back, or whose time is up. Where nobody is, it waits for somebody."""
        while not node.devices:
            yield AwaitJoin()
        for change in (yield Observe("membership")):
            self.taken.pop(change.node, None)
        if self.deadline_s is not None:
            self.now_s = yield Observe("time")
            self.taken = {client: place for client, place in self.taken.items() if place[1] > self.now_s}

    def give(self, node: Node, version: int, round: int) -> dict[int, list[int]]:
        """Clients for the free places, by the numbers of their invitations."""
        idle = [client for client in node.devices if client not in self.taken]
        num_free = len(idle)
        if self.concurrency is not None:
            num_free = max(0, min(num_free, self.concurrency - len(self.taken)))
        if num_free < len(idle):
            idle = sorted(node.rng.choice(idle, num_free, replace=False).tolist()) if num_free else []
        until_s = float("inf") if self.deadline_s is None else self.now_s + self.deadline_s
        invited: dict[int, list[int]] = {}
        for client in idle:
            number = self.last[client] = max(INVITATIONS * round, self.last.get(client, -1) + 1)
            invited.setdefault(number, []).append(client)
            self.taken[client] = number, until_s
            begun = self.begun.setdefault(client, {})
            begun[number] = version
            if len(begun) > MOST_BEGUN:
                del begun[next(iter(begun))]
        return invited

    def arrivals(self) -> Generator[Any, Any, tuple[Message, ...]]:
        """The next update, and what comes at the same instant; nothing where something else has happened."""
        timeout_s = None
        if self.deadline_s is not None and self.taken:
            timeout_s = max(min(until_s for _, until_s in self.taken.values()) - self.now_s, SAME_INSTANT_S)
        received = yield Receive(None, "update", count=1, timeout_s=timeout_s, until_change=True)
        if not received.messages:
            return ()
        together = yield Receive(None, "update", timeout_s=SAME_INSTANT_S)
        return (*received.messages, *together.messages)

    def returned(self, message: Message) -> int | None:
        """The version with which this update was begun; None where it came before. Frees its place."""
        client, number = message.sender, message.round
        begun = self.begun.get(client, {})
        version = begun.pop(number, None)
        if client in self.taken and self.taken[client][0] == number:
            del self.taken[client]
        return version


MOST_BEGUN = 16
"""Invitations of one client whose updates are still used when they come, the latest."""
