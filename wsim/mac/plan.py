"""What active transfers will drain until their set changes: when the first of them is through.

It follows from the rates of the present cell of the channel or, if nobody finishes in it, from a cumulative sum over the cells
ahead, so that a cell that passes costs no event of its own.
"""

from __future__ import annotations

import numpy as np

from wsim.links import Links
from wsim.mac.ahead import ChannelAhead
from wsim.mac.allotment import Allotment
from wsim.mac.transfer import Transfer

_STATIC_SPAN_NS = float(1 << 60)


class Plan:
    """begin_ns: from when on; all other times count from there.

    rate: [num_active] bit/ns in the present cell, which ends at end_ns; cells: where it goes further than that one
    finish_ns: [num_active] until each is through (infinity beyond what is known)
    first_ns: until the first is through or more cells have to be looked up; None if nothing moves, ever
    stalls: somebody's rate is zero at some time
    followed: [..., cells, num_active] the C / (N0 + I0) that the rates follow from, as far as it goes; None where the channel ahead
        is efficiencies
    """

    __slots__ = ("begin_ns", "cells", "end_ns", "finish_ns", "first_ns", "followed", "rate", "stalls")

    def __init__(self, begin_ns: int, rate: np.ndarray, end_ns: float) -> None:
        self.begin_ns = begin_ns
        self.rate = rate
        self.end_ns = end_ns
        self.cells: CellsAhead | None = None
        self.followed: np.ndarray | None = None
        self.finish_ns: np.ndarray = rate
        self.first_ns: float | None = None
        self.stalls = rate.item(rate.argmin()) <= 0.0  # argmin: a reduction costs numpy five times as much

    def progress(self, now_ns: int) -> np.ndarray:
        """[num_active] bits drained by now."""
        elapsed = now_ns - self.begin_ns
        if self.cells is None or elapsed <= self.end_ns:
            return self.rate * elapsed
        return self.cells.filled_by(elapsed)

    def through(self, now_ns: int) -> list[int]:
        """Which transfers are through by now."""
        through: list[int] = (self.finish_ns <= now_ns - self.begin_ns).nonzero()[0].tolist()
        return through

    def stalled_ns(self, since_ns: int, now_ns: int) -> np.ndarray:
        """[num_active] time with rate zero."""
        since, until = float(since_ns - self.begin_ns), float(now_ns - self.begin_ns)
        if self.cells is None:
            return (self.rate <= 0.0) * (min(until, self.end_ns) - since)
        return self.cells.stalled_ns(since, until)


class Planner:
    """power_band_hz: the band that all power is spread over, if it never changes; `ahead` holds efficiencies then, else C/N0.
    num_fixed: active transfers that do not follow the channel, kept by the carrier."""

    def __init__(self, links: Links, ahead: ChannelAhead, power_band_hz: float | None) -> None:
        self._links = links
        self._ahead = ahead
        self._power_band_hz = power_band_hz
        self.num_fixed = 0

    def plan(self, now_ns: int, active: list[Transfer], left: np.ndarray, allotment: Allotment) -> Plan:
        """left: [num_active] bits."""
        links, ahead = self._links, self._ahead
        offset = ahead.look(links.cell_at(now_ns), active)
        end_ns = _STATIC_SPAN_NS
        if not links.static:
            end_ns = float((ahead.first_cell + offset + 1) * links.cell_ns - now_ns)
        present = ahead.at(offset)
        plan = Plan(now_ns, self._rates_of(present, active, allotment), end_ns)
        if self._power_band_hz is None:
            plan.followed = present[..., None, :]
        if plan.stalls:
            finish = np.full(len(left), np.inf)
            moving = plan.rate > 0.0
            finish[moving] = left[moving] / plan.rate[moving]
        else:
            finish = left / plan.rate
        plan.finish_ns = finish
        first_ns = max(finish.item(finish.argmin()), 0.0)
        if first_ns <= end_ns:
            plan.first_ns = first_ns
        elif links.static:  # nothing moves: nobody finishes until the set changes
            pass
        elif offset + 1 < ahead.num_cells:
            self._plan_ahead(plan, offset, active, left, allotment)
        else:
            plan.first_ns = end_ns
            ahead.look_further()
        return plan

    def _plan_ahead(
        self, plan: Plan, offset: int, active: list[Transfer], left: np.ndarray, allotment: Allotment
    ) -> None:
        """Nobody finishes in the present cell: add up the bits over all the cells that are known."""
        ahead = self._ahead
        numbers = np.arange(ahead.first_cell + offset + 1, ahead.first_cell + ahead.num_cells + 1)
        ends_ns = (numbers * self._links.cell_ns - plan.begin_ns).astype(np.float64)
        known = ahead.since(offset)
        if self._power_band_hz is None:
            plan.followed = known
        cells = plan.cells = CellsAhead(self._rates_of(known, active, allotment), ends_ns)
        plan.finish_ns, last = cells.finish_ns(left)
        if last is None:
            plan.first_ns = ends_ns.item(-1)
            ahead.look_further()
        else:
            plan.first_ns = plan.finish_ns.item(plan.finish_ns.argmin())
            ahead.look_so_far(2 * last + 2)
        plan.stalls = cells.rates.item(cells.rates.argmin()) <= 0.0

    def _rates_of(self, ahead: np.ndarray, active: list[Transfer], allotment: Allotment) -> np.ndarray:
        """[..., num_active] bit/ns of all active transfers from their channel ahead."""
        if self._power_band_hz is None:
            rx = None
            if self._links.ergodic:  # a beacon may have no receiver; its rate is its own
                rx = np.array([(transfer.receivers or (transfer.tx,))[0] for transfer in active])
            ahead = self._links.band_efficiency(ahead / allotment.power_band, rx)
            if self.num_fixed:
                for i, transfer in enumerate(active):
                    if transfer.efficiency is not None:
                        ahead[..., i] = transfer.efficiency
        rates: np.ndarray = ahead * allotment.rate_per_efficiency
        return rates


class CellsAhead:
    """A plan over several cells. rates: [cells, num_active] bit/ns; ends_ns: [cells] from when the plan was made."""

    def __init__(self, rates: np.ndarray, ends_ns: np.ndarray) -> None:
        self.rates = rates
        self._edges_ns = np.zeros(len(ends_ns) + 1)
        self._edges_ns[1:] = ends_ns
        self._filled = np.zeros((len(ends_ns) + 1, rates.shape[1]))  # bits by each edge
        bits = rates * (self._edges_ns[1:] - self._edges_ns[:-1])[:, None]
        np.add.accumulate(bits, axis=0, out=self._filled[1:])

    def finish_ns(self, left: np.ndarray) -> tuple[np.ndarray, int | None]:
        """[num_active] when so many bits are through, infinity beyond the last cell; and the cell of the first finish."""
        finish = np.full(len(left), np.inf)
        through = (self._filled[-1] >= left).nonzero()[0]
        if not len(through):
            return finish, None
        filled, bits = self._filled[:, through], left[through]
        j = np.add.reduce(filled[1:] < bits, axis=0, dtype=np.intp)
        missing = bits - filled[j, np.arange(len(through))]
        finish[through] = self._edges_ns[j] + np.maximum(missing, 0.0) / self.rates[j, through]
        return finish, j.item(j.argmin())

    def filled_by(self, elapsed_ns: int) -> np.ndarray:
        """[num_active] bits, later than the first cell."""
        j = int(self._edges_ns[1:].searchsorted(elapsed_ns))
        filled: np.ndarray = self._filled[j] + self.rates[j] * (elapsed_ns - self._edges_ns[j])
        return filled

    def stalled_ns(self, since_ns: float, until_ns: float) -> np.ndarray:
        """[num_active] time with rate zero."""
        lengths = np.diff(np.clip(self._edges_ns[1:], since_ns, until_ns), prepend=since_ns)
        stalled: np.ndarray = ((self.rates <= 0.0) * lengths[:, None]).sum(axis=0)
        return stalled
