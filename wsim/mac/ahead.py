"""The channel ahead of a carrier's active transfers: a matrix [active, cells] that is looked up in pieces.

How many cells are looked up at once follows from how many the last plans needed; it changes the work, never a value. Where a
gain is cheap, one call serves all links seen so far, for the ones that come and go within the same cells.
"""

from __future__ import annotations

import numpy as np

from wsim.links import Links
from wsim.mac.transfer import Transfer

MIN_CELLS, MAX_CELLS = 4, 64  # looked up at once
MAX_ENTRIES = 1 << 16  # transfers x cells looked up at once, at most
MAX_SEEN = 1 << 14  # links in the table of those seen


class ChannelAhead:
    """first_cell, num_cells: the cells that are known. power_band_hz: the band that all power is spread over; then the rows
    are efficiencies (bit/s/Hz), of fixed-rate transfers too. None: they are C/N0 (Hz), 0 for a fixed rate."""

    def __init__(self, links: Links, power_band_hz: float | None) -> None:
        self._links = links
        self._power_band_hz = power_band_hz
        self.first_cell = 0
        self.num_cells = 0
        self._rows = np.empty((16, 1))
        self._num_rows = 0
        self._width = MIN_CELLS
        # links seen so far and their table [links, cells]
        self._row_of: dict[tuple[int, int], int] = {}
        self._seen = np.zeros((16, 2), dtype=np.int64)
        self._table = np.zeros((16, 0))
        self._table_first = 0
        self._table_cells = 0

    def columns(self, n: int, cells: slice) -> np.ndarray:
        """[n, cells] of the first n active transfers."""
        return self._rows[:n, cells]

    def look(self, cell: int, active: list[Transfer]) -> int:
        """Know the channel of all active transfers from `cell`, the present one, on; returns the column of that cell."""
        n, have = len(active), self._num_rows
        offset = cell - self.first_cell
        if have == 0 or offset >= self.num_cells:
            width = 1 if self._links.static else max(1, min(self._width, MAX_ENTRIES // n))
            if self._rows.shape[0] < n or self._rows.shape[1] < width:
                self._rows = np.empty((max(n, 2 * len(self._rows)), max(width, self._rows.shape[1])))
            self._rows[:n, :width] = self._channel_of(active, cell, width)
            self.first_cell, self.num_cells, self._num_rows = cell, width, n
            return 0
        if have < n:
            if self._rows.shape[0] < n:
                more = np.empty((max(n, 2 * len(self._rows)), self._rows.shape[1]))
                more[:have] = self._rows[:have]
                self._rows = more
            width = self.num_cells - offset
            self._rows[have:n, offset : self.num_cells] = self._channel_of(active[have:], cell, width)
            self._num_rows = n
        return offset

    def remove(self, i: int) -> None:
        """The i-th active transfer has gone; the ones behind it move up."""
        if self._num_rows > i:
            self._rows[i : self._num_rows - 1] = self._rows[i + 1 : self._num_rows]
            self._num_rows -= 1

    def clear(self) -> None:
        """Nobody is active."""
        self._num_rows = 0

    def forget(self) -> None:
        """A power has changed: everything is looked up anew."""
        self._num_rows = 0
        self._row_of.clear()

    def look_further(self) -> None:
        """The cells that were known did not reach far enough: twice as many the next time."""
        self._width = min(2 * self._width, MAX_CELLS)

    def look_so_far(self, num_cells: int) -> None:
        """So many cells were of use: as many the next time."""
        self._width = max(MIN_CELLS, min(MAX_CELLS, num_cells))

    def _channel_of(self, transfers: list[Transfer], first_cell: int, num_cells: int) -> np.ndarray:
        """[len(transfers), num_cells] C/N0, or efficiency where the power's band never changes (then also fixed ones)."""
        adaptive = [i for i, transfer in enumerate(transfers) if transfer.efficiency is None]
        ahead = np.zeros((len(transfers), num_cells))
        if adaptive:
            pairs = [(transfers[i].tx, transfers[i].receivers[0]) for i in adaptive]
            if self._links.cheap:
                ahead[adaptive] = self._from_table(pairs, first_cell, num_cells)
            else:
                ahead[adaptive] = self._look_up(np.array(pairs, dtype=np.int64), first_cell, num_cells)
        if len(adaptive) < len(transfers) and self._power_band_hz is not None:
            for i, transfer in enumerate(transfers):
                if transfer.efficiency is not None:
                    ahead[i] = transfer.efficiency
        return ahead

    def _from_table(self, pairs: list[tuple[int, int]], first_cell: int, num_cells: int) -> np.ndarray:
        """Rows of the table of all links seen, which is looked up as a whole when the cells have moved on."""
        row_of = self._row_of
        last_cell = first_cell + num_cells
        if self._table_first > first_cell or last_cell > self._table_first + self._table_cells:
            if len(row_of) > MAX_SEEN:
                row_of.clear()
            self._table_first, self._table_cells = first_cell, num_cells
            seen = self._seen[: len(row_of)]
            self._table = np.empty((len(self._seen), num_cells))
            if len(seen):
                self._table[: len(seen)] = self._look_up(seen, first_cell, num_cells)
        new = [pair for pair in pairs if pair not in row_of]
        if new:
            have = len(row_of)
            total = have + len(new)
            if total > len(self._seen):
                capacity = max(total, 2 * len(self._seen))
                self._seen = np.resize(self._seen, (capacity, 2))
                self._table = np.resize(self._table, (capacity, self._table_cells))
            self._seen[have:total] = new
            row_of.update(zip(new, range(have, total), strict=True))
            self._table[have:total] = self._look_up(self._seen[have:total], self._table_first, self._table_cells)
        offset = first_cell - self._table_first
        return self._table[[row_of[pair] for pair in pairs], offset : offset + num_cells]

    def _look_up(self, pairs: np.ndarray, first_cell: int, num_cells: int) -> np.ndarray:
        cn0 = self._links.cn0(pairs[:, 0], pairs[:, 1], first_cell, num_cells)
        band_hz = self._power_band_hz
        return cn0 if band_hz is None else self._links.efficiency(cn0 / band_hz)
