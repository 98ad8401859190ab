"""A test bench without a simulator: runs the programs of several nodes at once over a perfect network.

In rounds, whatever can be answered is answered, node by node. Computing and sending take no time and every message
arrives whole and at once; only when nobody can go on, the clock moves to the earliest timeout or end of a `Sleep`. It ends
when all programs other than `Service` ones have ended; if they wait and nothing can happen any more, that is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch

from learners.protocol import (
    Actuate,
    AwaitJoin,
    Batches,
    Compute,
    Joined,
    Left,
    Measure,
    Message,
    Node,
    Observe,
    Outcome,
    Program,
    Read,
    Receive,
    Received,
    Report,
    Send,
    Service,
    Sleep,
    Ticket,
    Value,
)
from learners.tensors import uniform
from learners.values import Deferred

Programs = Program | Service | Sequence[Program | Service]


class Reported(NamedTuple):
    """One `Report`, with the node that made it."""

    node: int
    name: str
    value: Value
    metric: Any


class Measured(NamedTuple):
    """One `Measure`, with the node that it is of."""

    node: int
    name: str
    value: Value


@dataclass
class LoopbackNode:
    """A plain `learners.protocol.Node`. peers_of: of a round, where that is not its neighbors. stream: its `learners.batching.BatchStream`, None for a server.
    class_counts: of all devices, by id. codec_rng: of `uniform`, None for one of its own id. packet_payload_bits: the bench has no packets, this is the simulator's
    default."""

    id: int
    neighbors: tuple[int, ...]
    initial_parameters: Value
    rng: np.random.Generator
    num_samples: int = 0
    devices: tuple[int, ...] = ()
    samples_of: Sequence[int] = ()
    stream: Any = None
    task: Any = None
    dtype: torch.dtype = torch.float32
    codec_rng: np.random.Generator | None = None
    packet_payload_bits: int = 8 * (1500 - 44)
    edges: tuple[int, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    mixing_row: Mapping[int, float] = field(default_factory=dict)
    class_counts: Sequence[np.ndarray] = ()
    peers_of: Callable[[int], tuple[tuple[int, ...], tuple[int, ...]]] | None = None

    @property
    def num_devices(self) -> int:
        return len(self.devices)

    def peers(self, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (self.neighbors, self.neighbors) if self.peers_of is None else self.peers_of(round)

    def class_counts_of(self, device: int) -> np.ndarray:
        return self.class_counts[device]

    def batches(self, batch_size: int, **how: Any) -> Batches:
        return self.stream.draw(batch_size, **how)

    def all_samples(self, batch_size: int) -> Batches:
        return self.stream.all_samples(batch_size)

    def tensor(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(values, dtype=self.dtype)

    def uniform(self, num_values: int) -> torch.Tensor:
        if self.codec_rng is None:
            self.codec_rng = np.random.default_rng((1 + self.id, 0))
        return uniform(self.codec_rng, num_values)


class _Runner:
    """One program: what it asked for last, and until when it waits for that."""

    def __init__(self, node: Node, program: Program | Service) -> None:
        self.node = node
        self.is_service = isinstance(program, Service)
        self.program: Program = program.program if isinstance(program, Service) else program
        self.request: Any = None  # None: ready to go on with nothing
        self.until_s = math.inf
        self.ended = False


_WAIT = object()


class Loopback:
    """observe: (node id, request) -> answer, for what differs from: position [0, 0, 0] m, battery inf J, max_power 0 dBm, gain 0 dB, snr inf,
    rate inf bit/s, time by the bench's own clock, membership by the changes of `node.neighbors` since last asked (at first:
    since the start). Analog sends arrive with coefficient 1 and no noise. Actuate changes nothing.

    reports: every `Reported`, in order; measures: every `Measured`. trace: every request and reception as (node id, what, ...), without values.
    flops: of all computations. now_s: the clock.
    """

    def __init__(
        self,
        program: Callable[[Any], Programs],
        nodes: Sequence[Any],
        observe: Callable[[int, Observe], Any] | None = None,
        max_requests: int = 1_000_000,
    ) -> None:
        self.now_s = 0.0
        self.flops = 0
        self.reports: list[Reported] = []
        self.measures: list[Measured] = []
        self.trace: list[tuple[Any, ...]] = []
        self._observe = observe
        self._max_requests = max_requests
        self._tickets = count(1)
        self._expired: set[int] = set()
        self._inboxes: dict[int, dict[tuple[str, int, int], Message]] = {node.id: {} for node in nodes}
        self._closed: dict[tuple[int, str], int] = {}
        self._late: dict[tuple[int, str], dict[int, Message]] = {}  # where late ones are wanted: the newest by sender
        self._present = {node.id: tuple(node.neighbors) for node in nodes}
        self._runners: list[_Runner] = []
        for node in nodes:
            programs: Any = program(node)
            several = programs if isinstance(programs, (list, tuple)) else [programs]
            self._runners += [_Runner(node, one) for one in several]

    def run(self) -> Loopback:
        """Run to the end. Raises RuntimeError, saying who waits for what, where there is none."""
        while any(not runner.ended for runner in self._runners if not runner.is_service):
            moved = False
            for runner in self._runners:
                moved |= not runner.ended and self._advance(runner)
            if not moved:
                self._expire()
        return self

    def _advance(self, runner: _Runner) -> bool:
        """Let a program go on as long as it is answered. Returns whether it did at all."""
        moved = False
        while (answer := self._answer(runner, runner.request)) is not _WAIT:
            moved = True
            try:
                runner.request = runner.program.send(answer)
            except StopIteration:
                runner.ended = True
                return True
            self._begin(runner, runner.request)
        return moved

    def _begin(self, runner: _Runner, request: Any) -> None:
        if len(self.trace) >= self._max_requests:
            raise RuntimeError(f"no end after {self._max_requests} requests (programs without a number of rounds?)")
        self.trace.append((runner.node.id, *describe(request)))
        wait_s: float | None = math.inf
        if isinstance(request, Receive):
            wait_s = request.timeout_s
            if request.senders is None and request.count is None and request.timeout_s is None:
                raise ValueError(f"node {runner.node.id}: Receive from anyone needs a count or a timeout_s")
        elif isinstance(request, Sleep):
            wait_s = max(0.0, request.duration_s)
        runner.until_s = math.inf if wait_s is None else self.now_s + wait_s

    def _expire(self) -> None:
        """Nobody can go on: move the clock to the earliest end of a wait."""
        waiting = [runner for runner in self._runners if not runner.ended]
        until_s = min(runner.until_s for runner in waiting)
        if until_s == math.inf:
            lines = [f"node {r.node.id} waits for {_wish(r.request)}" for r in waiting if not r.is_service]
            raise RuntimeError("deadlock: " + "; ".join(lines))
        self.now_s = until_s

    def _answer(self, runner: _Runner, request: Any) -> Any:
        """The answer to a request, or _WAIT."""
        node = runner.node
        match request:
            case None:
                return None
            case Compute(op=op, args=args):
                self.flops += op.flops(*args) if hasattr(op, "flops") else 0
                return op(*args)
            case Send():
                self.flops += request.payload.flops if _ids(request.to) else 0
                return self._send(node, request)
            case Receive():
                return self._receive(runner, request)
            case Outcome(ticket=ticket):
                if ticket.number in self._expired:
                    return "lost"
                return "delivered" if ticket.number else "unknown"
            case Sleep():
                return None if self.now_s >= runner.until_s else _WAIT
            case Read(value=value):
                return value.tensor() if isinstance(value, Deferred) else value
            case Report(name=name, value=value, metric=metric):
                self.reports.append(Reported(node.id, name, value, metric))
                return None
            case Measure(name=name, value=value, device=device):
                self.measures.append(Measured(node.id if device is None else device, name, value))
                return None
            case Observe():
                return self._look(node, request)
            case AwaitJoin():  # everybody has been here from the start
                return _WAIT
            case Actuate():
                return None
        raise TypeError(f"the program of node {node.id} yielded {request!r}, which is not a request")

    # -- messages -----------------------------------------------------------------------------------------------------

    def _send(self, node: Node, request: Send) -> Ticket:
        receivers = _ids(request.to)
        payload = request.payload
        if receivers and request.expires_at_s is not None and self.now_s > request.expires_at_s:
            self._expired.add(ticket := next(self._tickets))
            return Ticket(ticket)
        for to in receivers:
            if to == node.id or to not in self._inboxes:
                raise ValueError(f"node {node.id} sends {request.kind!r} to node {to}: there is no such other node")
            message = Message(
                node.id,
                request.kind,
                request.round,
                payload.data,
                degree=len(node.neighbors),
                coefficient=1.0 if request.analog else None,
            )
            if request.round <= self._closed.get((to, request.kind), -1):
                self._keep_late(to, message)
            else:
                inbox = self._inboxes[to]
                inbox.pop((request.kind, request.round, node.id), None)  # a newer one supersedes
                inbox[request.kind, request.round, node.id] = message
        return Ticket(next(self._tickets) if receivers else 0)

    def _receive(self, runner: _Runner, request: Receive) -> Any:
        node, senders = runner.node, request.senders
        inbox = self._inboxes[node.id]
        if request.late:
            self._late.setdefault((node.id, request.kind), {})
        found = [
            key
            for key in inbox
            if key[0] == request.kind
            and (request.round is None or key[1] == request.round)
            and (senders is None or key[2] in senders)
        ]
        need = math.inf if senders is None else len(senders)
        need = need if request.count is None else min(need, request.count)
        if len(found) < need and self.now_s < runner.until_s:
            return _WAIT
        messages = [inbox.pop(key) for key in found[: int(min(need, len(found)))]]
        if request.round is not None:
            self._close(node.id, request.kind, request.round)
        late: dict[int, Message] = {}
        if request.late:
            late, self._late[node.id, request.kind] = self._late[node.id, request.kind], {}
        combined = request.initial
        noise = None
        if messages and messages[0].coefficient is not None:
            noise = torch.zeros(messages[0].data.shape, dtype=messages[0].data.dtype)
        if request.combine is not None:
            for message in messages:
                combined = request.combine(combined, message)
            messages = [Message(m.sender, m.kind, m.round, None, None, m.degree, m.coefficient) for m in messages]
        missing: tuple[int, ...] = ()
        if senders is not None:
            messages.sort(key=lambda message: message.sender)
            missing = tuple(sender for sender in senders if all(sender != message.sender for message in messages))
        newest = None
        if request.round is not None:
            further = (k for kind, k, _ in inbox if kind == request.kind and k > request.round)
            newest = max(further, default=None)
        self.trace.append((node.id, "received", request.kind, request.round, tuple(m.sender for m in messages)))
        came_late = tuple(late[sender] for sender in sorted(late))
        return Received(tuple(messages), missing, combined, noise, late=came_late, newest=newest)

    def _close(self, node: int, kind: str, round: int) -> None:
        """What is left of this round, or comes later, is late."""
        self._closed[node, kind] = max(round, self._closed.get((node, kind), -1))
        inbox = self._inboxes[node]
        for key in [key for key in inbox if key[0] == kind and key[1] <= round]:
            self._keep_late(node, inbox.pop(key))

    def _keep_late(self, node: int, message: Message) -> None:
        """The newest of its sender, where late ones are wanted."""
        kept = self._late.get((node, message.kind))
        if kept is not None and (message.sender not in kept or kept[message.sender].round < message.round):
            kept[message.sender] = message

    # -- looking ------------------------------------------------------------------------------------------------------

    def _look(self, node: Node, request: Observe) -> Any:
        if self._observe is not None:
            answer = self._observe(node.id, request)
            if answer is not None:
                return answer
        match request.what:
            case "position":
                return np.zeros(3)
            case "battery" | "rate":
                return math.inf
            case "gain" | "max_power":
                return 0.0
            case "snr":
                return math.inf
            case "link" | "link_rate":  # nobody is in a pair
                return None
            case "time":
                return self.now_s
            case "membership":
                before, now = self._present[node.id], tuple(node.neighbors)
                self._present[node.id] = now
                left: Iterator[Joined | Left] = (Left(other) for other in before if other not in now)
                return (*left, *(Joined(other) for other in now if other not in before))
        raise ValueError(f"node {node.id} observes {request.what!r}: not among the things that can be observed")


def loopback(program: Callable[[Any], Programs], nodes: Sequence[Any], **options: Any) -> Loopback:
    """Run `program(node)` of every node to the end; see `Loopback` for the options and for what it holds afterwards."""
    return Loopback(program, nodes, **options).run()


def describe(request: Any) -> tuple[Any, ...]:
    """A request as a line of the trace."""
    match request:
        case Compute(op=op):
            return ("compute", getattr(op, "name", getattr(op, "__qualname__", str(op))))
        case Send(to=to, kind=kind, round=k, payload=payload, broadcast=broadcast):
            return ("send", _ids(to), kind, k, payload.num_bits, broadcast)
        case Receive(senders=senders, kind=kind, round=k, count=num):
            return ("receive", None if senders is None else tuple(senders), kind, k, num)
        case Report(name=name) | Measure(name=name):
            return (type(request).__name__.lower(), name)
        case Observe(what=what) | Actuate(what=what):
            return (type(request).__name__.lower(), what)
    return (type(request).__name__.lower(),)


def _ids(to: int | Sequence[int]) -> tuple[int, ...]:
    return (int(to),) if isinstance(to, (int, np.integer)) else tuple(to)


def _wish(request: Any) -> str:
    if not isinstance(request, Receive):
        return type(request).__name__
    whom = "anyone" if request.senders is None else "node " + ", ".join(map(str, request.senders))
    when = "" if request.round is None else f" of round {request.round}"
    number = "" if request.count is None else f" ({request.count} of them)"
    return f"{request.kind!r}{when} from {whom}{number}"
