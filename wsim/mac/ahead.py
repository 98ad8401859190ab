"""The channel ahead of a carrier's active transfers: a matrix [cells, active] that is looked up in pieces; of C/N0 with a delay
profile there is one for every block, [blocks, cells, active].

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
    """first_cell, num_cells: the cells that are known. power_band_hz: the band that all power is spread over; then what is
    known are efficiencies (bit/s/Hz), of fixed-rate transfers too. None: it is C/N0 (Hz), 0 for a fixed rate. expected: the
    links (tx, rx) that count as seen from the start."""

    def __init__(self, links: Links, power_band_hz: float | None, expected: list[tuple[int, int]]) -> None:
        self._links = links
        self._power_band_hz = power_band_hz
        self.first_cell = 0
        self.num_cells = 0
        by_block = () if links.blocks is None or power_band_hz is not None else (links.num_blocks,)
        self._values = np.empty((*by_block, MIN_CELLS, 16))
        self._num_active = 0
        self._width = MIN_CELLS
        self._max_entries = max(1, MAX_ENTRIES // links.num_blocks)
        # links seen so far and their table [cells, links]
        self._expected = expected
        self._seen = np.zeros((max(16, len(self._expected)), 2), dtype=np.int64)
        self._table = np.zeros((0, len(self._seen)))
        self._table_first = 0
        self._column_of: dict[tuple[int, int], int] = {}
        self._forget_seen()

    def at(self, offset: int) -> np.ndarray:
        """[..., active] in this one of the known cells."""
        return self._values[..., offset, : self._num_active]

    def since(self, offset: int) -> np.ndarray:
        """[..., cells, active] from this one of the known cells on."""
        return self._values[..., offset : self.num_cells, : self._num_active]

    def look(self, cell: int, active: list[Transfer]) -> int:
        """Know the channel of all active transfers from `cell`, the present one, on; returns the offset of that cell."""
        n, have = len(active), self._num_active
        offset = cell - self.first_cell
        if have == 0 or offset >= self.num_cells:
            have = offset = 0
            self.first_cell = cell
            self.num_cells = 1 if self._links.static else max(1, min(self._width, self._max_entries // n))
        if have < n:
            self._make_room(self.num_cells, n)
            self._fill(offset, have, active, cell)
            self._num_active = n
        return offset

    def _fill(self, offset: int, have: int, active: list[Transfer], cell: int) -> None:
        """Look up those that come after the first `have` active transfers, from `cell` on, which is at this offset."""
        ahead = self._channel_of(active[have:], cell, self.num_cells - offset)
        self._values[..., offset : self.num_cells, have : len(active)] = ahead

    def remove(self, i: int) -> None:
        """The i-th active transfer has gone; the ones behind it move up."""
        n = self._num_active
        if n > i:
            values = self._values[..., : self.num_cells, :n]
            values[..., i:-1] = values[..., i + 1 :]
            self._num_active = n - 1

    def clear(self) -> None:
        """Nobody is active."""
        self._num_active = 0

    def forget(self) -> None:
        """A power has changed: everything is looked up anew."""
        self._num_active = 0
        self._forget_seen()

    def look_further(self) -> None:
        """The cells that were known did not reach far enough: twice as many the next time."""
        self._width = min(2 * self._width, MAX_CELLS)

    def look_so_far(self, num_cells: int) -> None:
        """So many cells were of use: as many the next time."""
        self._width = max(MIN_CELLS, min(MAX_CELLS, num_cells))

    def _make_room(self, num_cells: int, num_active: int) -> None:
        old = self._values
        *blocks, cells, width = old.shape
        if cells < num_cells or width < num_active:
            new_width = width if width >= num_active else max(num_active, 2 * width)
            self._values = np.empty((*blocks, max(num_cells, cells), new_width))
            self._values[..., :cells, :width] = old

    def _channel_of(self, transfers: list[Transfer], first_cell: int, num_cells: int) -> np.ndarray:
        """[..., num_cells, len(transfers)] C/N0, or efficiency where the power's band never changes (then also fixed ones)."""
        pairs = [(transfer.tx, transfer.receivers[0]) for transfer in transfers if transfer.efficiency is None]
        look_up = self._from_table if self._links.cheap else self._look_up
        if len(pairs) == len(transfers):
            return look_up(pairs, first_cell, num_cells)
        ahead = np.zeros((*self._values.shape[:-2], num_cells, len(transfers)))
        adaptive = [i for i, transfer in enumerate(transfers) if transfer.efficiency is None]
        if adaptive:
            ahead[..., adaptive] = look_up(pairs, first_cell, num_cells)
        if self._power_band_hz is not None:
            for i, transfer in enumerate(transfers):
                if transfer.efficiency is not None:
                    ahead[:, i] = transfer.efficiency
        return ahead

    def _forget_seen(self) -> None:
        self._column_of = {pair: i for i, pair in enumerate(self._expected)}
        if self._expected:
            self._seen[: len(self._expected)] = self._expected
        self._table = self._table[:0]

    def _from_table(self, pairs: list[tuple[int, int]], first_cell: int, num_cells: int) -> np.ndarray:
        """Columns of the table of all links seen, which is looked up as a whole when the cells have moved on."""
        column_of = self._column_of
        if self._table_first > first_cell or first_cell + num_cells > self._table_first + len(self._table):
            if len(column_of) > MAX_SEEN:
                self._forget_seen()
                column_of = self._column_of
            self._table_first = first_cell
            self._table = np.empty((num_cells, len(self._seen)))
            if column_of:
                self._table[:, : len(column_of)] = self._look_up(self._seen[: len(column_of)], first_cell, num_cells)
        begin = first_cell - self._table_first
        try:
            columns = [column_of[pair] for pair in pairs]
        except KeyError:
            self._add([pair for pair in pairs if pair not in column_of])
            columns = [column_of[pair] for pair in pairs]
        if len(columns) == 1:
            return self._table[begin : begin + num_cells, columns[0] : columns[0] + 1]
        return self._table[begin : begin + num_cells, columns]

    def _add(self, new: list[tuple[int, int]]) -> None:
        """Links that are seen for the first time."""
        have, capacity = len(self._column_of), len(self._seen)
        total = have + len(new)
        if total > capacity:
            more = max(total, 2 * capacity) - capacity
            self._seen = np.concatenate([self._seen, np.zeros((more, 2), dtype=np.int64)])
            self._table = np.concatenate([self._table, np.empty((len(self._table), more))], axis=1)
        self._seen[have:total] = new
        self._column_of.update(zip(new, range(have, total), strict=True))
        self._table[:, have:total] = self._look_up(self._seen[have:total], self._table_first, len(self._table))

    def _look_up(self, pairs: list[tuple[int, int]] | np.ndarray, first_cell: int, num_cells: int) -> np.ndarray:
        """[..., num_cells, len(pairs)] anew from the channel."""
        ends = np.asarray(pairs, dtype=np.int64)
        cn0 = self._links.band_cn0(ends[:, 0], ends[:, 1], first_cell, num_cells).swapaxes(-1, -2)
        band_hz = self._power_band_hz
        return cn0 if band_hz is None else self._links.band_efficiency(cn0 / band_hz, ends[:, 1])
