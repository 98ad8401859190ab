"""Who is there: devices that join, leave and fail, and what that does to everybody else.

A device that leaves loses radio and processor at once: what it was sending is lost (cause `departure`), so is what was on its way
to it, and its programs stand still until it is back (`Driver.hold`). One that fails never comes back; its programs are closed.
That it has gone or come is known at once, by a genie, to the server and to its neighbors in the topology.

That nobody waits for what nobody sends: a device waits for another one's message of a round only if that other one, when it last
looked at its neighborhood (which is when it decides to whom it sends), counted it in, and neither has been away since. So who
has come back sends to its neighbors at once, and is waited for, and waits, from their next rounds on. Among neighbors who wait for
each other's messages of a round, the one in the lowest round can then always go on: the others are in later rounds and have
counted it in, so their messages have told it (`Driver.deliver`) that those of its own round will not come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from learners.protocol import SERVER, Joined, Left
from wsim.churn import FAIL, LEAVE, Events
from wsim.clock import DEADLINE, Call, to_ns
from wsim.switched_radios import SwitchedRadios

if TYPE_CHECKING:
    from wsim.engine import Run


class Presence:
    """churn: by device that comes or goes, whether it is there at the start and what happens when."""

    def __init__(self, run: Run, radios: SwitchedRadios, churn: Mapping[int, tuple[bool, Events]]) -> None:
        self._run = run
        self._radios = radios
        self._churn = churn
        num_nodes = run.world.num_nodes
        self.here = [True] * num_nodes
        self.failed: set[int] = set()
        self.devices: tuple[int, ...] = tuple(range(run.world.num_devices))
        self.coming = 0  # devices with an event to come
        self._gone_ns: dict[int, tuple[int, int]] = {}  # since when, and what its processor had left to do
        self._era = 0  # counts arrivals
        self._came = [0] * num_nodes  # the era that began with the node's arrival
        self._looked: dict[int, tuple[int, tuple[int, ...]]] = {}  # when a node last looked, and whom it saw
        self._changed: dict[int, dict[int, None]] = {}  # neighbors that came or went since a node last asked, in order

    def start(self) -> None:
        """Before the programs start: who is not there, and the first events."""
        run = self._run
        run.driver.receiving.presence = self
        run.evaluator.counts = self._counts(run.scenario.evaluation.counted_devices)
        for node in run.driver.nodes:
            node.presence = self
        for device, (here, events) in self._churn.items():
            if not here:
                self.here[device] = False
                run.driver.attendance.hold_back(run.driver.nodes[device])
                self._gone_ns[device] = 0, 0
                self._radios.switch(device, 0, on=False)
                run.evaluator.withdraw(device)
            self._next(device, events)
        self._update()

    def _counts(self, whom: str) -> Callable[[int], bool]:
        """Who counts in evaluations, see `wsim.scenario.evaluation`."""
        if whom == "present":
            return lambda device: self.here[device]
        if whom == "alive":
            return lambda device: device not in self.failed
        return lambda device: True

    def _next(self, device: int, events: Events) -> None:
        event = next(events, None)
        if event is not None:
            self.coming += 1
            self._run.clock.at(to_ns(event[0]), self._happens, (device, event[1], events), DEADLINE)

    def _happens(self, call: Call) -> None:
        device, what, events = call.data
        self.coming -= 1
        if device in self.failed:
            return
        if what == FAIL:
            self.fail(device)
        elif what == LEAVE:
            self._leave(device)
        else:
            self._join(device)
        self._next(device, events)

    # -- coming and going ----------------------------------------------------------------------------------------------

    def fail(self, device: int) -> None:
        """A device has gone for good."""
        if self.here[device]:
            self._leave(device, for_good=True)
        self.failed.add(device)
        run = self._run
        run.driver.attendance.end(run.driver.nodes[device])
        if len(self.failed) == run.world.num_devices:
            run.stop_reason = run.stop_reason or "nobody_left"

    def _leave(self, device: int, for_good: bool = False) -> None:
        run, now_ns = self._run, self._run.clock.now_ns
        run.ledger.trace(now_ns, "fail" if for_good else "leave", device)
        self.here[device] = False
        self._update()
        node = run.driver.nodes[device]
        run.driver.attendance.hold(node)
        run.transport.depart(device)
        self._gone_ns[device] = now_ns, run.processors.suspend(device, now_ns)
        self._radios.switch(device, now_ns, on=False)
        self._note(run.topology.forget(device), device)
        run.evaluator.withdraw(device)
        run.driver.attendance.departed(device)

    def _join(self, device: int) -> None:
        run, now_ns = self._run, self._run.clock.now_ns
        run.ledger.trace(now_ns, "join", device)
        self._era += 1
        self._came[device] = self._era
        self.here[device] = True
        self._update()
        self._radios.switch(device, now_ns, on=True)
        gone_ns, left_ns = self._gone_ns.pop(device)
        run.processors.resume(device, now_ns, left_ns)
        self._note(run.topology.known_by(device), device)
        run.evaluator.enter(device)
        run.driver.attendance.release(run.driver.nodes[device], now_ns - gone_ns)
        run.driver.attendance.joined(device, lambda node: device in self.present_neighbors(node.index))

    def _update(self) -> None:
        run = self._run
        self.devices = tuple(i for i in range(run.world.num_devices) if self.here[i])
        away = frozenset(i for i in range(run.world.num_devices) if not self.here[i])
        run.transport.delivery.absent = run.topology.absent = away
        if run.cells is not None:
            run.cells.absent = away

    # -- what programs see ---------------------------------------------------------------------------------------------

    def neighbors(self, index: int) -> tuple[int, ...]:
        """Those present, for a node that looks at them to send."""
        seen = self.present_neighbors(index)
        self._looked[index] = self._era, seen
        return seen

    def peers(self, index: int, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Those present, for a node that looks at them to send in a round."""
        here = self.here
        to, heard = (
            tuple(j for j in nodes if j == SERVER or here[j]) for nodes in self._run.topology.peers(index, round)
        )
        self._looked[index] = self._era, to
        return to, heard

    def present_neighbors(self, index: int) -> tuple[int, ...]:
        here = self.here
        return tuple(j for j in self._run.topology.neighbors(index) if j == SERVER or here[j])

    def may_wait(self, receiver: int, sender: int) -> bool:
        """Whether node `receiver` (an id, as is sender) may wait for a message of a round from `sender`: see above."""
        num_devices = self._run.world.num_devices
        if not 0 <= sender < num_devices:
            return True
        if not self.here[sender]:
            return False
        if not 0 <= receiver < num_devices:
            return True
        since = max(self._came[sender], self._came[receiver])
        if since == 0:
            return True
        era, seen = self._looked.get(sender, (-1, ()))
        return era >= since and receiver in seen

    def membership(self, index: int) -> tuple[Joined | Left, ...]:
        """Changes of the neighborhood since last asked, by movement and by churn: what became of each neighbor in the end."""
        changed = dict.fromkeys(change.node for change in self._run.topology.membership(index))
        changed |= dict.fromkeys(self._changed.pop(index, ()))
        now = set(self.present_neighbors(index)) if changed else ()
        return tuple(Joined(node) if node in now else Left(node) for node in changed)

    def _note(self, ids: Sequence[int], device: int) -> None:
        """These neighbors have lost or found this device."""
        for id in ids:
            index = self._run.world.server_index if id == SERVER else id
            self._changed.setdefault(index, {})[device] = None

    def edges(self) -> np.ndarray:
        """[num_edges, 2] edges of the topology between nodes that are present."""
        edges = self._run.topology.edges()
        here = np.array(self.here)
        return edges[here[edges].all(axis=1)] if len(edges) else edges
