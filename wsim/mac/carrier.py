"""A band that active transfers share, at the fluid level.

Every transfer drains its bits at the rate its link offers within its allotment,

    rate_i(t) = share of time_i * band_i * efficiency( C/N0_i(t) / band of the power_i ),

integrated over the cells of the time-varying channel. The allotment depends on the set of active transfers only, so it is
redone when that set changes: one event a change, however many transfers change at one instant, and none for a fading cell
that passes. Between two changes the finishing time of every transfer follows from a cumulative sum over the coming cells.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wsim.accounts import Radios
from wsim.clock import NS_PER_S, REPLAN, Call, Clock
from wsim.links import Links
from wsim.mac.transfer import Transfer

_MAX_CELLS = 64  # cells planned ahead at most
_MAX_ENTRIES = 1 << 16  # transfers x cells planned ahead at most
_STATIC_SPAN_NS = 1 << 60


@dataclass(frozen=True)
class Allotment:
    """What each active transfer holds until the set changes; scalars or [num_active] arrays.

    time_share: share of time on the air; band_hz: band held while on the air; power_band_hz: band its power is spread over.
    """

    time_share: float | np.ndarray
    band_hz: float
    power_band_hz: float


class Sharing(Protocol):
    """A rule that divides a carrier among its active transfers. `even`: all time shares are the constant `even_share`."""

    even_share: float | None

    def queue_key(self, transfer: Transfer) -> Hashable:
        """Transfers of one key go one after the other."""

    def admit(self, transfer: Transfer) -> None: ...

    def remove(self, kept: np.ndarray) -> None:
        """Keep the transfers with kept[i] True, in order."""

    def allot(self, num_active: int) -> Allotment: ...

    def topology_changed(self, active: list[Transfer]) -> None: ...


class Carrier:
    """One band and the transfers on it. `server`: index of the node at one end of all of them (a base station, which may
    serve several at once) or None; `server_sends`: this is its downlink."""

    def __init__(
        self,
        clock: Clock,
        links: Links,
        radios: Radios,
        sharing: Sharing,
        done: Callable[[Transfer], None],
        server: int | None = None,
        server_sends: bool = False,
    ) -> None:
        self._clock = clock
        self._links = links
        self._radios = radios
        self._sharing = sharing
        self._done = done
        self._server = server
        self._server_sends = server_sends
        self._server_on = False
        self._queues: dict[Hashable, deque[Transfer]] = {}
        self._active: list[Transfer] = []
        self._arrivals: list[Transfer] = []
        self._timer: Call | None = None
        self._replan_call: Call | None = None
        # per active transfer
        self._left = np.empty(0)  # bits
        self._airtime_ns = np.empty(0)
        self._hz_ns = np.empty(0)
        self._finish_ns = np.empty(0)
        self._adaptive = np.empty(0, dtype=bool)
        self._fixed_efficiency = np.empty(0)
        # the channel ahead: C/N0 [num_active, cells] from cell _chunk_first on
        self._cn0 = np.empty((0, 0))
        self._chunk_first = 0
        # the plan: valid from _plan_ns for the present set
        self._plan_ns = 0
        self._ends_ns = np.empty(0)  # [cells] offsets from _plan_ns
        self._rates = np.empty((0, 0))  # [num_active, cells] bit/ns
        self._filled = np.empty((0, 0))  # [num_active, cells] bits by the end of each cell
        self._allotment = Allotment(1.0, 0.0, 0.0)
        self._any_stall = False

    # -- the medium's interface ----------------------------------------------------------------------------------------

    def submit(self, transfer: Transfer, front: bool = False) -> None:
        key = self._sharing.queue_key(transfer)
        queue = self._queues.get(key)
        self._radios.change(transfer.tx, self._clock.now_ns, waiting=1)
        if queue is None:
            self._queues[key] = deque()
            self._arrivals.append(transfer)
            self._request_replan()
        elif front:
            queue.appendleft(transfer)
        else:
            queue.append(transfer)

    def cancel(self, transfer: Transfer) -> float:
        now_ns = self._clock.now_ns
        key = self._sharing.queue_key(transfer)
        if transfer in self._active:
            self._advance(now_ns)
            i = self._active.index(transfer)
            drained = transfer.bits - max(float(self._left[i]), 0.0)
            kept = np.ones(len(self._active), dtype=bool)
            kept[i] = False
            self._drop(kept)
            self._next(key)
            return drained
        if transfer in self._arrivals:
            self._arrivals.remove(transfer)
            self._next(key)
        else:
            self._queues[key].remove(transfer)
        self._radios.change(transfer.tx, now_ns, waiting=-1)
        return 0.0

    def drained_bits(self) -> float:
        if not self._active:
            return 0.0
        bits, _ = self._progress(self._clock.now_ns)
        total = sum(transfer.bits for transfer in self._active)
        return float(total - np.maximum(self._left - bits, 0.0).sum())

    def topology_changed(self) -> None:
        if self._active:
            self._sharing.topology_changed(self._active)
            self._request_replan()

    def before_power_change(self, node: int) -> None:
        self._advance(self._clock.now_ns)

    def power_changed(self, node: int) -> None:
        if any(transfer.tx == node for transfer in self._active):
            self._cn0 = np.empty((0, 0))  # the channel ahead is looked up anew
            self._request_replan()

    def can_progress(self) -> bool:
        return self._timer is not None or self._replan_call is not None

    # -- events --------------------------------------------------------------------------------------------------------

    def _request_replan(self) -> None:
        if self._replan_call is None:
            self._replan_call = self._clock.after(0, self._replan, None, REPLAN)

    def _finished(self, call: Call) -> None:
        """Some transfers are through, or the planned cells are used up."""
        now_ns = self._clock.now_ns
        self._advance(now_ns)
        through = self._finish_ns <= now_ns
        if through.any():
            finished = [self._active[i] for i in np.flatnonzero(through).tolist()]
            self._left[through] = 0.0
            self._drop(~through)
            for transfer in finished:
                self._done(transfer)  # may put what was lost back in front
                self._next(self._sharing.queue_key(transfer))
        self._request_replan()

    def _next(self, key: Hashable) -> None:
        """The head of this queue has left: the next one takes its place."""
        queue = self._queues[key]
        if queue:
            self._arrivals.append(queue.popleft())
        else:
            del self._queues[key]
        self._request_replan()

    def _drop(self, kept: np.ndarray) -> None:
        now_ns = self._clock.now_ns
        for i in np.flatnonzero(~kept).tolist():
            transfer = self._active[i]
            transfer.airtime_ns = float(self._airtime_ns[i])
            transfer.hz_ns = float(self._hz_ns[i])
            self._set_share(transfer, now_ns, 0.0)
            self._radios.change(transfer.tx, now_ns, waiting=-1)
        self._active = [transfer for transfer, keep in zip(self._active, kept.tolist(), strict=True) if keep]
        for name in ("_left", "_airtime_ns", "_hz_ns", "_finish_ns", "_adaptive", "_fixed_efficiency"):
            setattr(self, name, getattr(self, name)[kept])
        if len(self._cn0):
            self._cn0 = self._cn0[kept]
        self._sharing.remove(kept)
        self._set_server(now_ns)
        self._plan_ns = now_ns
        self._ends_ns = np.empty(0)  # no plan until the replanning at this same instant

    def _set_share(self, transfer: Transfer, now_ns: int, share: float) -> None:
        """A transfer is on the air for another share of the time from now on."""
        change = share - transfer.time_share
        transfer.time_share = share
        if transfer.tx != self._server:
            self._radios.change(transfer.tx, now_ns, tx=change)
        for rx in transfer.receivers.tolist():
            if rx != self._server:
                self._radios.change(rx, now_ns, rx=change)

    def _set_server(self, now_ns: int) -> None:
        """The server's radio is on while any of its transfers is."""
        if self._server is None or self._sharing.even_share is None or bool(self._active) == self._server_on:
            return
        self._server_on = bool(self._active)
        share = self._sharing.even_share if self._server_on else -self._sharing.even_share
        if self._server_sends:
            self._radios.change(self._server, now_ns, tx=share)
        else:
            self._radios.change(self._server, now_ns, rx=share)

    # -- planning ------------------------------------------------------------------------------------------------------

    def _progress(self, now_ns: int) -> tuple[np.ndarray, np.ndarray | float]:
        """Bits drained since the plan was made, and the time stalled at rate zero, [num_active] each."""
        elapsed = now_ns - self._plan_ns
        if elapsed == 0 or not len(self._ends_ns):
            return np.zeros(len(self._active)), 0.0
        if len(self._ends_ns) == 1:
            return self._rates[:, 0] * elapsed, (self._rates[:, 0] <= 0.0) * float(elapsed) if self._any_stall else 0.0
        j = int(np.searchsorted(self._ends_ns, elapsed))
        begin = self._ends_ns[j - 1] if j else 0.0
        bits = self._rates[:, j] * (elapsed - begin)
        if j:
            bits = bits + self._filled[:, j - 1]
        if not self._any_stall:
            return bits, 0.0
        lengths = np.diff(self._ends_ns[: j + 1], prepend=0.0)
        lengths[-1] = elapsed - begin
        return bits, ((self._rates[:, : j + 1] <= 0.0) * lengths).sum(axis=1)

    def _advance(self, now_ns: int) -> None:
        """Book what has been drained since the plan was made; the plan goes on from here."""
        elapsed = now_ns - self._plan_ns
        if elapsed == 0 or not len(self._ends_ns):
            self._plan_ns = now_ns
            return
        bits, stalled_ns = self._progress(now_ns)
        self._left = self._left - bits
        on_air_ns = self._allotment.time_share * (elapsed - stalled_ns)
        self._airtime_ns = self._airtime_ns + on_air_ns
        self._hz_ns = self._hz_ns + on_air_ns * self._allotment.band_hz
        if self._any_stall:
            share = np.broadcast_to(self._allotment.time_share, len(self._active))
            for i in np.flatnonzero(stalled_ns).tolist():
                self._radios.settle_one(self._active[i].tx, now_ns)
                if self._active[i].tx != self._server:
                    self._radios.stalled(self._active[i].tx, round(float(stalled_ns[i] * share[i])))  # type: ignore[index]
        self._ends_ns = self._ends_ns - elapsed
        if len(self._ends_ns) > 1:
            ahead = self._ends_ns > 0.0
            self._filled = self._filled[:, ahead] - bits[:, None]
            self._rates = self._rates[:, ahead]
            self._ends_ns = self._ends_ns[ahead]
        self._plan_ns = now_ns

    def _replan(self, call: Call) -> None:
        """The set changed, or the cells ahead are used up: divide the carrier anew and find who finishes first."""
        self._replan_call = None
        now_ns = self._clock.now_ns
        self._advance(now_ns)
        if self._arrivals:
            self._admit(now_ns)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        n = len(self._active)
        if n == 0:
            self._cn0 = np.empty((0, 0))
            return
        allotment = self._allotment = self._sharing.allot(n)
        if self._sharing.even_share is None:
            self._share_radios(now_ns, allotment.time_share)
        offset = self._look_ahead(now_ns, n)
        cn0 = self._cn0[:, offset:]
        efficiency = self._links.efficiency(cn0 / allotment.power_band_hz)
        if not self._adaptive.all():
            efficiency = np.where(self._adaptive[:, None], efficiency, self._fixed_efficiency[:, None])
        scale = allotment.time_share * (allotment.band_hz / NS_PER_S)
        rates = efficiency * (scale[:, None] if isinstance(scale, np.ndarray) else scale)
        num_cells = rates.shape[1]
        if self._links.static:
            ends = np.array([float(_STATIC_SPAN_NS)])
        else:
            first = self._chunk_first + offset
            ends = (first + 1 + np.arange(num_cells)) * float(self._links.cell_ns) - now_ns
        if num_cells == 1:
            filled = rates * ends[0]
        else:
            filled = np.cumsum(rates * np.diff(ends, prepend=0.0), axis=1)
        self._rates, self._ends_ns, self._filled = rates, ends, filled
        self._any_stall = bool((rates <= 0.0).any())
        if not self._adaptive.all():
            for i in np.flatnonzero(~self._adaptive).tolist():
                transfer = self._active[i]
                transfer.history.append((now_ns, transfer.bits - float(self._left[i]), allotment.power_band_hz))
        self._schedule(now_ns, n)

    def _schedule(self, now_ns: int, n: int) -> None:
        """Set the timer to the first finish, or to the end of the planned cells."""
        left, rates, filled, ends = self._left, self._rates, self._filled, self._ends_ns
        with np.errstate(divide="ignore", invalid="ignore"):
            if len(ends) == 1:
                finish = left / rates[:, 0]
                finish[~(finish <= ends[0])] = np.inf
            else:
                j = np.minimum((filled < left[:, None]).sum(axis=1), len(ends) - 1)
                rows = np.arange(n)
                before = np.where(j > 0, filled[rows, j - 1], 0.0)
                begin = np.where(j > 0, ends[j - 1], 0.0)
                finish = begin + (left - before) / rates[rows, j]
                finish[filled[:, -1] < left] = np.inf
        finish = np.maximum(finish, 0.0)
        self._finish_ns = now_ns + np.ceil(finish)
        first = float(finish.min())
        if first <= ends[-1]:
            self._timer = self._clock.after(int(np.ceil(first)), self._finished)
        elif not self._links.static:
            self._timer = self._clock.after(int(ends[-1]), self._finished)

    def _admit(self, now_ns: int) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for transfer in arrivals:
            transfer.started_ns = now_ns
            self._active.append(transfer)
            self._sharing.admit(transfer)
            if self._sharing.even_share is not None:
                self._set_share(transfer, now_ns, self._sharing.even_share)
        self._set_server(now_ns)
        k = len(arrivals)
        adaptive = np.array([transfer.efficiency is None for transfer in arrivals])
        self._left = np.concatenate([self._left, [float(transfer.bits) for transfer in arrivals]])
        self._airtime_ns = np.concatenate([self._airtime_ns, np.zeros(k)])
        self._hz_ns = np.concatenate([self._hz_ns, np.zeros(k)])
        self._adaptive = np.concatenate([self._adaptive, adaptive])
        fixed = [transfer.efficiency or 0.0 for transfer in arrivals]
        self._fixed_efficiency = np.concatenate([self._fixed_efficiency, fixed])

    def _look_ahead(self, now_ns: int, n: int) -> int:
        """Make C/N0 of all active transfers known from the present cell on; returns the present cell's column."""
        cell = self._links.cell_at(now_ns)
        have, cells = self._cn0.shape
        offset = cell - self._chunk_first
        if have == 0 or offset >= cells:
            self._chunk_first = cell
            width = 1 if self._links.static else max(1, min(_MAX_CELLS, _MAX_ENTRIES // n))
            self._cn0 = self._channel_of(self._active, cell, width)
            return 0
        if have < n:
            new = np.zeros((n - have, cells))
            new[:, offset:] = self._channel_of(self._active[have:], cell, cells - offset)
            self._cn0 = np.concatenate([self._cn0, new])
        return offset

    def _channel_of(self, transfers: list[Transfer], first_cell: int, num_cells: int) -> np.ndarray:
        """[len(transfers), num_cells] C/N0; zero for a fixed efficiency, which does not look at the channel."""
        adaptive = [i for i, transfer in enumerate(transfers) if transfer.efficiency is None]
        tx = np.array([transfers[i].tx for i in adaptive], dtype=np.int64)
        rx = np.array([transfers[i].receivers[0] for i in adaptive], dtype=np.int64)
        if len(adaptive) == len(transfers):
            return self._links.cn0(tx, rx, first_cell, num_cells)
        cn0 = np.zeros((len(transfers), num_cells))
        if adaptive:
            cn0[adaptive] = self._links.cn0(tx, rx, first_cell, num_cells)
        return cn0

    def _share_radios(self, now_ns: int, time_share: float | np.ndarray) -> None:
        """Set the radio shares of all nodes from the allotment (for rules whose shares vary)."""
        radios = self._radios
        radios.settle(slice(None), now_ns)
        share = np.broadcast_to(time_share, len(self._active)).tolist()
        change = [x - transfer.time_share for x, transfer in zip(share, self._active, strict=True)]
        np.add.at(radios.tx_share, [transfer.tx for transfer in self._active], change)
        for transfer, x, dx in zip(self._active, share, change, strict=True):
            radios.rx_share[transfer.receivers] += dx
            transfer.time_share = x
