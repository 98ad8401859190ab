"""The loop that every program runs in.

Every program is a generator that waits for one thing at a time; the driver resumes it when that thing happens. Tensor work is
only recorded here (see `learners.deferred`): what moves the clock are FLOPs and bits, both known from shapes. Requests are
answered by

    computing    Compute
    sending      Send, Outcome
    receiving    Receive
    attendance   AwaitJoin; programs whose nodes come and go
    this file    Sleep, Read, Report, Measure, Observe, Actuate
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from learners.protocol import (
    Actuate,
    AwaitJoin,
    Compute,
    Measure,
    NotFiniteError,
    Observe,
    Outcome,
    Program,
    Read,
    Receive,
    Report,
    Send,
    Service,
    Sleep,
)
from wsim.accounts import Processors
from wsim.clock import Clock, to_ns
from wsim.driver.attendance import Attendance
from wsim.driver.computing import Computing
from wsim.driver.describe import describe
from wsim.driver.receiving import Receiving
from wsim.driver.runner import FINISHED, OBSERVING, SLEEPING, WAIT, Runner
from wsim.driver.sending import Sending
from wsim.driver.timers import Timers
from wsim.errors import SimulationError
from wsim.ledger import Ledger
from wsim.node import SimNode
from wsim.record import PROGRAM_STATES
from wsim.transport import Transport

MAX_REQUESTS = 1_000_000  # of one program at one instant


class Driver:
    """on_report, on_measure: called on every Report and Measure; observe: (node, request) -> (value, seconds it takes); trace: a list that receives
    every request and reception in order of simulated time. main_left: programs that have not ended, services aside."""

    def __init__(
        self,
        clock: Clock,
        processors: Processors,
        ledger: Ledger,
        executor: Any,
        to_mask: Callable[[np.ndarray], Any],
        on_report: Callable[[SimNode, Report], None],
        on_measure: Callable[[SimNode, Measure], None],
        observe: Callable[[SimNode, Observe], tuple[Any, float]],
        actuate: Callable[[SimNode, Actuate], None],
        trace: list[tuple[Any, ...]] | None = None,
    ) -> None:
        self._clock = clock
        self._executor = executor
        self._on_report = on_report
        self._on_measure = on_measure
        self._observe_now = observe
        self._actuate_now = actuate
        self._trace = trace
        self.nodes: list[SimNode] = []
        self.runners: list[Runner] = []
        self.main_left = 0
        self._timers = Timers(clock, self._resume)
        computing = Computing(clock, processors, self._timers)
        self._sending = Sending(self.nodes, self._timers, computing, self._resume)
        self.receiving = Receiving(self.nodes, clock, self._timers, ledger, to_mask, self._resume, trace)
        self.attendance = Attendance(
            self.nodes, clock, self._timers, self.receiving, self._resume, self._program_finished
        )
        self._handlers: dict[type, Callable[[Runner, Any], Any]] = {
            Compute: computing.compute,
            Send: self._sending.send,
            Receive: self.receiving.receive,
            Outcome: self._sending.outcome,
            Sleep: self._sleep,
            Read: self._read,
            Report: self._report,
            Measure: self._measure,
            Observe: self._observe,
            Actuate: self._actuate,
            AwaitJoin: self.attendance.await_join,
        }
        self.deliver = self.receiving.deliver
        self.resolved = self._sending.resolved

    def connect(self, transport: Transport) -> None:
        """What messages go by; it calls `deliver` and `resolved`."""
        self._sending.transport = transport

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

    @property
    def num_timers(self) -> int:
        """Programs that will go on by themselves."""
        return self._timers.num_running

    def who_waits(self) -> str:
        """One line naming the programs that wait, for the error when nothing can happen any more."""
        lines = []
        for runner in self.runners:
            if runner.is_service or runner.state == FINISHED:
                continue
            does = f"is {PROGRAM_STATES[runner.state]}" if runner.waiting is None else str(runner.waiting)
            lines.append(f"{runner.where} {does}")
        shown = "; ".join(lines[:3])
        return shown + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")

    # -- the loop ------------------------------------------------------------------------------------------------------

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
                self._program_finished(runner)
                return
            except NotFiniteError as error:
                raise SimulationError(f"{runner.where} at {self._clock.now_s:.6g} s: {error}") from None
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

    def _program_finished(self, runner: Runner) -> None:
        self.main_left -= not runner.is_service
        node = runner.node
        node.live -= 1
        if node.live == 0:
            node.inbox.clear()
            node.late.clear()

    # -- answers -------------------------------------------------------------------------------------------------------

    def _sleep(self, runner: Runner, request: Sleep) -> Any:
        if request.duration_s <= 0:
            return None
        return self._timers.wait_until(runner, self._clock.now_ns + to_ns(request.duration_s), None, SLEEPING)

    def _read(self, runner: Runner, request: Read) -> Any:
        return self._executor.read(request.value)

    def _report(self, runner: Runner, request: Report) -> None:
        self._on_report(runner.node, request)

    def _measure(self, runner: Runner, request: Measure) -> None:
        self._on_measure(runner.node, request)

    def _observe(self, runner: Runner, request: Observe) -> Any:
        value, delay_s = self._observe_now(runner.node, request)
        if delay_s <= 0:
            return value
        return self._timers.wait_until(runner, self._clock.now_ns + to_ns(delay_s), value, OBSERVING)

    def _actuate(self, runner: Runner, request: Actuate) -> None:
        self._actuate_now(runner.node, request)
