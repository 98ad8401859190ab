"""The simulator's clock: SimPy's event queue on integer nanoseconds.

Seconds become nanoseconds here and nowhere else. Events of one instant run by priority: deliveries first, then a medium's
re-planning (once, however many transfers changed), then deadlines, so that what arrives at the deadline instant counts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import simpy
from simpy.core import EmptySchedule

NS_PER_S = 1_000_000_000
NORMAL, REPLAN, DEADLINE, EVALUATE = 1, 2, 3, 4
NEVER_NS = 1 << 62


def to_ns(seconds: float) -> int:
    """Seconds to integer nanoseconds, rounded to the nearest; infinity is `NEVER_NS`."""
    if seconds > NEVER_NS / NS_PER_S or math.isinf(seconds):
        return NEVER_NS
    return round(seconds * NS_PER_S)


class Call(simpy.Event):
    """An event that runs one callback; `cancel` turns it into a no-op."""

    _ok = _defused = True  # it never fails
    _value = None

    def __init__(self, env: simpy.Environment, callback: Callable[[Any], None], data: Any) -> None:
        self.env = env
        self.callbacks = [callback]
        self.data = data

    def cancel(self) -> None:
        """The callback is not run. Its data may refer to the call; without it neither waits for the garbage collector."""
        if self.callbacks is not None:
            self.callbacks = []
        self.data = None


class Clock:
    """Schedules callbacks; a callback receives its `Call`, whose `.data` is the data given."""

    def __init__(self) -> None:
        self.env = simpy.Environment(initial_time=0)
        self._schedule = self.env.schedule
        self._replans: deque[Call] = deque()

    @property
    def now_ns(self) -> int:
        now: int = self.env._now  # type: ignore[assignment]  # always whole; the property of SimPy costs a call more
        return now

    @property
    def now_s(self) -> float:
        return self.env._now / NS_PER_S

    def after(self, delay_ns: int, callback: Callable[[Any], None], data: Any = None, priority: int = NORMAL) -> Call:
        call = Call(self.env, callback, data)
        self._schedule(call, priority, int(delay_ns))  # type: ignore[arg-type]  # a numpy integer must not leak in
        return call

    def at(self, time_ns: int, callback: Callable[[Any], None], data: Any = None, priority: int = NORMAL) -> Call:
        call = Call(self.env, callback, data)
        self._schedule(call, priority, int(time_ns) - self.env._now)  # type: ignore[arg-type]  # as above
        return call

    def time_of(self, call: Call) -> int:
        """When a call that is to come will run (a search: not for what happens often)."""
        return next(int(time_ns) for time_ns, _, _, event in self.env._queue if event is call)

    def replan(self, callback: Callable[[Any], None]) -> Call:
        """At this instant with priority REPLAN, first come first served; apart from SimPy's queue, which would cost more."""
        call = Call(self.env, callback, None)
        self._replans.append(call)
        return call

    def next_ns(self) -> float:
        """Time of the next event, infinity if there is none."""
        return self.env._now if self._replans else self.env.peek()

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        if self._replans and not self._something_first():
            call = self._replans.popleft()
            callbacks, call.callbacks = call.callbacks, None  # type: ignore[assignment]  # as SimPy marks what is processed
            for callback in callbacks:
                callback(call)
            return True
        try:
            self.env.step()
        except EmptySchedule:
            return False
        return True

    def _something_first(self) -> bool:
        """An event of this very instant comes before a replanning."""
        queue = self.env._queue
        return bool(queue) and queue[0][0] == self.env._now and queue[0][1] < REPLAN
