"""Rounds of a server and its clients: what the synchronous algorithms with a server have in common.

In round k the server invites clients, those train from what it sent and answer, and it goes on with what came back in time:

    clients  = yield from self.invite(node, k, payload)         a server's program: who takes part, and what they get
    received = yield from self.collect(node, clients, k)        their updates
    shares   = self.shares(node, received)                      their weights, not yet divided by their sum

    download = yield from self.download(node)                   a client's program
    ...
    yield from self.upload(node, k, payload)

An algorithm is `server(node)` and `client(node)`, two programs of these.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from learners.averaging import fill
from learners.federated import candidates, header, round_end
from learners.federated.candidates import ASKING, NOTHING
from learners.federated.participation import newest_download, next_of_each, sample_clients
from learners.federated.selection import POLICIES, Selection
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
    Payload,
    Program,
    Receive,
    Received,
    Send,
    Service,
    Ticket,
    Value,
)
from learners.quantities import Count, Rounds, Seconds

DEFAULT_FAIRNESS_ROUNDS = 10


@dataclass(frozen=True)
class ServerSgd(LocalSgd):
    """Local training as in `LocalSgd`; the schedule follows the server's rounds, momentum starts from zero in each.
    clients_per_round: K, all where not given. deadline_s: of a round, from the server's send; not given: waits for everyone. An upload is
    dropped when it has been under way for as long (with late = "abort" when the round ends).
    server_weights: "samples" (n_i of client i) or "uniform". downlink: "unicast" or "broadcast". selection: which K clients, see
    `learners.federated.selection` and, for "deadline" and "loss", `learners.federated.candidates`. fairness_rounds: T of
    "proportional_fair" (10). candidates_per_round: C of those that ask, all for "deadline" and 2 K for "loss" where not given.
    report_deadline_s: until when candidates' reports count, from the server's asking (deadline_s). late: what becomes of an update that
    comes after its round's deadline, "discard" or "use": in the round in which it comes, as if it were of that, where its client brings
    no newer one; the staleness of what was used is measured, in rounds. "abort": its client takes it off the air then, see
    `learners.federated.round_end`; local training goes on to its end."""

    clients_per_round: Count | None = None
    deadline_s: Seconds | None = None
    server_weights: Literal["samples", "uniform"] = "samples"
    downlink: Literal["unicast", "broadcast"] = "unicast"
    selection: Literal["random", "round_robin", "best_channel", "proportional_fair", "age", "deadline", "loss"] = (
        "random"
    )
    fairness_rounds: Rounds | None = None
    candidates_per_round: Count | None = None
    report_deadline_s: Seconds | None = None
    late: Literal["discard", "use", "abort"] = "discard"

    uses_server: ClassVar[bool] = True
    synchronous: ClassVar[bool] = True
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {"staleness": ("of the last update",)}

    download_kind: ClassVar[str] = "model"
    """Of the server's messages; those of clients are "update"."""
    uses_edges: ClassVar[bool] = False
    """Edge servers invite clients, too."""
    sends_what_is_trained: ClassVar[bool] = False
    """What the server sends is, or holds (`model_in`), the model that clients begin with: selection may be by its loss there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("clients_per_round", self.clients_per_round, optional=True)
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("server_weights", self.server_weights, ("samples", "uniform"))
        check_choice("downlink", self.downlink, ("unicast", "broadcast"))
        self._check_selection()
        check_choice("late", self.late, ("discard", "use", "abort"))
        if self.late != "discard" and self.deadline_s is None:
            raise ValueError(f"late = {self.late!r}: only with deadline_s; without it the server waits for everyone")

    def _check_selection(self) -> None:
        check_choice("selection", self.selection, (*POLICIES, *ASKING))
        if self.selection not in ("random", "deadline") and self.clients_per_round is None:
            raise ValueError(f"selection = {self.selection!r}: only with clients_per_round; else all are invited")
        fair = self.selection == "proportional_fair"
        self._only_with("fairness_rounds", fair, 'selection = "proportional_fair"', DEFAULT_FAIRNESS_ROUNDS)
        check_count("fairness_rounds", self.fairness_rounds, optional=True)
        self._only_with("candidates_per_round", self.asks, 'selection = "deadline" or "loss"')
        check_count("candidates_per_round", self.candidates_per_round, optional=True)
        if self.candidates_per_round is not None and self.candidates_per_round < (self.clients_per_round or 0):
            says = f"fewer than clients_per_round = {self.clients_per_round}, which are chosen among them"
            raise ValueError(f"candidates_per_round = {self.candidates_per_round}: {says}")
        self._only_with("report_deadline_s", self.asks, 'selection = "deadline" or "loss"', self.deadline_s)
        check_number("report_deadline_s", self.report_deadline_s, optional=True)
        if self.selection == "deadline" and self.deadline_s is None:
            raise ValueError("selection = 'deadline': only with deadline_s, which those chosen are expected to meet")
        if self.selection == "loss":
            if not self.sends_what_is_trained:
                raise ValueError("selection = 'loss': only where the server sends the model that clients train")
            object.__setattr__(self, "value_dependent", True)

    @property
    def asks(self) -> bool:
        """Whether the server asks candidates before it chooses. The server's messages of round k have the numbers 2 k and 2 k + 1 then."""
        return self.selection in ASKING

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
        clients = yield from self.chosen(node, k, payload)
        yield from self.send_download(node, clients, k, NOTHING if self.selection == "loss" else payload, number)
        return clients

    def send_download(
        self, node: Node, clients: list[int], k: int, payload: Payload, number: int | None = None
    ) -> Generator[Any, Any, None]:
        """What these clients, of those that were `chosen`, get in round k. `yield from` it."""
        if number is None:
            number = 2 * k + 1 if self.asks else k
        ends_s = self._ends_s(node)
        payload = payload if ends_s is None else round_end.stamped(payload, ends_s)
        yield self._download(clients, number, payload, self.deadline_s, ends_s)

    def _download(
        self, clients: list[int], number: int, payload: Payload, expires_s: float | None, ends_s: float | None = None
    ) -> Send:
        broadcast = self.downlink == "broadcast"
        return Send(clients, self.download_kind, number, payload, broadcast, expires_s=expires_s, expires_at_s=ends_s)

    def collect(self, node: Node, clients: list[int], k: int) -> Generator[Any, Any, Received]:
        """The updates of round k, of all clients or of those who made it until the deadline, with late ones of earlier rounds where
        those are used. `yield from` it."""
        uses_late, timeout_s = self.late == "use", self.deadline_s
        if self.late == "abort":
            timeout_s = round_end.left_s(node.state["round_ends_s"], (yield Observe("time")))
        received: Received = yield Receive(clients, "update", k, timeout_s=timeout_s, late=uses_late)
        if uses_late:
            late = [message for message in received.late if message.sender not in received.senders]
            messages = sorted([*received.messages, *late], key=lambda message: message.sender)
            received = received._replace(messages=tuple(messages), late=())
            for message in messages:
                yield Measure("staleness", node.tensor([float(k - message.round)]), device=message.sender)
        if "selection" in node.state:
            node.state["selection"].answered(received.senders, k)
        return received

    def chosen(self, node: Node, k: int, payload: Payload) -> Generator[Any, Any, list[int]]:
        """The clients of round k, ascending. payload: what they will be sent, or, where that depends on who they are, something
        as long. Where nobody is, it waits for somebody. `yield from` it."""
        clients = yield from self._selected(node, k, payload)
        if self.late == "abort":
            assert self.deadline_s is not None
            node.state["round_ends_s"] = (yield Observe("time")) + self.deadline_s
        return clients

    def _selected(self, node: Node, k: int, payload: Payload) -> Generator[Any, Any, list[int]]:
        if self.asks:
            return (yield from self._asked(node, k, payload))
        if self.selection == "random" or self.clients_per_round is None:
            return (yield from sample_clients(node, self.clients_per_round))
        while not node.devices:
            yield AwaitJoin()
        if "selection" not in node.state:
            node.state["selection"] = Selection(self.selection, self.fairness_rounds or DEFAULT_FAIRNESS_ROUNDS)
        return (yield from node.state["selection"].choose(node, self.clients_per_round))

    def _asked(self, node: Node, k: int, payload: Payload) -> Generator[Any, Any, list[int]]:
        """Those chosen by what candidates report."""
        while not node.devices:
            yield AwaitJoin()
        number, by_loss = self.clients_per_round, self.selection == "loss"
        if by_loss:
            assert number is not None
            asked = candidates.drawn_by_samples(node, self.candidates_per_round or 2 * number)
        else:
            asked = yield from sample_clients(node, self.candidates_per_round)
        yield self._download(asked, 2 * k, payload if by_loss else NOTHING, self.report_deadline_s)
        reports = yield Receive(asked, "report", k, timeout_s=self.report_deadline_s)
        if by_loss:
            return (yield from candidates.highest_losses(node, reports, number or 0))
        assert self.deadline_s is not None
        bits, broadcast = payload.num_bits, self.downlink == "broadcast"
        return (
            yield from candidates.in_time(
                node, reports, bits, broadcast=broadcast, deadline_s=self.deadline_s, number=number
            )
        )

    def shares(self, node: Node, received: Received) -> Tensor:
        """[m] n_i of the senders, or ones, in the order of the messages."""
        by_samples = self.server_weights == "samples"
        return node.tensor([node.samples_of[sender] if by_samples else 1 for sender in received.senders])

    # -- a client's program -------------------------------------------------------------------------------------------

    def download(self, node: Node, last: Value | None = None) -> Generator[Any, Any, Message]:
        """The server's next message to those chosen, the newest if there are several; whoever is asked before answers. last: the
        client's last copy of what the server sends, where that is one tensor: what is missing of a message stays as it is there,
        and the message is whole. `yield from` it."""
        waits = self.deadline_s is None and not self.asks
        held = node.state.setdefault("held", {})  # with which a candidate was asked for its loss, by whom
        while True:
            if self.asks and self.uses_edges:
                message = yield from next_of_each(self.download_kind, node.state.setdefault("waiting", []))
            else:
                message = yield from newest_download(self.download_kind, waits=waits, anyone=self.uses_edges)
            if self.asks and message.round % 2 == 0:
                held[message.sender] = yield from self._answered(node, message, last)
                continue
            if self.late == "abort":
                found = yield from header.read(message)
                if found is None:
                    continue
                message, node.state["round_ends_s"] = found
            if self.selection == "loss":
                asked = held.pop(message.sender, None)
                if asked is None or asked.round + 1 != message.round:
                    continue
                message = message._replace(data=asked.data)
                break
            content = yield from self.opened(node, message)
            if content is not None:
                message = content
                break
        if self.asks:
            message = message._replace(round=message.round // 2)
        if self.selection == "deadline":
            node.state["began_s"] = yield Observe("time")
        return (yield from self._whole(message, last))

    def _answered(self, node: Node, message: Message, last: Value | None) -> Generator[Any, Any, Message | None]:
        """A candidate reports; what it holds of the message that asked, for its loss."""
        k = message.round // 2
        if self.selection == "deadline":
            work = node.state.get("work", candidates.Work())
            yield from candidates.report_times(node, k, work, self.report_deadline_s, message.sender)
            return None
        content = yield from self.opened(node, message)
        if content is None:
            return None
        message = yield from self._whole(content, last)
        x = self.model_in(message.data)
        yield from candidates.report_loss(node, k, x, self.batch_size, self.report_deadline_s, message.sender)
        return message

    def opened(self, node: Node, message: Message) -> Generator[Any, Any, Message | None]:
        """What the server sends without what an algorithm puts before it; None where that cannot be read. `yield from` it."""
        yield from ()
        return message

    def _whole(self, message: Message, last: Value | None) -> Generator[Any, Any, Message]:
        if last is None or message.mask is None:
            return message
        filled = yield Compute(fill, (message.data, message.mask, last))
        return message._replace(data=filled, mask=None)

    def model_in(self, download: Value) -> Value:
        """The model [num_params] in what the server sends, where clients begin with that."""
        return download

    def upload(self, node: Node, k: int, payload: Payload, to: int = SERVER) -> Generator[Any, Any, Ticket]:
        """A client's update of round k. to: an edge server, where one has invited it. `yield from` it."""
        if self.selection == "deadline":
            seconds = (yield Observe("time")) - node.state["began_s"]
            node.state["work"] = candidates.Work(seconds, payload.num_bits)
        ends_s = self._ends_s(node)
        return (yield Send([to], "update", k, payload, expires_s=self.deadline_s, expires_at_s=ends_s))

    def _ends_s(self, node: Node) -> float | None:
        """When the round is over, of which everybody has been told; None where uploads go on."""
        return node.state["round_ends_s"] if self.late == "abort" else None
