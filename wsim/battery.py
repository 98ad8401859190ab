"""Batteries that run down: a device fails at the very nanosecond at which it has drawn what its battery held.

Between two events every power is constant, so the crossing follows from the joules left and the watts drawn now. It is looked
at no more often than the fastest possible drain asks for: until min over devices of (joules left) / (most it can draw) nothing
can happen.

The whole charge is usable at any power; no self-discharge, no temperature, no recovery. What `Observe` costs is drawn at
once, so a device that looks with too little left has drawn that much more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from wsim.accounts import power_w
from wsim.clock import DEADLINE, NS_PER_S, Call

if TYPE_CHECKING:
    from wsim.engine import Run
    from wsim.presence import Presence

_ROUNDING = 1e-12  # of the charge: sums of many small energies


class Batteries:
    def __init__(self, run: Run, presence: Presence) -> None:
        self._run = run
        self._presence = presence
        world, power = run.world, run.world.power
        self._devices = np.flatnonzero(np.isfinite(world.battery_j[: world.num_devices]))
        self._charge_j = world.battery_j[self._devices]
        resting_w = power.idle_w if power.rest_is_idle else power.listen_w
        most_w = power.compute_w + world.tx_w + power.rx_w + np.maximum(resting_w, power.sleep_w)
        self._most_w = np.maximum(most_w[self._devices], 1e-30)
        self._safe_until_ns = 0.0
        self._look_ns = -1  # when the next crossing is looked at

    def look_again(self) -> None:
        """Something was drawn at once."""
        self._safe_until_ns = 0.0

    def watch(self) -> None:
        """Before every event: whose battery is empty by then?"""
        next_ns = self._run.clock.next_ns()
        if next_ns <= self._safe_until_ns:
            return
        now_ns = self._run.clock.now_ns
        left_j = self._left_j()
        if not len(left_j):
            self._safe_until_ns = math.inf
            return
        drawn_w = power_w(self._run.world.power, self._run.processors, self._run.radios, now_ns)[self._devices]
        with np.errstate(divide="ignore"):
            crossing_ns = left_j / np.maximum(drawn_w, 0.0) * NS_PER_S
        first_ns = float(np.where(left_j <= 0.0, 0.0, crossing_ns).min())
        if now_ns + first_ns > next_ns:
            self._safe_until_ns = max(now_ns + float((left_j / self._most_w).min()) * NS_PER_S, next_ns)
            return
        at_ns = now_ns + math.ceil(first_ns)
        if not now_ns <= self._look_ns <= at_ns:
            self._look_ns = at_ns
            self._run.clock.at(at_ns, self._look, None, DEADLINE)
        self._safe_until_ns = at_ns

    def _left_j(self) -> np.ndarray:
        """[num devices with a battery that have not failed] joules left."""
        kept = [i for i, device in enumerate(self._devices.tolist()) if device not in self._presence.failed]
        if len(kept) < len(self._devices):
            self._devices, self._charge_j, self._most_w = (
                array[kept] for array in (self._devices, self._charge_j, self._most_w)
            )
        drawn_j = self._run.recorder.energy_j()[self._devices].sum(axis=1)
        left_j: np.ndarray = self._charge_j - drawn_j
        return left_j

    def _look(self, call: Call) -> None:
        """Those whose charge is used up now fail."""
        self._look_ns = -1
        self._safe_until_ns = 0.0
        left_j = self._left_j()
        empty = self._devices[left_j <= self._charge_j * _ROUNDING]
        for device in empty.tolist():
            self._presence.fail(device)
