"""What transmissions between devices hear of those that they do not exclude: hidden and far ones, on one shared carrier.

The genie of `wsim.mac.shared` keeps apart in time what conflicts: common nodes, and senders within sensing range. All others on
the same channel go on at the same time and are heard. At a receiver r of transmission i

    I0(r, t) = sum over the active j that do not conflict with i, on its channel, of  x_j P_j g_jr(t) / B

with x_j the share of the time that j is on the air (nothing says which part of it falls together with i, so that i sees the
mean), power gains g with path loss, shadowing and fading of that very pair, and the mean of its powers at several antennas. It
is Gaussian noise beside N0; with a delay profile the mean over the resource blocks of g, even over the band.

Capture: a receiver that hears several transmissions decodes what its SINR allows. A sender that follows the channel knows that
SINR, and sends nothing below `[phy] min_snr_db`; of a fixed rate or a broadcast the packets are lost during which the SINR is too
low for it, to the nanosecond at which another begins or ends. As long as transmissions exclude each other at both ends, that is
the wanted one against hidden ones. With `[mac] capture = true` senders exclude each other by sensing alone, so that several may
send to one receiver at once: what needs an SINR of 1 (0 dB) or more is received from the strongest at most, as with
`[phy] preamble_snr_db = 0` (`wsim.mac.air_watch`); lower rates may be received from several at once.

Limit: memory and work are (active transmissions)^2 x cells looked ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsim.links import Links
from wsim.mac.ahead import ChannelAhead
from wsim.mac.interference import MAX_GAINS
from wsim.mac.on_air import OnAirLog
from wsim.mac.shared import SharedCarrier
from wsim.mac.transfer import Transfer


class SharedInterferenceAhead(ChannelAhead):
    """As `ChannelAhead`, what is known is C / (N0 + I0) in Hz, 0 for a fixed rate."""

    def __init__(self, links: Links, sharing: SharedCarrier, bandwidth_hz: float) -> None:
        super().__init__(links, None, links.expected)
        self._sharing = sharing
        self._bandwidth_hz = bandwidth_hz
        self._others = np.zeros(
            (0, 0, 0)
        )  # [cells, active i, active j]: rise over N0 at i's receiver while j is on the air

    def look(self, cell: int, active: list[Transfer]) -> int:
        self._max_entries = max(1, MAX_GAINS // (len(active) * self._links.num_blocks))
        return super().look(cell, active)

    def at(self, offset: int) -> np.ndarray:
        n = self._num_active
        return self._over_interference(self._values[..., offset, :n], self._others[offset, :n, :n])

    def since(self, offset: int) -> np.ndarray:
        n, end = self._num_active, self.num_cells
        return self._over_interference(self._values[..., offset:end, :n], self._others[offset:end, :n, :n])

    def remove(self, i: int) -> None:
        n = self._num_active
        if n > i:
            rows = self._others[: self.num_cells]
            rows[:, i : n - 1] = rows[:, i + 1 : n].copy()
            rows[:, :, i : n - 1] = rows[:, :, i + 1 : n].copy()
        super().remove(i)

    def _over_interference(self, own: np.ndarray, others: np.ndarray) -> np.ndarray:
        """own: [..., active], with a delay profile by block; others: [..., active, active]."""
        sharing = self._sharing
        result: np.ndarray = own / (1.0 + (others * (sharing.audible() * sharing.shares)).sum(axis=-1))
        return result

    def _make_room(self, num_cells: int, num_active: int) -> None:
        super()._make_room(num_cells, num_active)
        num_cells, num_active = self._values.shape[-2:]
        shape = (num_cells, num_active, num_active)
        if self._others.shape != shape:
            old, self._others = self._others, np.zeros(shape)
            self._others[: old.shape[0], : old.shape[1], : old.shape[2]] = old

    def _fill(self, offset: int, have: int, active: list[Transfer], cell: int) -> None:
        super()._fill(offset, have, active, cell)
        n, num_cells = len(active), self.num_cells - offset
        receivers = np.array([transfer.receivers[0] if transfer.efficiency is None else -1 for transfer in active])
        senders = np.array([transfer.tx for transfer in active])
        follows = np.array([transfer.efficiency is None for transfer in active])
        i, j = np.nonzero(follows[:, None] & (receivers[:, None] != senders) & ~np.eye(n, dtype=bool))
        new = (i >= have) | (j >= have)
        i, j = i[new], j[new]
        rows = self._others[offset : self.num_cells]
        rows[:, have:n, :n] = rows[:, :n, have:n] = 0.0
        if len(i):
            cn0 = self._links.cn0(senders[j], receivers[i], cell, num_cells)
            rows[:, i, j] = (cn0 / (self._bandwidth_hz * self._links.rx_antennas[receivers[i]])[:, None]).T


@dataclass(frozen=True)
class _OnAir:
    """Who was on the air from time_ns on. audible: [n, n] bool, who is heard beside whom; shares: [n] of the time."""

    time_ns: int
    transfers: list[Transfer]
    audible: np.ndarray
    shares: np.ndarray


class SharedInterferenceLog(OnAirLog[_OnAir]):
    """Who was on the air between devices."""

    def __init__(self, links: Links, sharing: SharedCarrier, bandwidth_hz: float) -> None:
        super().__init__(links)
        self._sharing = sharing
        self._bandwidth_hz = bandwidth_hz

    def note(self, time_ns: int, active: list[Transfer]) -> None:
        sharing = self._sharing
        self._entries.append(_OnAir(time_ns, list(active), sharing.audible(), sharing.shares.copy()))

    def _rise(self, entry: _OnAir, transfer: Transfer, first_cell: int, num_cells: int) -> np.ndarray | None:
        links, receivers = self._links, transfer.receivers
        if transfer not in entry.transfers:
            return None
        heard = np.flatnonzero(entry.audible[entry.transfers.index(transfer)]).tolist()
        pairs = [(entry.transfers[j].tx, r, j) for r in range(len(receivers)) for j in heard]
        pairs = [pair for pair in pairs if pair[0] != receivers[pair[1]]]
        if not pairs:
            return None
        tx, r, j = np.array(pairs).T
        rx = np.array(receivers)[r]
        cn0 = links.cn0(tx, rx, first_cell, num_cells)
        added = cn0 * (entry.shares[j] / (self._bandwidth_hz * links.rx_antennas[rx]))[:, None]
        total = np.zeros((len(receivers), num_cells))
        np.add.at(total, r, added)
        return total
