"""What programs send, and what becomes known of it to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from learners.protocol import Outcome, Send, Ticket
from wsim.clock import Call
from wsim.driver.computing import Computing
from wsim.driver.runner import AWAITING, COMPUTING, FINISHED, WAIT, Runner, Wait
from wsim.driver.timers import Timers
from wsim.node import SimNode
from wsim.transport import Flight, Transport

KEPT_OUTCOMES = 256


class Sending:
    """nodes: by array index; resume(runner, value) goes on with a program."""

    def __init__(
        self, nodes: list[SimNode], timers: Timers, computing: Computing, resume: Callable[[Runner, Any], None]
    ) -> None:
        self._nodes = nodes
        self._timers = timers
        self._computing = computing
        self._resume = resume
        self._tickets: dict[int, list[int]] = {}  # flight -> [ticket, node index, open flights, all delivered]
        self._open_tickets: set[int] = set()
        self._awaiting: dict[int, list[Runner]] = {}  # ticket -> who asked for its outcome
        self.transport: Transport = None  # type: ignore[assignment]  # set by `Driver.connect`: each needs the other

    def send(self, runner: Runner, request: Send) -> Ticket | Wait:
        """Answers a `Send`, when the payload has been encoded."""
        to: Sequence[int] = (request.to,) if isinstance(request.to, (int, np.integer)) else request.to
        if not len(to):
            return Ticket(0)
        if request.payload.flops:
            runner.state = COMPUTING
            done_ns = self._computing.done_ns(runner.node, request.payload.flops)
            self._timers.set(runner, done_ns, self._encoded, (runner, to, request))
            return WAIT
        return self._put_on_air(runner.node, to, request)

    def _encoded(self, call: Call) -> None:
        runner, to, request = call.data
        self._timers.over(runner)
        self._resume(runner, self._put_on_air(runner.node, to, request))

    def _put_on_air(self, node: SimNode, to: Sequence[int], request: Send) -> Ticket:
        transport = self.transport
        if request.broadcast:
            audiences = transport.audiences(node.index, node.indices_of(to))
        else:
            audiences = [(node.index_of(receiver),) for receiver in to]
        flights = transport.send(node.index, audiences, request, node.degree)
        ticket = flights[0].number
        if transport.gives_feedback(flights[0]):
            entry = [ticket, node.index, len(flights), 1]
            self._open_tickets.add(ticket)
            for flight in flights:
                self._tickets[flight.number] = entry
        return Ticket(ticket)

    def resolved(self, flight: Flight, delivered: bool) -> None:
        """The sender's side of a flight is closed."""
        entry = self._tickets.pop(flight.number, None)
        if entry is None:
            return
        entry[2] -= 1
        entry[3] &= delivered
        if entry[2] == 0:
            outcome = "delivered" if entry[3] else "lost"
            self._open_tickets.remove(entry[0])
            runners = self._awaiting.pop(entry[0], None)
            if runners is not None:
                for runner in runners:
                    if runner.held is not None:
                        runner.held.answer = (outcome,)
                    elif runner.state != FINISHED:
                        self._resume(runner, outcome)
                return
            outcomes = self._nodes[entry[1]].outcomes
            outcomes[entry[0]] = outcome
            if len(outcomes) > KEPT_OUTCOMES:
                del outcomes[next(iter(outcomes))]

    def outcome(self, runner: Runner, request: Outcome) -> str | Wait:
        """Answers an `Outcome`."""
        number = request.ticket.number
        known = runner.node.outcomes.pop(number, None)
        if known is not None:
            return known
        if number in self._open_tickets:
            self._awaiting.setdefault(number, []).append(runner)
            runner.state = AWAITING
            return WAIT
        return "unknown"
