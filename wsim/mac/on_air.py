"""Who was on the air when, for the fates of packets of a fixed rate: what the logs of all kinds of interference have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, TypeVar

import numpy as np

from wsim.links import Links
from wsim.mac.transfer import Transfer


class OnAir(Protocol):
    """Who was on the air from `time_ns` on."""

    @property
    def time_ns(self) -> int: ...


Entry = TypeVar("Entry", bound=OnAir)


class OnAirLog(ABC, Generic[Entry]):
    """Entries in order of time, kept as far back as transfers of a fixed rate are under way."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._entries: list[Entry] = []

    @abstractmethod
    def note(self, time_ns: int, active: list[Transfer]) -> None:
        """Keep who is on the air from now on."""

    @abstractmethod
    def _rise(self, entry: Entry, transfer: Transfer, first_cell: int, num_cells: int) -> np.ndarray | None:
        """[num_receivers, num_cells] I0 / N0 at the receivers of a transfer while this was on the air; None: nothing is heard."""

    def forget_before(self, time_ns: int) -> None:
        """Nobody will ask for what was before."""
        first = sum(entry.time_ns <= time_ns for entry in self._entries) - 1
        if first > 0:
            del self._entries[:first]

    def changes_ns(self) -> np.ndarray:
        """Instants at which it changed who is on the air."""
        return np.array([entry.time_ns for entry in self._entries], dtype=np.float64)

    def noise_rise(self, transfer: Transfer, times_ns: np.ndarray) -> np.ndarray:
        """(N0 + I0) / N0 at the receivers of a transfer from these instants on: [num_receivers, num_times]."""
        links = self._links
        which = np.maximum(np.searchsorted(self.changes_ns(), times_ns, side="right") - 1, 0)
        cells = np.zeros(len(times_ns), dtype=np.int64) if links.static else times_ns.astype(np.int64) // links.cell_ns
        rise = np.ones((len(transfer.receivers), len(times_ns)))
        for e in np.unique(which).tolist():
            pieces = np.flatnonzero(which == e)
            first = int(cells[pieces[0]])
            added = self._rise(self._entries[e], transfer, first, int(cells[pieces[-1]]) - first + 1)
            if added is not None:
                rise[:, pieces] += added[:, cells[pieces] - first]
        return rise
