"""The SINR of what is on the air as a step function of time: one row a transfer, receiver and step.

A step begins where a transfer comes on the air, and where its SINR changes: because another transfer begins or ends, or from
one cell of the channel's grid in time to the next. Steps of one value that follow each other are one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wsim.clock import NS_PER_S

MAX_STEPS = 1_000_000
"""Rows that a run keeps, at most: 48 MB."""

_WORTH = 0.9  # joining equal steps is tried again only if it left no more than this

_SINR, _INDEX = np.dtype(np.float64), np.dtype(np.int64)
_TYPES = (_INDEX, _INDEX, _INDEX, _INDEX, _INDEX, _SINR)  # transfer, tx, rx, begin_ns, end_ns, sinr


class SinrSeries:
    """handovers: (time_ns, device, node of its new station). until_ns: from when on nothing is kept, None while there is room."""

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self.handovers: list[tuple[int, int, int]] = []
        self.until_ns: int | None = None
        self._max_steps = max_steps
        self._chunks: list[tuple[np.ndarray, ...]] = []
        self._num = 0
        self._num_transfers = 0

    def number(self) -> int:
        """The number of another transfer."""
        self._num_transfers += 1
        return self._num_transfers - 1

    def add(self, transfer: np.ndarray, tx: np.ndarray, rx: np.ndarray, edges_ns: np.ndarray, sinr: np.ndarray) -> None:
        """Keep the steps between the edges. transfer, tx, rx: [n]; edges_ns: [steps + 1]; sinr: [n, steps], linear."""
        if self.until_ns is not None:
            return
        n, steps = sinr.shape
        if self._num + n * steps > self._max_steps and not self._make_room(n * steps):
            self.until_ns = int(edges_ns[0])
            return
        edges = edges_ns.astype(np.int64)
        ends = (np.repeat(index, steps) for index in (transfer, tx, rx))
        self._chunks.append((*ends, np.tile(edges[:-1], n), np.tile(edges[1:], n), sinr.ravel()))
        self._num += n * steps

    def columns(self) -> dict[str, Any]:
        """The fields of the run's record, by name."""
        self._join()
        transfer, tx, rx, begin_ns, end_ns, sinr = self._chunks[0]
        with np.errstate(divide="ignore"):
            sinr_db = 10.0 * np.log10(sinr)
        times, devices, stations = np.array(self.handovers, dtype=np.int64).reshape(-1, 3).T
        return {
            "sinr_time_s": begin_ns / NS_PER_S,
            "sinr_duration_s": (end_ns - begin_ns) / NS_PER_S,
            "sinr_transfer": transfer,
            "sinr_tx": tx,
            "sinr_rx": rx,
            "sinr_db": sinr_db,
            "handover_time_s": times / NS_PER_S,
            "handover_device": devices,
            "handover_station": stations,
        }

    def notes(self) -> list[str]:
        """What the user should know."""
        if self.until_ns is None:
            return []
        return [f"[output] sinr: kept up to {self.until_ns / NS_PER_S:g} s, {self._max_steps:,} steps are the most"]

    def _make_room(self, num_new: int) -> bool:
        before = self._num
        self._join()
        return self._num <= _WORTH * before and self._num + num_new <= self._max_steps

    def _join(self) -> None:
        """One chunk, sorted by transfer, receiver and time, equal steps in a row joined."""
        columns = [
            np.concatenate([np.empty(0, kind), *parts]) for kind, parts in zip(_TYPES, self._parts(), strict=True)
        ]
        transfer, _, rx, begin_ns, end_ns, sinr = columns
        order = np.lexsort((begin_ns, rx, transfer))
        transfer, rx, begin_ns, end_ns, sinr = (column[order] for column in (transfer, rx, begin_ns, end_ns, sinr))
        goes_on = (
            (transfer[1:] == transfer[:-1])
            & (rx[1:] == rx[:-1])
            & (begin_ns[1:] == end_ns[:-1])
            & (sinr[1:] == sinr[:-1])
        )
        first = np.flatnonzero(np.concatenate([np.ones(min(len(order), 1), dtype=bool), ~goes_on]))
        last = np.append(first[1:], len(order))[: len(first)] - 1
        tx = columns[1][order]
        self._chunks = [(transfer[first], tx[first], rx[first], begin_ns[first], end_ns[last], sinr[first])]
        self._num = len(first)

    def _parts(self) -> list[list[np.ndarray]]:
        return [[chunk[i] for chunk in self._chunks] for i in range(len(_TYPES))]
