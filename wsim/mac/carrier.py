"""A band that active transfers share, at the fluid level.

Every transfer drains its bits at the rate its link offers within its allotment,

    rate_i(t) = share of time_i * band * efficiency( C/N0_i(t) / band of the power ),

integrated over the cells of the time-varying channel. The allotment depends on the set of active transfers only, so it is
redone when that set changes: one event a change, however many transfers change at one instant. Between two changes the
finishing times follow from the rates of the present cell or, if nobody finishes in it, from a cumulative sum over the cells
ahead, so that a cell that passes costs no event of its own.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np

from wsim.accounts import Radios
from wsim.clock import NS_PER_S, Call, Clock
from wsim.links import Links
from wsim.mac.ahead import ChannelAhead
from wsim.mac.transfer import Interference, Transfer

MANY_STALLED = 8  # from here on one array operation is cheaper than a loop
_STATIC_SPAN_NS = float(1 << 60)


class Allotment:
    """What each active transfer holds until the set changes; each number is one for all, or [num_active].

    time_share: share of time on the air; band_hz: band held while on the air; power_band_hz: band its power is spread over.
    For the rates, as arrays: power_band, rate_per_efficiency (bit/ns for each bit/s/Hz). uniform: one for all.
    """

    __slots__ = ("band_hz", "power_band", "power_band_hz", "rate_per_efficiency", "time_share", "uniform")

    def __init__(
        self, time_share: float | np.ndarray, band_hz: float | np.ndarray, power_band_hz: float | np.ndarray
    ) -> None:
        self.uniform = isinstance(time_share, float) and isinstance(band_hz, float)
        self.time_share = time_share
        self.band_hz: Any = band_hz
        self.power_band_hz = power_band_hz
        self.power_band = np.asarray(power_band_hz)
        self.rate_per_efficiency = np.asarray(time_share * (band_hz / NS_PER_S))


class Sharing(Protocol):
    """A rule that divides a carrier among its active transfers.

    even_share: the time share of every transfer where it is the same constant for all, else None.
    power_band_hz: the band the power is spread over where it never changes, else None.
    duplex_share: the part of the time that the carrier has.
    """

    @property
    def even_share(self) -> float | None: ...

    @property
    def power_band_hz(self) -> float | None: ...

    @property
    def duplex_share(self) -> float: ...

    def queue_key(self, transfer: Transfer) -> Hashable:
        """Transfers of one key go one after the other."""

    def admit(self, transfer: Transfer) -> None: ...

    def remove(self, i: int) -> None:
        """The i-th active transfer has gone; the ones behind it move up."""

    def allot(self, num_active: int) -> Allotment: ...

    def share_radios(self, radios: Radios, active: list[Transfer], time_share: float | np.ndarray) -> None:
        """Where shares vary: set the radio shares of the nodes on this carrier (settled by now)."""

    def topology_changed(self, active: list[Transfer]) -> None: ...


class Carrier:
    """One band and the transfers on it. `server`: index of the node at one end of all of them (a base station, which may
    serve several at once) or None; `server_sends`: this is its downlink. Nodes behind it are base stations as well. `hears`: where
    transfers hear each other, the channel ahead with that, and the log of who was on the air."""

    interference: Interference | None = None

    def __init__(
        self,
        clock: Clock,
        links: Links,
        radios: Radios,
        sharing: Sharing,
        done: Callable[[Transfer], None],
        server: int | None = None,
        server_sends: bool = False,
        hears: tuple[ChannelAhead, Interference] | None = None,
    ) -> None:
        self._clock = clock
        self._links = links
        self._radios = radios
        self._sharing = sharing
        self._even_share = sharing.even_share
        self._power_band_hz = sharing.power_band_hz
        self._done = done
        self._server = server
        self._first_station = 1 << 62 if server is None else server
        self._server_sends = server_sends
        self._server_on = False
        self._queues: dict[Hashable, deque[Transfer]] = {}
        self._active: list[Transfer] = []
        self._arrivals: list[Transfer] = []
        # a fixed rate on links that never change decodes all of the time or never: when its bits drain does not matter
        self._one_point = links.static and self._power_band_hz is not None
        self._num_fixed = 0  # active transfers that do not follow the channel
        self._timer: Call | None = None
        self._replan_call: Call | None = None
        self._replans_itself = False
        self._left = np.empty(16)  # bits, by active transfer; capacity doubles
        # what each has had of the air where allotments differ: time, and that times the band; as long as _left
        self._on_air_ns, self._on_hz_ns = np.zeros(16), np.zeros(16)
        expected = links.expected
        if server is not None:
            expected = [(tx, rx) for tx, rx in expected if (tx if server_sends else rx) >= server]
        self._ahead = ChannelAhead(links, self._power_band_hz, expected)
        if hears is not None:
            self._ahead, self.interference = hears
        # the plan from _plan_ns on
        self._plan_ns = 0
        self._planned = False
        self._rate = np.empty(0)  # [num_active] bit/ns in the present cell
        self._end_ns = 0.0  # where it ends, from _plan_ns
        self._cells: _Cells | None = None  # where the plan has more than that one
        self._finish = np.empty(0)  # [num_active] ns from _plan_ns until each is through
        self._stalls = False
        self._stall_mark_ns = 0  # until when stalls are booked
        self._allotment = Allotment(1.0, 0.0, 0.0)
        # integrals over time, so that a transfer's own are differences
        self._air_ns: Any = 0.0  # a number, as allotments are that are uniform
        self._hz_ns: Any = 0.0

    # -- the medium's interface ----------------------------------------------------------------------------------------

    def submit(self, transfer: Transfer, front: bool = False) -> None:
        key = self._sharing.queue_key(transfer)
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque()
            self._arrivals.append(transfer)
            self._request_replan()
            return
        if transfer.tx < self._first_station:
            self._radios.change(transfer.tx, self._clock.now_ns, waiting=1)
        if front:
            queue.appendleft(transfer)
        else:
            queue.append(transfer)

    def cancel(self, transfer: Transfer) -> float:
        key = self._sharing.queue_key(transfer)
        if transfer in self._active:
            self._advance(self._clock.now_ns)
            i = self._active.index(transfer)
            drained = transfer.bits - max(float(self._left[i]), 0.0)
            self._drop(i)
            self._next(key)
            return drained
        if transfer in self._arrivals:
            self._arrivals.remove(transfer)
            self._next(key)
        else:
            self._queues[key].remove(transfer)
            if transfer.tx < self._first_station:
                self._radios.change(transfer.tx, self._clock.now_ns, waiting=-1)
        return 0.0

    def drained_of(self, transfer: Transfer) -> float:
        """Bits of an active transfer that are through by now."""
        i = self._active.index(transfer)
        progress = self._progress(self._clock.now_ns)
        left = self._left[i] - (progress if isinstance(progress, float) else progress[i])
        return transfer.bits - max(float(left), 0.0)

    def drained_bits(self, time_ns: int) -> float:
        n = len(self._active)
        if n == 0:
            return 0.0
        left = np.maximum(self._left[:n] - self._progress(time_ns), 0.0)
        return float(sum(transfer.bits for transfer in self._active) - left.sum())

    def can_progress(self) -> bool:
        return self._timer is not None or self._replan_call is not None

    def topology_changed(self) -> None:
        if self._active:
            self._sharing.topology_changed(self._active)
            self._request_replan()

    def before_power_change(self, node: int) -> None:
        self._advance(self._clock.now_ns)

    def power_changed(self, node: int) -> None:
        if any(transfer.tx == node for transfer in self._active):
            self._ahead.forget()
            self._request_replan()

    # -- events --------------------------------------------------------------------------------------------------------

    def _request_replan(self) -> None:
        if self._replan_call is None and not self._replans_itself:
            self._replan_call = self._clock.replan(self._replan)

    def _finished(self, call: Call) -> None:
        """Some transfers are through, or the cells ahead are used up."""
        now_ns = self._clock.now_ns
        if not self._planned:  # something changed at this very instant: the replanning to come finds who is through
            return
        through = (self._finish <= now_ns - self._plan_ns).nonzero()[0].tolist()
        self._replans_itself = True
        self._advance(now_ns)
        finished = [self._active[i] for i in through]
        for i in reversed(through):
            self._drop(i)
        for transfer in finished:
            self._done(transfer)  # may put what was lost back in front
            self._next(self._sharing.queue_key(transfer))
        self._replans_itself = False
        if self._replan_call is not None:
            self._replan_call.cancel()
        self._replan(call)

    def _next(self, key: Hashable) -> None:
        """The head of this queue has left: the next one takes its place."""
        queue = self._queues[key]
        if queue:
            transfer = queue.popleft()
            self._arrivals.append(transfer)
            if transfer.tx < self._first_station:  # counted again when it is admitted, at this same instant
                self._radios.change(transfer.tx, self._clock.now_ns, waiting=-1)
        else:
            del self._queues[key]
        self._request_replan()

    def _admit(self, now_ns: int) -> None:
        n = len(self._active)
        arrivals, self._arrivals = self._arrivals, []
        if n + len(arrivals) > len(self._left):
            capacity = max(2 * len(self._left), n + len(arrivals))
            self._left = _grown(self._left, capacity)
            self._on_air_ns, self._on_hz_ns = _grown(self._on_air_ns, capacity), _grown(self._on_hz_ns, capacity)
        for i, transfer in enumerate(arrivals, start=n):
            transfer.started_ns = now_ns
            transfer.air_mark_ns, transfer.hz_mark_ns = self._air_ns, self._hz_ns
            self._left[i] = transfer.bits
            self._on_air_ns[i] = self._on_hz_ns[i] = 0.0
            self._active.append(transfer)
            self._sharing.admit(transfer)
            if transfer.efficiency is not None:
                self._num_fixed += 1
                if self._one_point:
                    transfer.history.append((now_ns, 0.0, self._power_band_hz or 0.0))
            self._set_share(transfer, now_ns, self._even_share or 0.0, 1)

    def _drop(self, i: int) -> None:
        """Take the i-th transfer off the air; the plan is void until the replanning at this same instant."""
        now_ns = self._clock.now_ns
        n = len(self._active)
        transfer = self._active.pop(i)
        self._num_fixed -= transfer.efficiency is not None
        if self._allotment.uniform:
            transfer.airtime_ns += self._air_ns - transfer.air_mark_ns
            transfer.hz_ns += self._hz_ns - transfer.hz_mark_ns
        else:
            transfer.airtime_ns += float(self._on_air_ns[i])
            transfer.hz_ns += float(self._on_hz_ns[i])
            for amounts in (self._on_air_ns, self._on_hz_ns):
                amounts[i : n - 1] = amounts[i + 1 : n]
        self._left[i : n - 1] = self._left[i + 1 : n]
        self._ahead.remove(i)
        self._sharing.remove(i)
        self._set_share(transfer, now_ns, 0.0, -1)
        self._planned = False

    def _set_share(self, transfer: Transfer, now_ns: int, share: float, waiting: int = 0) -> None:
        """A transfer is on the air for another share of the time from now on."""
        change = share - transfer.time_share
        transfer.time_share = share
        if transfer.tx < self._first_station:
            self._radios.change(transfer.tx, now_ns, change, 0.0, waiting)
        if change and (self._server_sends or self._server is None):
            self._radios.change_receivers(transfer.receivers, now_ns, change)

    def _set_server(self, now_ns: int) -> None:
        """The server's radio is on while any of its transfers is."""
        if self._server is None or bool(self._active) == self._server_on:
            return
        self._server_on = bool(self._active)
        share = self._sharing.duplex_share
        change = share if self._server_on else -share
        self._radios.change(self._server, now_ns, *((change, 0.0) if self._server_sends else (0.0, change)))

    # -- planning ------------------------------------------------------------------------------------------------------

    def _progress(self, now_ns: int) -> np.ndarray | float:
        """Bits drained since the plan was made, [num_active]."""
        elapsed = now_ns - self._plan_ns
        if elapsed == 0 or not self._planned:
            return 0.0
        if self._cells is None or elapsed <= self._end_ns:
            return self._rate * elapsed
        return self._cells.filled_by(elapsed)

    def _advance(self, now_ns: int) -> None:
        """Book what has been drained since the plan was made. The plan is used up: a replanning must follow."""
        elapsed = now_ns - self._plan_ns
        if elapsed > 0 and self._planned:
            n = len(self._active)
            self._left[:n] -= self._progress(now_ns)
            allotment = self._allotment
            share = allotment.time_share
            if allotment.uniform:
                self._air_ns += share * elapsed
                self._hz_ns += share * elapsed * allotment.band_hz
            else:
                on_air_ns = share * elapsed
                self._on_air_ns[:n] += on_air_ns
                self._on_hz_ns[:n] += on_air_ns * allotment.band_hz
            if self._stalls:
                self.book_stalls()
            self._planned = False
            self._request_replan()
        self._plan_ns = now_ns

    def book_stalls(self) -> None:
        now_ns = self._clock.now_ns
        if not (self._stalls and self._planned) or now_ns <= self._stall_mark_ns:
            return
        since, elapsed = float(self._stall_mark_ns - self._plan_ns), float(now_ns - self._plan_ns)
        self._stall_mark_ns = now_ns
        if self._cells is None:
            stalled_ns = (self._rate <= 0.0) * (min(elapsed, self._end_ns) - since) * self._allotment.time_share
        else:
            stalled_ns = self._cells.stalled_ns(since, elapsed) * self._allotment.time_share
        those = np.flatnonzero(stalled_ns)
        if not self._allotment.uniform:
            n = len(self._active)
            self._on_air_ns[:n] -= stalled_ns
            self._on_hz_ns[:n] -= stalled_ns * self._allotment.band_hz
            if len(those) >= MANY_STALLED:
                self._radios_stalled(np.array([self._active[i].tx for i in those.tolist()]), stalled_ns[those])
                return
        for i in those.tolist():
            transfer = self._active[i]
            if self._allotment.uniform:
                transfer.airtime_ns -= float(stalled_ns[i])
                transfer.hz_ns -= float(stalled_ns[i]) * self._allotment.band_hz
            if transfer.tx < self._first_station:
                self._radios.settle_one(transfer.tx, now_ns)
                self._radios.stalled(transfer.tx, round(float(stalled_ns[i])))

    def _radios_stalled(self, senders: np.ndarray, stalled_ns: np.ndarray) -> None:
        """Tell the radios of several senders, each of which has one transfer on the air; base stations aside."""
        devices = senders < self._first_station
        for sender in senders[devices].tolist():
            self._radios.settle_one(sender, self._clock.now_ns)
        self._radios.several_stalled(senders[devices], np.rint(stalled_ns[devices]))

    def _replan(self, call: Call) -> None:
        """The set changed, or the cells ahead are used up: divide the carrier anew and find who finishes first."""
        now_ns = self._clock.now_ns
        self._replans_itself = True
        self._advance(now_ns)
        self._replans_itself = False
        self._replan_call = None
        if self._arrivals:
            self._admit(now_ns)
        self._set_server(now_ns)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        n = len(self._active)
        allotment = self._allotment = self._sharing.allot(n)
        if self._even_share is None:
            self._radios.settle(slice(None), now_ns)
            self._sharing.share_radios(self._radios, self._active, allotment.time_share)
        if n == 0:
            self._ahead.clear()
            return
        if self._num_fixed and not self._one_point:
            bands_hz = np.broadcast_to(allotment.power_band_hz, n).tolist()
            for transfer, left, band_hz in zip(self._active, self._left[:n].tolist(), bands_hz, strict=True):
                if transfer.efficiency is not None:
                    transfer.history.append((now_ns, transfer.bits - left, band_hz))
        if self._num_fixed and self.interference is not None:
            since_ns = min(transfer.started_ns for transfer in self._active if transfer.efficiency is not None)
            self.interference.forget_before(since_ns)
            self.interference.note(now_ns, self._active)
        offset = self._ahead.look(self._links.cell_at(now_ns), self._active)
        self._plan(now_ns, offset)
        self._planned = True
        self._stall_mark_ns = now_ns

    def _plan(self, now_ns: int, offset: int) -> None:
        """Find the first finish: in the present cell, else in the cells ahead; set the timer to it or to their end."""
        n = len(self._active)
        left = self._left[:n]
        self._cells = None
        self._rate = rate = self._rates_of(self._ahead.at(offset))
        if self._links.static:
            end = _STATIC_SPAN_NS
        else:
            end = float((self._ahead.first_cell + offset + 1) * self._links.cell_ns - now_ns)
        self._end_ns = end
        self._stalls = rate.item(rate.argmin()) <= 0.0  # argmin: a reduction costs numpy five times as much
        if self._stalls:
            finish = np.full(n, np.inf)
            moving = rate > 0.0
            finish[moving] = left[moving] / rate[moving]
        else:
            finish = left / rate
        first = max(finish.item(finish.argmin()), 0.0)
        if first > end:
            if self._links.static:
                self._finish = finish
                return  # nothing moves: nobody finishes until the set changes
            if offset + 1 < self._ahead.num_cells:
                self._plan_ahead(now_ns, offset)
                return
            first = end
            self._ahead.look_further()
        self._finish = finish
        self._timer = self._clock.after(math.ceil(first), self._finished)

    def _plan_ahead(self, now_ns: int, offset: int) -> None:
        """Nobody finishes in the present cell: add up the bits over all the cells that are known."""
        numbers = self._ahead.first_cell + np.arange(offset + 1, self._ahead.num_cells + 1)
        ends_ns = (numbers * self._links.cell_ns - now_ns).astype(np.float64)
        cells = self._cells = _Cells(self._rates_of(self._ahead.since(offset)), ends_ns)
        self._finish, last = cells.finish_ns(self._left[: len(self._active)])
        if last is None:
            first = float(ends_ns[-1])
            self._ahead.look_further()
        else:
            first = float(self._finish.min())
            self._ahead.look_so_far(2 * last + 2)
        self._stalls = bool(cells.rates.min() <= 0.0)
        self._timer = self._clock.after(math.ceil(first), self._finished)

    def _rates_of(self, ahead: np.ndarray) -> np.ndarray:
        """[..., num_active] bit/ns of all active transfers from their channel ahead."""
        allotment = self._allotment
        if self._power_band_hz is None:
            rx = np.array([transfer.receivers[0] for transfer in self._active]) if self._links.ergodic else None
            ahead = self._links.band_efficiency(ahead / allotment.power_band, rx)
            if self._num_fixed:
                for i, transfer in enumerate(self._active):
                    if transfer.efficiency is not None:
                        ahead[..., i] = transfer.efficiency
        rates: np.ndarray = ahead * allotment.rate_per_efficiency
        return rates


def _grown(old: np.ndarray, capacity: int) -> np.ndarray:
    new = np.empty(capacity)
    new[: len(old)] = old
    return new


class _Cells:
    """A plan over several cells. rates: [cells, num_active] bit/ns; ends_ns: [cells] from when the plan was made."""

    def __init__(self, rates: np.ndarray, ends_ns: np.ndarray) -> None:
        self.rates = rates
        self._ends_ns = ends_ns
        self._filled = np.cumsum(rates * np.diff(ends_ns, prepend=0.0)[:, None], axis=0)  # bits by the end of each cell

    def finish_ns(self, left: np.ndarray) -> tuple[np.ndarray, int | None]:
        """[num_active] when so many bits are through, infinity beyond the last cell; and the cell of the first finish."""
        finish = np.full(len(left), np.inf)
        through = np.flatnonzero(self._filled[-1] >= left)
        if not len(through):
            return finish, None
        filled, bits = self._filled[:, through], left[through]
        j = (filled < bits).sum(axis=0)
        before = np.where(j > 0, filled[j - 1, np.arange(len(through))], 0.0)
        begin = np.where(j > 0, self._ends_ns[j - 1], 0.0)
        finish[through] = begin + np.maximum(bits - before, 0.0) / self.rates[j, through]
        return finish, int(j.min())

    def filled_by(self, elapsed_ns: int) -> np.ndarray:
        """[num_active] bits, later than the first cell."""
        j = int(np.searchsorted(self._ends_ns, elapsed_ns))
        filled: np.ndarray = self._filled[j - 1] + self.rates[j] * (elapsed_ns - self._ends_ns[j - 1])
        return filled

    def stalled_ns(self, since_ns: float, until_ns: float) -> np.ndarray:
        """[num_active] time with rate zero."""
        lengths = np.diff(np.clip(self._ends_ns, since_ns, until_ns), prepend=since_ns)
        stalled: np.ndarray = ((self.rates <= 0.0) * lengths[:, None]).sum(axis=0)
        return stalled
