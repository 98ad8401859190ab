"""How a flight ends: for each of its receivers, delivered or lost; and for its sender."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsim.backhaul import Backhaul
from wsim.cells import Cells
from wsim.clock import Call, Clock
from wsim.ledger import Ledger
from wsim.transport.flight import Flight

Deliver = Callable[[Flight, int, np.ndarray | None], None]


class Delivery:
    """The flights under way and what ends them. deliver(flight, receiver position, mask over packets or None) hands a message
    to its receiver; resolved(flight, delivered) tells the sender's side."""

    def __init__(
        self,
        clock: Clock,
        ledger: Ledger,
        latency_ns: int,
        cells: Cells | None,
        backhaul: Backhaul | None,
        deliver: Deliver,
        resolved: Callable[[Flight, bool], None],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._latency_ns = latency_ns
        self._cells = cells
        self._backhaul = backhaul
        self._deliver = deliver
        self._resolved = resolved
        self.live: dict[int, Flight] = {}
        self.num_in_latency = 0  # pairs through the medium, not yet handed over
        self.absent: frozenset[int] = frozenset()  # nodes that are not there: nothing reaches them

    def arrive(self, flight: Flight, i: int, part: np.ndarray | None) -> None:
        """Receiver i has the message (part: which packets of it; None for all)."""
        if flight.heard is not None:
            flight.heard(flight.receivers[i])
        else:
            latency_ns = self._latency_ns + self._backhaul_ns(flight, part)
            if latency_ns:
                self._clock.after(latency_ns, self._late_arrival, (flight, i, part))
                self.num_in_latency += 1
            else:
                self.hand_over(flight, i, part)
        flight.pending[i] = False

    def go_by_wire(self, flight: Flight) -> None:
        """A flight between servers, never on the air: all of it arrives, by an event of its own also where that takes no time."""
        assert self._backhaul is not None
        for i, receiver in enumerate(flight.receivers):
            delay_ns = self._backhaul.delay_ns(flight.sender, receiver, flight.segmentation.coded_bits)
            self._clock.after(delay_ns, self._late_arrival, (flight, i, None))
            self.num_in_latency += 1

    def _backhaul_ns(self, flight: Flight, part: np.ndarray | None) -> int:
        """How long a flight takes besides its way on the air."""
        if self._cells is None or self._backhaul is None:
            return 0
        if flight.sender >= self._cells.first_station:
            self._cross_down(flight)
            return 0 if flight.crossed_ns < 0 else self._backhaul.delay_behind_ns(flight.crossed_ns)
        origin, target = self._cells.off_the_air(flight)
        parts = flight.segmentation
        bits = parts.coded_bits if part is None else int(parts.packet_bits()[part].sum())
        return 0 if origin == target else self._backhaul.delay_ns(origin, target, bits)

    def _cross_down(self, flight: Flight) -> None:
        """What a station has had on the air has come to it, once and as a whole, whoever gets it there."""
        if self._cells is None or self._backhaul is None or flight.sender < self._cells.first_station:
            return
        if flight.crossed_ns < 0 and flight.attempts:
            origin, target = self._cells.off_the_air(flight)
            if origin != target:
                flight.crossed_ns = self._backhaul.cross(origin, target, flight.segmentation.coded_bits)

    def arrive_whole(self, flight: Flight) -> bool:
        """Everybody who is pending has all of it; the flight is over. Returns whether nobody had gone."""
        everybody = True
        for i, pending in enumerate(flight.pending):
            if pending:
                self.arrive(flight, i, None)
            else:
                everybody = False
        return everybody

    def _late_arrival(self, call: Call) -> None:
        flight, i, part = call.data
        self.num_in_latency -= 1
        self.hand_over(flight, i, part)

    def hand_over(self, flight: Flight, i: int, part: np.ndarray | None) -> None:
        """To the receiver itself, if it is there."""
        if self.absent and flight.receivers[i] in self.absent:
            self._count_lost(flight, i, "departure")
            return
        self._ledger.delivered += 1
        self._ledger.trace(self._clock.now_ns, "deliver", flight.sender, flight.receivers[i], flight.kind, flight.round)
        self._deliver(flight, i, part)

    def lose(self, flight: Flight, i: int, cause: str) -> None:
        """Receiver i will not get the message."""
        flight.pending[i] = False
        if flight.heard is None:
            self._cross_down(flight)
            self._count_lost(flight, i, cause)

    def _count_lost(self, flight: Flight, i: int, cause: str) -> None:
        self._ledger.lost[cause] += 1
        self._ledger.trace(self._clock.now_ns, "lose", flight.sender, flight.receivers[i], flight.kind, cause)

    def close(self, flight: Flight, delivered: bool) -> None:
        """Everybody's fate is decided."""
        if flight.expiry is not None:
            flight.expiry.cancel()
        del self.live[flight.number]
        self._resolved(flight, delivered)
