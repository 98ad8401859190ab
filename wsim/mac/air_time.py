"""How long each active transfer has been on the air, and that times the band it held.

Where all have equal parts, both are differences of integrals over time; where allotments differ they are kept one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wsim.mac.allotment import Allotment
from wsim.mac.transfer import Transfer


class AirTime:
    def __init__(self) -> None:
        self._air_ns: Any = (
            0.0  # integrals of the time share and of that times the band: numbers, as uniform allotments are
        )
        self._hz_ns: Any = 0.0
        self._on_air_ns, self._on_hz_ns = np.zeros(16), np.zeros(16)  # by active transfer; capacity as the carrier's

    def make_room(self, capacity: int) -> None:
        """For so many active transfers."""
        self._on_air_ns, self._on_hz_ns = grown(self._on_air_ns, capacity), grown(self._on_hz_ns, capacity)

    def begin(self, i: int, transfer: Transfer) -> None:
        """The i-th active transfer has come."""
        transfer.air_mark_ns, transfer.hz_mark_ns = self._air_ns, self._hz_ns
        self._on_air_ns[i] = self._on_hz_ns[i] = 0.0

    def elapse(self, elapsed_ns: int, num_active: int, allotment: Allotment) -> None:
        """Time has passed at this allotment."""
        on_air_ns = allotment.time_share * elapsed_ns
        if allotment.uniform:
            self._air_ns += on_air_ns
            self._hz_ns += on_air_ns * allotment.band_hz
        else:
            self._on_air_ns[:num_active] += on_air_ns
            self._on_hz_ns[:num_active] += on_air_ns * allotment.band_hz

    def stall(self, stalled_ns: np.ndarray, those: list[int], active: list[Transfer], allotment: Allotment) -> None:
        """stalled_ns: [num_active], time that has passed but was not on the air; those: for whom it is not zero."""
        if not allotment.uniform:
            n = len(active)
            self._on_air_ns[:n] -= stalled_ns
            self._on_hz_ns[:n] -= stalled_ns * allotment.band_hz
            return
        for i in those:
            active[i].airtime_ns -= float(stalled_ns[i])
            active[i].hz_ns -= float(stalled_ns[i]) * allotment.band_hz

    def end(self, i: int, num_active: int, transfer: Transfer, allotment: Allotment) -> None:
        """The i-th of the active transfers has gone; the ones behind it move up."""
        if allotment.uniform:
            transfer.airtime_ns += self._air_ns - transfer.air_mark_ns
            transfer.hz_ns += self._hz_ns - transfer.hz_mark_ns
            return
        transfer.airtime_ns += float(self._on_air_ns[i])
        transfer.hz_ns += float(self._on_hz_ns[i])
        for amounts in (self._on_air_ns, self._on_hz_ns):
            amounts[i : num_active - 1] = amounts[i + 1 : num_active]


def grown(old: np.ndarray, capacity: int) -> np.ndarray:
    """[capacity] beginning with what there was."""
    new = np.empty(capacity)
    new[: len(old)] = old
    return new
