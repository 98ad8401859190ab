"""A band that active transfers share, at the fluid level.

Every transfer drains its bits at the rate its link offers within its allotment,

    rate_i(t) = share of time_i * band * efficiency( C/N0_i(t) / band of the power ),

integrated over the cells of the time-varying channel. The allotment depends on the set of active transfers only, so it is
redone when that set changes: one event a change, however many transfers change at one instant. Between two changes everything
follows from one plan (`wsim.mac.plan`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

import numpy as np

from wsim.clock import Call, Clock
from wsim.links import Links
from wsim.mac.ahead import ChannelAhead
from wsim.mac.air_time import AirTime, grown
from wsim.mac.air_watch import AirWatch
from wsim.mac.allotment import Allotment, Sharing
from wsim.mac.carrier_radios import CarrierRadios
from wsim.mac.plan import Plan, Planner
from wsim.mac.queues import Queues
from wsim.mac.transfer import Interference, Transfer


class Carrier:
    """One band and the transfers on it. `hears`: where transfers hear each other, the channel ahead with that, and the log of
    who was on the air."""

    interference: Interference | None = None
    watch: AirWatch | None = None

    def __init__(
        self,
        clock: Clock,
        links: Links,
        radios: CarrierRadios,
        sharing: Sharing,
        done: Callable[[Transfer], None],
        hears: tuple[ChannelAhead, Interference] | None = None,
    ) -> None:
        self._clock = clock
        self._radios = radios
        self._sharing = sharing
        self._even_share = sharing.even_share
        self._power_band_hz = sharing.power_band_hz
        self._done = done
        # a fixed rate on links that never change decodes all of the time or never: when its bits drain does not matter
        self._one_point = links.static and self._power_band_hz is not None
        self._queues = Queues()
        self._active: list[Transfer] = []
        self._arrivals: list[Transfer] = []
        self._left = np.empty(16)  # bits, by active transfer; capacity doubles
        self._air_time = AirTime()
        self._allotment = Allotment(1.0, 0.0, 0.0)
        expected = links.expected
        if radios.server is not None:
            expected = [(tx, rx) for tx, rx in expected if (tx if radios.server_sends else rx) >= radios.server]
        self._ahead = ChannelAhead(links, self._power_band_hz, expected)
        if hears is not None:
            self._ahead, self.interference = hears
        self._planner = Planner(links, self._ahead, self._power_band_hz)
        self._plan: Plan | None = None  # void until the replanning at this same instant
        self._stall_mark_ns = 0  # until when stalls are booked
        self._timer: Call | None = None
        self._replan_call: Call | None = None
        self._replans_itself = False

    # -- the medium's interface ----------------------------------------------------------------------------------------

    def submit(self, transfer: Transfer, front: bool = False) -> None:
        if self._queues.join(self._sharing.queue_key(transfer), transfer, front):
            self._arrivals.append(transfer)
            self._request_replan()
        else:
            self._radios.wait(transfer, self._clock.now_ns, 1)

    def cancel(self, transfer: Transfer) -> float:
        key = self._sharing.queue_key(transfer)
        if transfer in self._active:
            self._advance(self._clock.now_ns)
            i = self._active.index(transfer)
            drained = transfer.bits - max(float(self._left[i]), 0.0)
            self._drop(i)
            self._next(key)
            self._request_replan()
            return drained
        if transfer in self._arrivals:
            self._arrivals.remove(transfer)
            self._next(key)
            self._request_replan()
        else:
            self._queues.leave(key, transfer)
            self._radios.wait(transfer, self._clock.now_ns, -1)
        return 0.0

    def drained_of(self, transfer: Transfer) -> float:
        """Bits of an active transfer that are through by now."""
        i = self._active.index(transfer)
        return transfer.bits - max(float(self._left_at(self._clock.now_ns)[i]), 0.0)

    def drained_bits(self, time_ns: int) -> float:
        if not self._active:
            return 0.0
        left = np.maximum(self._left_at(time_ns), 0.0)
        return float(sum(transfer.bits for transfer in self._active) - left.sum())

    def _left_at(self, time_ns: int) -> np.ndarray:
        """[num_active] bits that will not be through by then, if nothing happens until then."""
        left, plan = self._left[: len(self._active)], self._plan
        return left if plan is None else left - plan.progress(time_ns)

    def can_progress(self) -> bool:
        return self._timer is not None or self._replan_call is not None

    def topology_changed(self) -> None:
        if self._active:
            self._sharing.topology_changed(self._active)
            self._request_replan()

    def before_power_change(self, node: int) -> None:
        if self._advance(self._clock.now_ns):
            self._request_replan()

    def power_changed(self, node: int) -> None:
        if any(transfer.tx == node for transfer in self._active):
            self._ahead.forget()
            self._request_replan()

    def book_stalls(self) -> None:
        now_ns, plan = self._clock.now_ns, self._plan
        if plan is None or not plan.stalls or now_ns <= self._stall_mark_ns:
            return
        allotment = self._allotment
        stalled_ns = plan.stalled_ns(self._stall_mark_ns, now_ns) * allotment.time_share
        self._stall_mark_ns = now_ns
        those = np.flatnonzero(stalled_ns).tolist()
        self._air_time.stall(stalled_ns, those, self._active, allotment)
        self._radios.stall(stalled_ns, those, self._active, now_ns, one_each=not allotment.uniform)

    # -- events --------------------------------------------------------------------------------------------------------

    def _request_replan(self) -> None:
        if self._replan_call is None and not self._replans_itself:
            self._replan_call = self._clock.replan(self._replan)

    def _finished(self, call: Call) -> None:
        """Some transfers are through, or the cells ahead are used up."""
        now_ns = self._clock.now_ns
        if self._plan is None:  # something changed at this very instant: the replanning to come finds who is through
            return
        through = self._plan.through(now_ns)
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
        transfer = self._queues.next(key)
        if transfer is not None:
            self._arrivals.append(transfer)
            self._radios.wait(transfer, self._clock.now_ns, -1)  # counted again when admitted, at this same instant

    def _admit(self, now_ns: int) -> None:
        n = len(self._active)
        arrivals, self._arrivals = self._arrivals, []
        if n + len(arrivals) > len(self._left):
            capacity = max(2 * len(self._left), n + len(arrivals))
            self._left = grown(self._left, capacity)
            self._air_time.make_room(capacity)
        for i, transfer in enumerate(arrivals, start=n):
            transfer.started_ns = now_ns
            self._left[i] = transfer.bits
            self._air_time.begin(i, transfer)
            self._active.append(transfer)
            self._sharing.admit(transfer)
            if transfer.efficiency is not None:
                self._planner.num_fixed += 1
                if self._one_point:
                    transfer.history.append((now_ns, 0.0, self._power_band_hz or 0.0))
            self._radios.set_share(transfer, now_ns, self._even_share or 0.0, 1)

    def _drop(self, i: int) -> None:
        """Take the i-th transfer off the air; the plan is void until the replanning at this same instant."""
        n = len(self._active)
        transfer = self._active.pop(i)
        self._planner.num_fixed -= transfer.efficiency is not None
        self._air_time.end(i, n, transfer, self._allotment)
        self._left[i : n - 1] = self._left[i + 1 : n]
        self._ahead.remove(i)
        self._sharing.remove(i)
        self._radios.set_share(transfer, self._clock.now_ns, 0.0, -1)
        self._plan = None

    # -- planning ------------------------------------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> bool:
        """Book what has been drained since the plan was made. Whether anything was: then the plan is used up and a replanning
        must follow."""
        plan = self._plan
        if plan is None or now_ns <= plan.begin_ns:
            return False
        if self.watch is not None:
            band_hz, interference = self._allotment.power_band_hz, self.interference
            self.watch.passed(plan.begin_ns, now_ns, self._active, band_hz, plan.followed, interference)
        left = self._left[: len(self._active)]
        left -= plan.progress(now_ns)
        self._air_time.elapse(now_ns - plan.begin_ns, len(left), self._allotment)
        if plan.stalls:
            self.book_stalls()
        self._plan = None
        return True

    def _replan(self, call: Call) -> None:
        """The set changed, or the cells ahead are used up: divide the carrier anew and find who finishes first."""
        now_ns = self._clock.now_ns
        self._advance(now_ns)
        self._replan_call = None
        if self._arrivals:
            self._admit(now_ns)
        active = self._active
        n = len(active)
        self._radios.set_stations(now_ns, n > 0)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        allotment = self._allotment = self._sharing.allot(n)
        if self._even_share is None:
            self._radios.radios.settle(slice(None), now_ns)
            self._sharing.share_radios(self._radios.radios, active, allotment.time_share)
        if n == 0:
            self._ahead.clear()
            return
        left = self._left[:n]
        if self._planner.num_fixed:
            self._note_fixed(now_ns, left)
        plan = self._plan = self._planner.plan(now_ns, active, left, allotment)
        self._stall_mark_ns = now_ns
        if plan.first_ns is not None:
            self._timer = self._clock.after(math.ceil(plan.first_ns), self._finished)

    def _note_fixed(self, now_ns: int, left: np.ndarray) -> None:
        """For the fates of the packets of transfers at a fixed rate: where they stand, and who else is on the air."""
        active = self._active
        if not self._one_point:
            bands_hz = np.broadcast_to(self._allotment.power_band_hz, len(active)).tolist()
            for transfer, bits, band_hz in zip(active, left.tolist(), bands_hz, strict=True):
                if transfer.efficiency is not None:
                    transfer.history.append((now_ns, transfer.bits - bits, band_hz))
        if self.interference is not None:
            since_ns = min(transfer.started_ns for transfer in active if transfer.efficiency is not None)
            self.interference.forget_before(since_ns)
            self.interference.note(now_ns, active)
