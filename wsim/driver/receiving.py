"""Mailboxes and the programs that wait for what comes into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from learners.protocol import SERVER, Message, Receive, Received
from wsim.clock import DEADLINE, Call, Clock, to_ns
from wsim.driver.runner import WAIT, Runner, Wait
from wsim.driver.timers import Timers
from wsim.driver.waiting import Waiting
from wsim.driver.waits import ANYONE
from wsim.errors import SimulationError
from wsim.ledger import Ledger
from wsim.node import SimNode
from wsim.transport import Flight

if TYPE_CHECKING:
    from wsim.presence import Presence

_SENDER = attrgetter("sender")


class Receiving:
    """nodes: by array index; to_mask: [num_values] bool -> what programs get as mask; resume(runner, value) goes on with a
    program; trace: as of `Driver`."""

    def __init__(
        self,
        nodes: list[SimNode],
        clock: Clock,
        timers: Timers,
        ledger: Ledger,
        to_mask: Callable[[np.ndarray], Any],
        resume: Callable[[Runner, Any], None],
        trace: list[tuple[Any, ...]] | None,
    ) -> None:
        self._nodes = nodes
        self._clock = clock
        self._timers = timers
        self._ledger = ledger
        self._to_mask = to_mask
        self._resume = resume
        self._trace = trace
        self.presence: Presence | None = None  # None: nobody ever comes or goes

    # -- messages ------------------------------------------------------------------------------------------------------

    def deliver(self, flight: Flight, i: int, part: np.ndarray | None) -> None:
        """A message has arrived; whether it is used depends on the receiver's program."""
        node = self._nodes[flight.receivers[i]]
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
                waiting.accept(message)
                if waiting.need <= 0:
                    self.complete(waiting, ANYONE if waiting.pending is None else (sender,))
                return
        if round <= node.closed.get(kind, -1):
            node.keep_late(message)
            return
        node.inbox.setdefault(kind, {})[round, sender] = message  # a newer one supersedes
        if self.presence is not None:
            for waiting in list(node.waiting):
                request = waiting.request
                if request.kind == kind and request.round is not None and request.round < round:
                    self.forsake(waiting, sender)

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

    # -- those who wait for them ---------------------------------------------------------------------------------------

    def receive(self, runner: Runner, request: Receive) -> Received | Wait:
        """Answers a `Receive`: from the mailbox, else when it is complete or timed out."""
        node = runner.node
        senders = request.senders
        if request.late:
            node.late.setdefault(request.kind, {})
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
            _take_from(box, waiting)
        if self.presence is not None:
            self.forsake_absent(waiting)
        if waiting.need <= 0 or request.timeout_s == 0:
            return self._answer(waiting)
        runner.begin_wait()
        runner.waiting = waiting
        node.waiting.append(waiting)
        if request.timeout_s is not None:
            timeout_ns = self._clock.now_ns + to_ns(request.timeout_s)
            self._timers.set(runner, timeout_ns, self._timed_out, waiting, DEADLINE)
        return WAIT

    def _timed_out(self, call: Call) -> None:
        waiting: Waiting = call.data
        self._timers.over(waiting.runner)
        self.complete(waiting, waiting.missing, by_deadline=True)

    def complete(self, waiting: Waiting, ended_by: Sequence[int | None], by_deadline: bool = False) -> None:
        """Answer with what there is."""
        runner = waiting.runner
        runner.end_wait(self._clock.now_ns, ended_by, by_deadline)
        self._timers.stop(runner)
        runner.waiting = None
        runner.node.waiting.remove(waiting)
        self._resume(runner, self._answer(waiting))

    def _answer(self, waiting: Waiting) -> Received:
        request, node = waiting.request, waiting.runner.node
        got = waiting.got
        missing: tuple[int, ...] = ()
        newer: int | None = None
        newest: int | None = None
        alone = False
        if request.senders is not None:
            got.sort(key=_SENDER)
            if len(got) < len(request.senders):
                here = {message.sender for message in got}
                missing = tuple(sender for sender in request.senders if sender not in here)
        self._ledger.used += len(got)
        if request.round is not None:
            box = node.inbox.get(request.kind)
            further = [k for k, _ in box if k > request.round] if box else ()
            newest = max(further, default=None)
            if self.presence is not None and not got and request.senders is not None:
                newer = min(further, default=None)
                alone = newer is None
            node.close(request.kind, request.round)
        late: tuple[Message, ...] = ()
        if request.late:
            kept = node.late[request.kind]
            late = tuple(kept[sender] for sender in sorted(kept))
            kept.clear()
            self._ledger.used += len(late)
        if self._trace is not None:
            self._trace.append((node.id, "received", request.kind, request.round, tuple(m.sender for m in got)))
        noise = None
        if got and got[0].coefficient is not None:
            noise = node.analog_noise(got[0].round, waiting.num_values or len(got[0].data))
        return Received(tuple(got), missing, waiting.state, noise, newer, alone, late, newest)

    # -- not in vain ---------------------------------------------------------------------------------------------------

    def forsake_absent(self, waiting: Waiting) -> None:
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
        if gone:
            waiting.leave_out(self._clock.now_ns, gone)

    def forsake(self, waiting: Waiting, sender: int) -> None:
        """Do not wait for this one."""
        if waiting.pending is not None and sender in waiting.pending:
            waiting.leave_out(self._clock.now_ns, (sender,))
            if waiting.need <= 0 and waiting.runner.held is None:
                self.complete(waiting, waiting.left_out)


def _take_from(box: dict[tuple[int, int], Message], waiting: Waiting) -> None:
    """What has come already, by (round, sender): what is wanted of it."""
    request = waiting.request
    if request.senders is not None and request.round is not None:
        for sender in request.senders:
            message = box.pop((request.round, sender), None)
            if message is not None:
                waiting.accept(message)
                if waiting.need <= 0:
                    return
        return
    for key in [
        key
        for key in box
        if (request.round is None or key[0] == request.round) and (waiting.pending is None or key[1] in waiting.pending)
    ]:
        if waiting.need <= 0:
            return
        waiting.accept(box.pop(key))
