"""Answers the requests of programs in simulated time.

Every program is a generator that waits for one thing at a time; the driver resumes it when that thing happens. Tensor work
is only recorded here (see `learners.deferred`): what moves the clock are FLOPs and bits, both known from shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from learners.protocol import (
    SERVER,
    Actuate,
    AwaitJoin,
    Compute,
    Joined,
    Message,
    NotFiniteError,
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
)
from wsim.accounts import Processors
from wsim.clock import DEADLINE, NORMAL, NS_PER_S, Call, Clock, to_ns
from wsim.errors import SimulationError
from wsim.ledger import Ledger
from wsim.node import SimNode
from wsim.record import PROGRAM_STATES
from wsim.transport import Flight, Transport

if TYPE_CHECKING:
    from wsim.presence import Presence

COMPUTING, RECEIVING, SLEEPING, AWAITING, OBSERVING, FINISHED = range(len(PROGRAM_STATES))
KEPT_OUTCOMES = 256
MAX_REQUESTS = 1_000_000  # of one program at one instant


class _Wait:
    """What a handler returns when its program must wait."""


WAIT = _Wait()


class Runner:
    """One program of one node."""

    __slots__ = ("held", "is_service", "node", "program", "since_ns", "state", "state_ns", "timer", "waiting")

    def __init__(self, node: SimNode, program: Program, is_service: bool) -> None:
        self.node = node
        self.program = program
        self.is_service = is_service
        self.state = RECEIVING
        self.since_ns = 0
        self.state_ns = [0] * len(PROGRAM_STATES)
        self.timer: Call | None = None
        self.waiting: Waiting | None = None
        self.held: Held | None = None  # while its node is away


@dataclass
class Held:
    """Where a program stood when its node went away. call: what would have woken it, at time_ns; answer: what it is owed, a
    tuple of one."""

    state: int
    call: tuple[Callable[[Call], None], Any] | None = None
    time_ns: int = 0
    answer: tuple[Any] | None = None


class Waiting:
    """A `Receive` that is not complete."""

    __slots__ = ("got", "need", "num_values", "pending", "request", "runner", "state")

    def __init__(self, runner: Runner, request: Receive, pending: set[int] | None, need: int) -> None:
        self.runner = runner
        self.request = request
        self.pending = pending
        self.need = need
        self.got: list[Message] = []
        self.state = request.initial
        self.num_values = 0  # of analog messages that were combined


class Driver:
    """on_report: called on every Report; observe: (node, request) -> (value, seconds it takes); trace: a list that receives
    every request and reception in order of simulated time."""

    def __init__(
        self,
        clock: Clock,
        processors: Processors,
        ledger: Ledger,
        executor: Any,
        to_mask: Callable[[np.ndarray], Any],
        on_report: Callable[[SimNode, Report], None],
        observe: Callable[[SimNode, Observe], tuple[Any, float]],
        actuate: Callable[[SimNode, Actuate], None],
        trace: list[tuple[Any, ...]] | None = None,
    ) -> None:
        self._clock = clock
        self._processors = processors
        self._ledger = ledger
        self._executor = executor
        self._to_mask = to_mask
        self._on_report = on_report
        self._observe_now = observe
        self._actuate_now = actuate
        self._trace = trace
        self._tickets: dict[int, list[int]] = {}  # flight -> [ticket, node index, open flights, all delivered]
        self._open_tickets: set[int] = set()
        self._awaiting: dict[int, list[Runner]] = {}  # ticket -> who asked for its outcome
        self.transport: Transport = None  # type: ignore[assignment]  # set by the engine: each needs the other
        self.nodes: list[SimNode] = []
        self.runners: list[Runner] = []
        self.main_left = 0  # programs that have not ended, services aside
        self.timers = 0  # programs that will go on by themselves
        self.presence: Presence | None = None  # None: nobody ever comes or goes
        self._for_company: list[Runner] = []  # who waits for somebody to join
        self._handlers: dict[type, Callable[[Runner, Any], Any]] = {
            Compute: self._compute,
            Send: self._send,
            Receive: self._receive,
            Outcome: self._outcome,
            Sleep: self._sleep,
            Read: self._read,
            Report: self._report,
            Observe: self._observe,
            Actuate: self._actuate,
            AwaitJoin: self._await_join,
        }

    # -- programs ------------------------------------------------------------------------------------------------------

    def add(self, node: SimNode, programs: Program | Service | Sequence[Program | Service]) -> None:
        """Give a node its program or programs."""
        self.nodes.append(node)
        several = programs if isinstance(programs, (list, tuple)) else [programs]
        for program in several:
            is_service = isinstance(program, Service)
            self.main_left += not is_service
            node.live += 1
            runner = Runner(node, program.program if is_service else program, is_service)  # type: ignore[union-attr, arg-type]
            self.runners.append(runner)
            node.runners.append(runner)

    def start(self) -> None:
        """All programs, but those of nodes that are away."""
        for runner in self.runners:
            if runner.held is None:
                self._resume(runner, None)

    def who_waits(self) -> str:
        """One line naming the programs that wait, for the error when nothing can happen any more."""
        lines = []
        for runner in self.runners:
            if runner.is_service or runner.state == FINISHED:
                continue
            name = "server" if runner.node.id == SERVER else f"device {runner.node.id}"
            if runner.waiting is not None:
                request, pending = runner.waiting.request, runner.waiting.pending
                whom = (
                    "anyone"
                    if pending is None
                    else ", ".join("server" if s == SERVER else str(s) for s in sorted(pending)[:4])
                    + (", ..." if len(pending) > 4 else "")
                )
                when = "" if request.round is None else f" of round {request.round}"
                lines.append(f"{name} waits for {request.kind!r}{when} from {whom}")
            else:
                lines.append(f"{name} is {PROGRAM_STATES[runner.state]}")
        shown = "; ".join(lines[:3])
        return shown + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")

    def _resume(self, runner: Runner, value: Any) -> None:
        now_ns = self._clock.now_ns
        runner.state_ns[runner.state] += now_ns - runner.since_ns
        runner.since_ns = now_ns
        send = runner.program.send
        handlers = self._handlers
        for _ in range(MAX_REQUESTS):
            try:
                request = send(value)
            except StopIteration:
                runner.state = FINISHED
                self.main_left -= not runner.is_service
                runner.node.live -= 1
                if runner.node.live == 0:
                    runner.node.inbox.clear()
                return
            except NotFiniteError as error:
                name = "the server" if runner.node.id == SERVER else f"device {runner.node.id}"
                raise SimulationError(f"{name} at {self._clock.now_s:.6g} s: {error}") from None
            if self._trace is not None:
                self._trace.append((runner.node.id, *describe(request)))
            try:
                handler = handlers[type(request)]
            except KeyError:
                raise SimulationError(
                    f"the program of node {runner.node.id} yielded {request!r}, which is not a request"
                ) from None
            value = handler(runner, request)
            if value is WAIT:
                return
        raise SimulationError(
            f"the program of node {runner.node.id} has made {MAX_REQUESTS:,} requests at {self._clock.now_s:.6g} s without "
            "any that takes time"
        )

    def _wake(self, call: Call) -> None:
        runner, value = call.data
        self.timers -= 1
        runner.timer = None
        self._resume(runner, value)

    def _wait_until(self, runner: Runner, time_ns: int, value: Any, state: int) -> _Wait:
        runner.state = state
        self.timers += 1
        runner.timer = self._clock.at(time_ns, self._wake, (runner, value))
        return WAIT

    # -- computing -----------------------------------------------------------------------------------------------------

    def _compute(self, runner: Runner, request: Compute) -> Any:
        value, flops = request.op.priced(*request.args)
        done_ns = self._processed_ns(runner.node, flops * request.work)
        return self._wait_until(runner, done_ns, value, COMPUTING)

    def _processed_ns(self, node: SimNode, flops: float) -> int:
        """When the node's processor will have done this work."""
        seconds = flops / node.effective_flops * node.jitter()
        duration_ns = max(round(seconds * NS_PER_S), 1)  # work takes time
        return self._processors.run(node.index, self._clock.now_ns, duration_ns)

    def _read(self, runner: Runner, request: Read) -> Any:
        return self._executor.read(request.value)

    def _sleep(self, runner: Runner, request: Sleep) -> Any:
        if request.duration_s <= 0:
            return None
        return self._wait_until(runner, self._clock.now_ns + to_ns(request.duration_s), None, SLEEPING)

    def _report(self, runner: Runner, request: Report) -> None:
        self._on_report(runner.node, request)

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send(self, runner: Runner, request: Send) -> Ticket | _Wait:
        to: Sequence[int] = (request.to,) if isinstance(request.to, (int, np.integer)) else request.to
        if not len(to):
            return Ticket(0)
        if request.payload.flops:
            runner.state = COMPUTING
            self.timers += 1
            done_ns = self._processed_ns(runner.node, request.payload.flops)
            runner.timer = self._clock.at(done_ns, self._encoded, (runner, to, request))
            return WAIT
        return self._put_on_air(runner.node, to, request)

    def _encoded(self, call: Call) -> None:
        runner, to, request = call.data
        self.timers -= 1
        runner.timer = None
        self._resume(runner, self._put_on_air(runner.node, to, request))

    def _put_on_air(self, node: SimNode, to: Sequence[int], request: Send) -> Ticket:
        degree = node.degree
        groups = (
            self.transport.audiences(node.index, node.indices_of(to))
            if request.broadcast
            else [(node.index_of(receiver),) for receiver in to]
        )
        flights = [
            self.transport.send(
                node.index,
                receivers,
                request.kind,
                request.round,
                request.payload,
                request.broadcast,
                degree,
                request.expires_s,
                request.analog,
                request.analog_snr_db,
            )
            for receivers in groups
        ]
        ticket = flights[0].number
        if self.transport.gives_feedback(flights[0]):
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
            outcomes = self.nodes[entry[1]].outcomes
            outcomes[entry[0]] = outcome
            if len(outcomes) > KEPT_OUTCOMES:
                del outcomes[next(iter(outcomes))]

    def _outcome(self, runner: Runner, request: Outcome) -> Any:
        number = request.ticket.number
        known = runner.node.outcomes.pop(number, None)
        if known is not None:
            return known
        if number in self._open_tickets:
            self._awaiting.setdefault(number, []).append(runner)
            runner.state = AWAITING
            return WAIT
        return "unknown"

    # -- receiving -----------------------------------------------------------------------------------------------------

    def deliver(self, flight: Flight, i: int, part: np.ndarray | None) -> None:
        """A message has arrived; whether it is used depends on the receiver's program."""
        node = self.nodes[flight.receivers[i]]
        if node.live == 0:
            return  # its programs have ended: delivered, never used
        sender, kind, round = flight.sender, flight.kind, flight.round
        if sender == node.server_index:
            sender = SERVER
        message = flight.message
        if message is None or part is not None:
            message = self._message(flight, sender, i, part)
        for waiting in node.waiting:
            request = waiting.request
            if (
                request.kind == kind
                and (request.round is None or request.round == round)
                and (waiting.pending is None or sender in waiting.pending)
            ):
                self._accept(waiting, message)
                if waiting.need <= 0:
                    self._complete(waiting)
                return
        if round <= node.closed.get(kind, -1):
            return  # late: delivered, never used
        node.inbox.setdefault(kind, {})[round, sender] = message  # a newer one supersedes
        if self.presence is not None:
            for waiting in list(node.waiting):
                request = waiting.request
                if request.kind == kind and request.round is not None and request.round < round:
                    self._forsake(waiting, sender)

    def _message(self, flight: Flight, sender: int, i: int, part: np.ndarray | None) -> Message:
        """What receiver i gets: the same object for all who get the whole of a digital message."""
        if part is None and flight.coefficients is None:
            data = flight.payload.data
            message = flight.message = Message(sender, flight.kind, flight.round, data, None, flight.degree)
            return message
        payload, mask = flight.payload, None
        if part is not None:
            mask = payload.codec.received_mask(part, flight.segmentation.packet_payload_bits, payload.num_values)
            if isinstance(mask, np.ndarray):  # else a tensor already, of values that may come later
                mask = self._to_mask(mask)
        return Message(sender, flight.kind, flight.round, payload.data, mask, flight.degree, flight.coefficient(i))

    def _accept(self, waiting: Waiting, message: Message) -> None:
        request = waiting.request
        if request.combine is not None:
            waiting.state = request.combine(waiting.state, message)
            if message.coefficient is not None:
                waiting.num_values = len(message.data)
            kept = message.degree, message.coefficient
            message = Message(message.sender, message.kind, message.round, None, None, *kept)
        waiting.got.append(message)
        waiting.need -= 1
        if waiting.pending is not None and (request.round is not None or request.count is None):
            waiting.pending.discard(message.sender)

    def _receive(self, runner: Runner, request: Receive) -> Any:
        node = runner.node
        senders = request.senders
        if senders is None:
            if request.count is None and request.timeout_s is None:
                raise SimulationError(f"node {node.id}: Receive from anyone needs a count or a timeout_s")
            waiting = Waiting(runner, request, None, request.count if request.count is not None else 1 << 60)
        else:
            pending = set(senders)
            need = len(pending) if request.count is None else min(request.count, len(pending))
            waiting = Waiting(runner, request, pending, need)
        box = node.inbox.get(request.kind)
        if box:
            if senders is not None and request.round is not None:
                for sender in senders:
                    message = box.pop((request.round, sender), None)
                    if message is not None:
                        self._accept(waiting, message)
                        if waiting.need <= 0:
                            break
            else:
                for key in [
                    key
                    for key in box
                    if (request.round is None or key[0] == request.round)
                    and (waiting.pending is None or key[1] in waiting.pending)
                ]:
                    if waiting.need <= 0:
                        break
                    self._accept(waiting, box.pop(key))
        if self.presence is not None:
            self._forsake_absent(waiting)
        if waiting.need <= 0 or request.timeout_s == 0:
            return self._answer(waiting)
        runner.state = RECEIVING
        runner.waiting = waiting
        node.waiting.append(waiting)
        if request.timeout_s is not None:
            self.timers += 1
            runner.timer = self._clock.after(to_ns(request.timeout_s), self._timed_out, waiting, DEADLINE)
        return WAIT

    def _timed_out(self, call: Call) -> None:
        waiting: Waiting = call.data
        waiting.runner.timer = None
        self.timers -= 1
        self._complete(waiting)

    def _complete(self, waiting: Waiting) -> None:
        runner = waiting.runner
        if runner.timer is not None:
            runner.timer.cancel()
            runner.timer = None
            self.timers -= 1
        runner.waiting = None
        runner.node.waiting.remove(waiting)
        self._resume(runner, self._answer(waiting))

    def _answer(self, waiting: Waiting) -> Received:
        request, node = waiting.request, waiting.runner.node
        got = waiting.got
        missing: tuple[int, ...] = ()
        newer: int | None = None
        alone = False
        if request.senders is not None:
            got.sort(key=_sender)
            if len(got) < len(request.senders):
                here = {message.sender for message in got}
                missing = tuple(sender for sender in request.senders if sender not in here)
            if self.presence is not None and not got and request.round is not None:
                further = [k for k, _ in node.inbox.get(request.kind, ()) if k > request.round]
                newer = min(further, default=None)
                alone = newer is None
        self._ledger.used += len(got)
        if request.round is not None:
            node.close(request.kind, request.round)
        if self._trace is not None:
            self._trace.append((node.id, "received", request.kind, request.round, tuple(m.sender for m in got)))
        noise = None
        if got and got[0].coefficient is not None:
            noise = node.analog_noise(got[0].round, waiting.num_values or len(got[0].data))
        return Received(tuple(got), missing, waiting.state, noise, newer, alone)

    # -- coming and going -----------------------------------------------------------------------------------------------

    def hold(self, node: SimNode) -> None:
        """The node goes away: its programs stand still. Their time away counts as `sleeping`."""
        for runner in node.runners:
            if runner.state == FINISHED or runner.held is not None:
                continue
            held = runner.held = Held(runner.state)
            if runner.timer is not None:
                held.time_ns = self._clock.time_of(runner.timer)
                held.call = runner.timer.callbacks[0], runner.timer.data
                self._stop_timer(runner)
            self._enter(runner, SLEEPING)

    def hold_back(self, node: SimNode) -> None:
        """The node is away from the start: its programs begin when it joins."""
        for runner in node.runners:
            runner.held = Held(RECEIVING, answer=(None,))
            runner.state = SLEEPING

    def release(self, node: SimNode, away_ns: int) -> None:
        """The node is back after away_ns: what it computed goes on, what it waited for and has missed is answered, what would
        have woken it meanwhile wakes it now."""
        now_ns = self._clock.now_ns
        for runner in node.runners:
            held, runner.held = runner.held, None
            if held is None:
                continue
            self._enter(runner, held.state)
            if held.call is not None:
                callback, data = held.call
                time_ns = held.time_ns + away_ns if held.state == COMPUTING else max(held.time_ns, now_ns)
                priority = DEADLINE if held.state == RECEIVING else NORMAL
                runner.timer = self._clock.at(time_ns, callback, data, priority)
                self.timers += 1
            if runner.waiting is not None:
                self._forsake_absent(runner.waiting)
                if runner.waiting.need <= 0:
                    self._complete(runner.waiting)
            elif held.answer is not None:
                self._resume(runner, held.answer[0])

    def end(self, node: SimNode) -> None:
        """The node has failed for good: so have its programs."""
        for runner in node.runners:
            if runner.state == FINISHED:
                continue
            if runner.timer is not None:
                self._stop_timer(runner)
            if runner.waiting is not None:
                node.waiting.remove(runner.waiting)
                runner.waiting = None
            runner.held = None
            self._enter(runner, FINISHED)
            self.main_left -= not runner.is_service
            runner.program.close()
        node.live = 0
        node.inbox.clear()

    def departed(self, id: int) -> None:
        """Nobody waits for this node any more."""
        for node in self.nodes:
            for waiting in list(node.waiting):
                self._forsake(waiting, id)

    def joined(self, id: int, welcoming: Callable[[SimNode], bool]) -> None:
        """Answer those who have waited for company and in whose neighborhood it is."""
        waiting, self._for_company = self._for_company, []
        for runner in waiting:
            if runner.state == FINISHED:
                continue
            if not welcoming(runner.node):
                self._for_company.append(runner)
            elif runner.held is not None:
                runner.held.answer = (Joined(id),)
            else:
                self._resume(runner, Joined(id))

    def _await_join(self, runner: Runner, request: AwaitJoin) -> Any:
        runner.state = RECEIVING
        self._for_company.append(runner)
        return WAIT

    def _forsake_absent(self, waiting: Waiting) -> None:
        """Do not wait for who will not send: who is away or already in a later round, or has not counted this node in."""
        request, node, presence = waiting.request, waiting.runner.node, self.presence
        if waiting.pending is None or presence is None:
            return
        if request.round is None:
            gone = [sender for sender in waiting.pending if sender != SERVER and not presence.here[sender]]
        else:
            gone = [sender for sender in waiting.pending if not presence.may_wait(node.id, sender)]
            gone += [
                sender
                for k, sender in node.inbox.get(request.kind, ())
                if k > request.round and sender in waiting.pending
            ]
        for sender in gone:
            self._leave_out(waiting, sender)

    def _forsake(self, waiting: Waiting, sender: int) -> None:
        if waiting.pending is not None and sender in waiting.pending:
            self._leave_out(waiting, sender)
            if waiting.need <= 0 and waiting.runner.held is None:
                self._complete(waiting)

    def _leave_out(self, waiting: Waiting, sender: int) -> None:
        """Several messages may come from one sender where any round will do; then only nobody at all is the end of it."""
        assert waiting.pending is not None
        waiting.pending.discard(sender)
        if waiting.request.round is not None or waiting.request.count is None or not waiting.pending:
            waiting.need = min(waiting.need, len(waiting.pending))

    def _stop_timer(self, runner: Runner) -> None:
        assert runner.timer is not None
        runner.timer.cancel()
        runner.timer = None
        self.timers -= 1

    def _enter(self, runner: Runner, state: int) -> None:
        """From now on in this state, which it did not choose."""
        now_ns = self._clock.now_ns
        runner.state_ns[runner.state] += now_ns - runner.since_ns
        runner.since_ns = now_ns
        runner.state = state

    # -- looking and setting -------------------------------------------------------------------------------------------

    def _observe(self, runner: Runner, request: Observe) -> Any:
        value, delay_s = self._observe_now(runner.node, request)
        if delay_s <= 0:
            return value
        return self._wait_until(runner, self._clock.now_ns + to_ns(delay_s), value, OBSERVING)

    def _actuate(self, runner: Runner, request: Actuate) -> None:
        self._actuate_now(runner.node, request)


def _sender(message: Message) -> int:
    return message.sender


def describe(request: Any) -> tuple[Any, ...]:
    """A request as a line of the event trace: what an algorithm does, without values or times."""
    match request:
        case Compute(op=op):
            return ("compute", getattr(op, "name", getattr(op, "__qualname__", str(op))))
        case Send(to=to, kind=kind, round=k, payload=payload, broadcast=broadcast):
            to = (to,) if isinstance(to, (int, np.integer)) else tuple(to)
            return ("send", to, kind, k, payload.num_bits, broadcast)
        case Receive(senders=senders, kind=kind, round=k, count=count):
            return ("receive", None if senders is None else tuple(senders), kind, k, count)
        case Report(name=name):
            return ("report", name)
        case Observe(what=what):
            return ("observe", what)
        case Actuate(what=what):
            return ("actuate", what)
    return (type(request).__name__.lower(),)
