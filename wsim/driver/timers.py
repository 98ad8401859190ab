"""The timers of programs: each has one at most, for what it does or waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsim.clock import NORMAL, Call, Clock
from wsim.driver.runner import WAIT, Runner, Wait


class Timers:
    """resume(runner, value) goes on with a program; num_running: programs that will go on by themselves."""

    def __init__(self, clock: Clock, resume: Callable[[Runner, Any], None]) -> None:
        self._clock = clock
        self._resume = resume
        self.num_running = 0

    def wait_until(self, runner: Runner, time_ns: int, value: Any, state: int) -> Wait:
        """The program is in this state until then, when it gets its answer."""
        runner.state = state
        self.num_running += 1
        runner.timer = self._clock.at(time_ns, self._wake, (runner, value))
        return WAIT

    def _wake(self, call: Call) -> None:
        runner, value = call.data
        self.over(runner)
        self._resume(runner, value)

    def set(
        self, runner: Runner, time_ns: int, callback: Callable[[Call], None], data: Any, priority: int = NORMAL
    ) -> None:
        """The callback is to begin with `over`."""
        self.num_running += 1
        runner.timer = self._clock.at(time_ns, callback, data, priority)

    def over(self, runner: Runner) -> None:
        """The timer of this program has gone off."""
        self.num_running -= 1
        runner.timer = None

    def stop(self, runner: Runner) -> None:
        """It will not go off, if there is one."""
        if runner.timer is not None:
            runner.timer.cancel()
            self.over(runner)
