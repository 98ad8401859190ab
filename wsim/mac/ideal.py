"""No medium access at all: every link has the whole band for itself.

For comparisons and for `estimate` at scale. A sender with two messages to two nodes sends both at once; nothing interferes.
The spectrum this adds is (concurrent links) x bandwidth, and the run says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wsim.accounts import Radios
from wsim.clock import NS_PER_S, Call, Clock
from wsim.links import Links
from wsim.mac.air_watch import AirWatch
from wsim.mac.transfer import Transfer

_CHUNK_CELLS = 64
_LOOK_AHEAD_CHUNKS = 32


class IdealMedium:
    """One event a transfer: the finishing time is integrated over the link's own cells as soon as it starts."""

    interference = None
    watch: AirWatch | None = None

    def __init__(
        self, clock: Clock, links: Links, radios: Radios, bandwidth_hz: float, done: Callable[[Transfer], None]
    ) -> None:
        self._clock = clock
        self._links = links
        self._radios = radios
        self._bandwidth_hz = bandwidth_hz
        self._done = done
        self._static_rate: dict[tuple[int, tuple[int, ...]], float] = {}
        self._active: dict[Transfer, Call | None] = {}
        self._never: set[Transfer] = set()  # of them those that nothing will bring through: rate zero on a static link
        self._marks: dict[Transfer, tuple[int, float, float]] = {}  # time, bits and stalled ns at a change of power
        self._by_sender: dict[int, list[Transfer]] = {}
        self._booked_ns: dict[int, int] = {}  # until when the radio of a sender knows of its stalls
        self.peak_links = 0

    def submit(self, transfer: Transfer, front: bool = False) -> None:
        now_ns = self._clock.now_ns
        transfer.started_ns = now_ns
        self._book_sender(transfer.tx)
        self._by_sender.setdefault(transfer.tx, []).append(transfer)
        self._radios.change(transfer.tx, now_ns, tx=1.0, waiting=1)
        self._radios.change_receivers(transfer.receivers, now_ns, 1.0)
        if transfer.efficiency is not None:
            transfer.history.append((now_ns, 0.0, self._bandwidth_hz))
        self._expect(transfer, self._plan(transfer, now_ns, float(transfer.bits)))
        self.peak_links = max(self.peak_links, len(self._active))

    def _expect(self, transfer: Transfer, call: Call | None) -> None:
        """When it is through, or looked at again; None: never."""
        self._active[transfer] = call
        if call is None:
            self._never.add(transfer)
        else:
            self._never.discard(transfer)

    def cancel(self, transfer: Transfer) -> float:
        call = self._active.pop(transfer)
        if call is not None:
            call.cancel()
        drained = min(self._drained(transfer, self._clock.now_ns), float(transfer.bits))
        self._leave(transfer)
        self._never.discard(transfer)
        return drained

    def drained_of(self, transfer: Transfer) -> float:
        return min(self._drained(transfer, self._clock.now_ns), float(transfer.bits))

    def drained_bits(self, time_ns: int) -> float:
        return sum(min(self._drained(transfer, time_ns), float(transfer.bits)) for transfer in self._active)

    def topology_changed(self) -> None:
        """Links do not depend on each other here."""

    def can_progress(self) -> bool:
        return any(call is not None for call in self._active.values())

    def before_power_change(self, node: int) -> None:
        now_ns = self._clock.now_ns
        self._book_sender(node)
        for transfer in self._active:
            if transfer.tx == node:
                self._tell(transfer)
                drained, stalled_ns = self._drained(transfer, now_ns), self._stalled_ns(transfer, now_ns)
                self._marks[transfer] = (now_ns, drained, stalled_ns)

    def power_changed(self, node: int) -> None:
        self._static_rate = {link: rate for link, rate in self._static_rate.items() if link[0] != node}
        for transfer, call in self._active.items():
            if transfer.tx == node:
                if call is not None:
                    call.cancel()
                begin_ns, drained, _ = self._marks[transfer]
                self._expect(transfer, self._plan(transfer, begin_ns, max(transfer.bits - drained, 0.0)))

    def _finished(self, call: Call) -> None:
        transfer: Transfer = call.data
        del self._active[transfer]
        self._leave(transfer)
        self._done(transfer)

    def _leave(self, transfer: Transfer) -> None:
        now_ns = self._clock.now_ns
        self._tell(transfer)
        self._book_sender(transfer.tx)
        self._by_sender[transfer.tx].remove(transfer)
        self._radios.change(transfer.tx, now_ns, tx=-1.0, waiting=-1)
        self._radios.change_receivers(transfer.receivers, now_ns, -1.0)
        transfer.airtime_ns = float(now_ns - transfer.started_ns)
        if transfer.efficiency is None:
            transfer.airtime_ns -= self._stalled_ns(transfer, now_ns)
        transfer.hz_ns = transfer.airtime_ns * self._bandwidth_hz
        self._marks.pop(transfer, None)

    def _tell(self, transfer: Transfer) -> None:
        """Who watches the air: of the time since the transfer began, or its sender's power last changed."""
        begin_ns, now_ns = self._marks.get(transfer, (transfer.started_ns,))[0], self._clock.now_ns
        if self.watch is not None and now_ns > begin_ns:
            self.watch.passed(begin_ns, now_ns, [transfer], self._bandwidth_hz, None, None)

    def book_stalls(self) -> None:
        for sender in self._by_sender:
            self._book_sender(sender)

    def _book_sender(self, sender: int) -> None:
        """A sender is on the air while any of its links carries something: tell its radio when none did, since last told."""
        now_ns = self._clock.now_ns
        since_ns, self._booked_ns[sender] = self._booked_ns.get(sender, now_ns), now_ns
        if self._links.static and not self._never:
            return
        active = self._by_sender.get(sender)
        if not active or now_ns <= since_ns or any(transfer.efficiency is not None for transfer in active):
            return
        if self._links.static and all(self._constant_rate(transfer) > 0.0 for transfer in active):
            return
        receivers = np.array([receiver for transfer in active for receiver in transfer.receivers])
        first, lengths = self._cells(since_ns, now_ns)
        cn0 = self._links.band_cn0(np.full(len(receivers), sender), receivers, first, len(lengths))
        dead = (self._links.band_efficiency(cn0 / self._bandwidth_hz, receivers[:, None]) <= 0.0).all(axis=0)
        if dead.any():
            self._radios.settle_one(sender, now_ns)
            self._radios.stalled(sender, float(lengths[dead].sum()))

    def _rates(self, transfer: Transfer, first_cell: int, num_cells: int) -> np.ndarray:
        """[num_cells] bit/s of the slowest receiver's link (a unicast has one)."""
        if transfer.efficiency is not None:
            return np.full(num_cells, transfer.efficiency * self._bandwidth_hz)
        tx, rx = np.full(len(transfer.receivers), transfer.tx), np.array(transfer.receivers)
        cn0 = self._links.band_cn0(tx, rx, first_cell, num_cells)
        return self._links.band_efficiency(cn0 / self._bandwidth_hz, rx[:, None]).min(axis=0) * self._bandwidth_hz

    def _plan(self, transfer: Transfer, start_ns: int, left: float) -> Call | None:
        """Find when the `left` bits will be through from start_ns on; look a bounded time ahead, then look again."""
        if left <= 0.0:
            return self._clock.at(start_ns, self._finished, transfer)
        if self._links.static or transfer.efficiency is not None:
            rate = self._constant_rate(transfer)
            if rate <= 0.0:
                return None
            return self._clock.at(start_ns + math.ceil(left / rate * NS_PER_S), self._finished, transfer)
        cell = self._links.cell_at(start_ns)
        for _ in range(_LOOK_AHEAD_CHUNKS):
            rates = self._rates(transfer, cell, _CHUNK_CELLS)
            ends_ns = (cell + 1 + np.arange(_CHUNK_CELLS)) * self._links.cell_ns
            filled = np.cumsum(rates * np.diff(ends_ns, prepend=start_ns)) / NS_PER_S
            j = int(np.searchsorted(filled, left))
            if j < _CHUNK_CELLS:
                before = float(filled[j - 1]) if j else 0.0
                begin_ns = int(ends_ns[j - 1]) if j else start_ns
                finish_ns = begin_ns + math.ceil((left - before) / float(rates[j]) * NS_PER_S)
                return self._clock.at(finish_ns, self._finished, transfer)
            left -= float(filled[-1])
            cell += _CHUNK_CELLS
            start_ns = int(ends_ns[-1])
        return self._clock.at(start_ns, self._look_again, (transfer, left))

    def _look_again(self, call: Call) -> None:
        transfer, left = call.data
        self._expect(transfer, self._plan(transfer, self._clock.now_ns, left))

    def _constant_rate(self, transfer: Transfer) -> float:
        if transfer.efficiency is not None:
            return transfer.efficiency * self._bandwidth_hz
        audience = (transfer.tx, transfer.receivers)
        rate = self._static_rate.get(audience)
        if rate is None:
            cn0 = self._links.constant_cn0(*audience)
            rx = np.array(transfer.receivers)
            rate = float(self._links.band_efficiency(cn0 / self._bandwidth_hz, rx).min()) * self._bandwidth_hz
            self._static_rate[audience] = rate
        return rate

    def _span(self, transfer: Transfer, begin_ns: int, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Rates and lengths (ns) of the cells from begin_ns until now."""
        first, lengths = self._cells(begin_ns, now_ns)
        return self._rates(transfer, first, len(lengths)), lengths

    def _cells(self, begin_ns: int, end_ns: int) -> tuple[int, np.ndarray]:
        """The first cell of a span of time and the lengths (ns) of all its cells, cut at both ends."""
        first, last = self._links.cell_at(begin_ns), self._links.cell_at(max(end_ns - 1, 0))
        edges = np.clip((first + np.arange(last - first + 2)) * float(self._links.cell_ns), begin_ns, end_ns)
        return first, np.diff(edges)

    def _drained(self, transfer: Transfer, now_ns: int) -> float:
        begin_ns, drained, _ = self._marks.get(transfer, (transfer.started_ns, 0.0, 0.0))
        if now_ns == begin_ns:
            return drained
        if self._links.static or transfer.efficiency is not None:
            return drained + self._constant_rate(transfer) * (now_ns - begin_ns) / NS_PER_S
        rates, lengths = self._span(transfer, begin_ns, now_ns)
        return drained + float((rates * lengths).sum()) / NS_PER_S

    def _stalled_ns(self, transfer: Transfer, now_ns: int) -> float:
        begin_ns, _, stalled_ns = self._marks.get(transfer, (transfer.started_ns, 0.0, 0.0))
        if now_ns == begin_ns or transfer.efficiency is not None:
            return stalled_ns
        if self._links.static and self._constant_rate(transfer) > 0.0:
            return stalled_ns
        rates, lengths = self._span(transfer, begin_ns, now_ns)
        return stalled_ns + float(lengths[rates <= 0.0].sum())
