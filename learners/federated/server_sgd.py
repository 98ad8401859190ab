"""Rounds of a server and its clients: what the synchronous algorithms with a server have in common.

In round k the server invites clients, those train from what it sent and answer, and it goes on with what came back in time:

    clients  = yield from self.invite(node, k, payload)         a server's program: who takes part, and what they get
    received = yield from self.collect(node, clients, k)        their updates
    shares   = self.shares(node, received)                      their weights, not yet divided by their sum

    download = yield from self.download()                       a client's program
    ...
    yield self.upload(k, payload)

An algorithm is `server(node)` and `client(node)`, two programs of these.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from learners.federated.participation import newest_download, sample_clients
from learners.federated.selection import POLICIES, Selection
from learners.fields import check_choice, check_count, check_number
from learners.local_sgd import LocalSgd
from learners.protocol import (
    SERVER,
    AwaitJoin,
    Measure,
    Message,
    Node,
    Payload,
    Program,
    Receive,
    Received,
    Send,
    Service,
)
from learners.quantities import Count, Rounds, Seconds

DEFAULT_FAIRNESS_ROUNDS = 10


@dataclass(frozen=True)
class ServerSgd(LocalSgd):
    """Local training as in `LocalSgd`; the schedule follows the server's rounds, momentum starts from zero in each.
    clients_per_round: K, all where not given. deadline_s: of a round, from the server's send; not given: waits for everyone.
    server_weights: "samples" (n_i of client i) or "uniform". downlink: "unicast" or "broadcast". selection: which K clients, see
    `learners.federated.selection`. fairness_rounds: T of "proportional_fair" (10). late: what becomes of an update that comes after
    its round's deadline, "discard" or "use": in the round in which it comes, as if it were of that, where its client brings
    no newer one; the staleness of what was used is measured, in rounds."""

    clients_per_round: Count | None = None
    deadline_s: Seconds | None = None
    server_weights: Literal["samples", "uniform"] = "samples"
    downlink: Literal["unicast", "broadcast"] = "unicast"
    selection: Literal["random", "round_robin", "best_channel", "proportional_fair", "age"] = "random"
    fairness_rounds: Rounds | None = None
    late: Literal["discard", "use"] = "discard"

    uses_server: ClassVar[bool] = True
    synchronous: ClassVar[bool] = True
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {"staleness": ("of the last update",)}

    download_kind: ClassVar[str] = "model"
    """Of the server's messages; those of clients are "update"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("clients_per_round", self.clients_per_round, optional=True)
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("server_weights", self.server_weights, ("samples", "uniform"))
        check_choice("downlink", self.downlink, ("unicast", "broadcast"))
        check_choice("selection", self.selection, POLICIES)
        if self.selection != "random" and self.clients_per_round is None:
            raise ValueError(f"selection = {self.selection!r}: only with clients_per_round; else all are invited")
        fair = self.selection == "proportional_fair"
        self._only_with("fairness_rounds", fair, 'selection = "proportional_fair"', DEFAULT_FAIRNESS_ROUNDS)
        check_count("fairness_rounds", self.fairness_rounds, optional=True)
        check_choice("late", self.late, ("discard", "use"))
        if self.late == "use" and self.deadline_s is None:
            raise ValueError("late = 'use': only with deadline_s; without it the server waits for everyone")

    def program(self, node: Node) -> Program | Service:
        return self.server(node) if node.id == SERVER else Service(self.client(node))

    def server(self, node: Node) -> Program:
        """The server's program, which closes the rounds."""
        raise NotImplementedError

    def client(self, node: Node) -> Program:
        """A client's program, which goes on as long as it is asked."""
        raise NotImplementedError

    # -- a server's program -------------------------------------------------------------------------------------------

    def invite(self, node: Node, k: int, payload: Payload, number: int | None = None) -> Generator[Any, Any, list[int]]:
        """The clients of round k, ascending, once they have been sent `payload`. number: of the message, where that is not k.
        `yield from` it."""
        clients = yield from self.chosen(node)
        broadcast = self.downlink == "broadcast"
        number = k if number is None else number
        yield Send(clients, self.download_kind, number, payload, broadcast=broadcast, expires_s=self.deadline_s)
        return clients

    def collect(self, node: Node, clients: list[int], k: int) -> Generator[Any, Any, Received]:
        """The updates of round k, of all clients or of those who made it until the deadline, with late ones of earlier rounds where
        those are used. `yield from` it."""
        uses_late = self.late == "use"
        received: Received = yield Receive(clients, "update", k, timeout_s=self.deadline_s, late=uses_late)
        if uses_late:
            late = [message for message in received.late if message.sender not in received.senders]
            messages = sorted([*received.messages, *late], key=lambda message: message.sender)
            received = received._replace(messages=tuple(messages), late=())
            for message in messages:
                yield Measure("staleness", node.tensor([float(k - message.round)]), device=message.sender)
        if "selection" in node.state:
            node.state["selection"].answered(received.senders, k)
        return received

    def chosen(self, node: Node) -> Generator[Any, Any, list[int]]:
        """The clients of a round, ascending. Where nobody is, it waits for somebody. `yield from` it."""
        if self.selection == "random" or self.clients_per_round is None:
            return (yield from sample_clients(node, self.clients_per_round))
        while not node.devices:
            yield AwaitJoin()
        if "selection" not in node.state:
            node.state["selection"] = Selection(self.selection, self.fairness_rounds or DEFAULT_FAIRNESS_ROUNDS)
        return (yield from node.state["selection"].choose(node, self.clients_per_round))

    def shares(self, node: Node, received: Received) -> Tensor:
        """[m] n_i of the senders, or ones, in the order of the messages."""
        by_samples = self.server_weights == "samples"
        return node.tensor([node.samples_of[sender] if by_samples else 1 for sender in received.senders])

    # -- a client's program -------------------------------------------------------------------------------------------

    def download(self) -> Generator[Any, Any, Message]:
        """The server's next message, the newest if there are several. `yield from` it."""
        return (yield from newest_download(self.download_kind, waits=self.deadline_s is None))

    def upload(self, k: int, payload: Payload) -> Send:
        """A client's update of round k."""
        return Send([SERVER], "update", k, payload, expires_s=self.deadline_s)
