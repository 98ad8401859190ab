"""One program of one node, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from learners.protocol import SERVER, Program
from wsim.clock import Call
from wsim.driver.waits import ANYONE, Waits
from wsim.node import SimNode
from wsim.record import PROGRAM_STATES

if TYPE_CHECKING:
    from wsim.driver.waiting import Waiting

COMPUTING, RECEIVING, SLEEPING, AWAITING, OBSERVING, FINISHED = range(len(PROGRAM_STATES))


class Wait:
    """What the handler of a request returns when the program must wait."""


WAIT = Wait()


class Runner:
    """state_ns: [num_states] time spent in each of PROGRAM_STATES until since_ns, from when on it is in `state`."""

    __slots__ = ("held", "is_service", "node", "program", "since_ns", "state", "state_ns", "timer", "waiting", "waits")

    def __init__(self, node: SimNode, program: Program, is_service: bool) -> None:
        self.node = node
        self.program = program
        self.is_service = is_service
        self.state = RECEIVING
        self.since_ns = 0
        self.state_ns = [0] * len(PROGRAM_STATES)
        self.timer: Call | None = None
        self.waiting: Waiting | None = None
        self.waits = Waits()
        self.held: Held | None = None  # while its node is away

    def enter(self, state: int, now_ns: int) -> None:
        """From now on in this state."""
        self.state_ns[self.state] += now_ns - self.since_ns
        self.since_ns = now_ns
        self.state = state

    def begin_wait(self) -> None:
        """From now on it is receiving; to be called when it has made a request, so that no time has passed since `since_ns`."""
        self.state = RECEIVING
        self.waits.began_ns = self.state_ns[RECEIVING]

    def end_wait(self, now_ns: int, awaited: Sequence[int | None], by_deadline: bool = False) -> None:
        """awaited: see `wsim.driver.waits`."""
        receiving_ns = self.state_ns[RECEIVING]
        if self.state == RECEIVING:
            receiving_ns += now_ns - self.since_ns
        self.waits.end(receiving_ns, awaited, by_deadline)

    def cut_off_wait(self, now_ns: int) -> None:
        """Nothing will end its wait, if it waits."""
        if (self.state if self.held is None else self.held.state) == RECEIVING:
            self.end_wait(now_ns, ANYONE if self.waiting is None else self.waiting.missing)

    @property
    def where(self) -> str:
        """Its node, for messages."""
        return "the server" if self.node.id == SERVER else f"device {self.node.id}"


@dataclass
class Held:
    """Where a program stood when its node went away. call: what would have woken it, at time_ns; answer: what it is owed, a
    tuple of one."""

    state: int
    call: tuple[Callable[[Call], None], Any] | None = None
    time_ns: int = 0
    answer: tuple[Any] | None = None
