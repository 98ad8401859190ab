"""Programs whose nodes come and go: they stand still, go on, or end. What they see of it is decided by `wsim.presence`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from learners.protocol import AwaitJoin, Joined
from wsim.clock import DEADLINE, NORMAL, Clock
from wsim.driver.receiving import Receiving
from wsim.driver.runner import COMPUTING, FINISHED, RECEIVING, SLEEPING, WAIT, Held, Runner, Wait
from wsim.driver.timers import Timers
from wsim.driver.waits import ANYONE
from wsim.node import SimNode


class Attendance:
    """nodes: by array index; resume(runner, value) goes on with a program; finished(runner): a program is over."""

    def __init__(
        self,
        nodes: list[SimNode],
        clock: Clock,
        timers: Timers,
        receiving: Receiving,
        resume: Callable[[Runner, Any], None],
        finished: Callable[[Runner], None],
    ) -> None:
        self._nodes = nodes
        self._clock = clock
        self._timers = timers
        self._receiving = receiving
        self._resume = resume
        self._finished = finished
        self._for_company: list[Runner] = []  # who waits for somebody to join

    def hold(self, node: SimNode) -> None:
        """The node goes away: its programs stand still. Their time away counts as `sleeping`."""
        for runner in node.runners:
            if runner.state == FINISHED or runner.held is not None:
                continue
            held = runner.held = Held(runner.state)
            if runner.timer is not None:
                held.time_ns = self._clock.time_of(runner.timer)
                held.call = runner.timer.callbacks[0], runner.timer.data
                self._timers.stop(runner)
            runner.enter(SLEEPING, self._clock.now_ns)

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
            runner.enter(held.state, now_ns)
            if held.call is not None:
                callback, data = held.call
                time_ns = held.time_ns + away_ns if held.state == COMPUTING else max(held.time_ns, now_ns)
                self._timers.set(runner, time_ns, callback, data, DEADLINE if held.state == RECEIVING else NORMAL)
            if runner.waiting is not None:
                self._receiving.forsake_absent(runner.waiting)
                if runner.waiting.need <= 0:
                    self._receiving.complete(runner.waiting, runner.waiting.left_out)
            elif held.answer is not None:
                runner.end_wait(now_ns, ANYONE)
                self._resume(runner, held.answer[0])

    def end(self, node: SimNode) -> None:
        """The node has failed for good: so have its programs."""
        for runner in node.runners:
            if runner.state == FINISHED:
                continue
            self._timers.stop(runner)
            runner.cut_off_wait(self._clock.now_ns)
            if runner.waiting is not None:
                node.waiting.remove(runner.waiting)
                runner.waiting = None
            runner.held = None
            runner.enter(FINISHED, self._clock.now_ns)
            self._finished(runner)
            runner.program.close()

    def departed(self, id: int) -> None:
        """Nobody waits for this node any more."""
        for node in self._nodes:
            for waiting in list(node.waiting):
                self._receiving.forsake(waiting, id)
        self._tell(lambda node: True)

    def joined(self, id: int, welcoming: Callable[[SimNode], bool]) -> None:
        """Answer those who have waited for company, or wait until something changes, and in whose neighborhood it is."""
        self._tell(welcoming)
        waiting, self._for_company = self._for_company, []
        for runner in waiting:
            if runner.state == FINISHED:
                continue
            if not welcoming(runner.node):
                self._for_company.append(runner)
            elif runner.held is not None:
                runner.held.answer = (Joined(id),)
            else:
                runner.end_wait(self._clock.now_ns, ANYONE)
                self._resume(runner, Joined(id))

    def _tell(self, concerned: Callable[[SimNode], bool]) -> None:
        """Answer those who wait until something changes, at nodes that it concerns."""
        for node in self._nodes:
            for waiting in [waiting for waiting in node.waiting if waiting.request.until_change]:
                if waiting.runner.held is None and concerned(node):
                    self._receiving.complete(waiting, ANYONE)

    def await_join(self, runner: Runner, request: AwaitJoin) -> Wait:
        """Answers an `AwaitJoin`."""
        runner.begin_wait()
        self._for_company.append(runner)
        return WAIT
