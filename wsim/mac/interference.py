"""What cells hear of each other on one carrier (reuse 1): from C/N0 to C / (N0 + I0), a step function of time.

    uplink      I0(s, t) = sum over the active transfers k of other cells of  w_k P_k g_ks(t) / B
    downlink    I0(d, t) = sum over the other stations s that have something to send of  P_s g_sd(t) / B

P: total power, g: power gain with path loss, shadowing and fading of that very pair (the same functions as for wanted signals),
B: the whole band, w_k: the part of the time that k is on the air within its cell (TDMA; 1 in FDMA). I0 changes when a transfer
begins or ends anywhere and from cell to cell of the channel's grid in time, and enters the rates like noise.

What stands behind it: the transfers of an FDMA cell tile the band, and the parts that different cells give to their devices
fall together at random, as with frequency hopping, so that each sees the mean over the band (in TDMA: over time). Interference
is Gaussian. With several receive antennas that are combined for the wanted signal (MRC), that of another sender adds with the
mean of its powers at them, not the sum. In TDD all cells have the same pattern in step. A transfer that stalls (rate 0) counts
as on the air: its cell goes on scheduling it. Stations do not hear stations, nor devices devices. With a delay profile the wanted
link counts per resource block, all others with the mean of g over the blocks: noise that is even over the band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from channels.waves import tree_sum
from wsim.links import Links
from wsim.mac.ahead import ChannelAhead
from wsim.mac.cell_shares import CellShares
from wsim.mac.on_air import OnAirLog
from wsim.mac.transfer import Transfer

MAX_GAINS = 1 << 18  # transfers x cells x stations looked up at once, at most


class InterferenceAhead(ChannelAhead):
    """As `ChannelAhead`, what is known is C / (N0 + I0) in Hz. It keeps the gains between every active transfer's device and all
    stations; those of the wanted links are columns of them."""

    def __init__(self, links: Links, shares: CellShares, first_station: int, bandwidth_hz: float) -> None:
        super().__init__(links, None, [])
        self._shares = shares
        self._first_station = first_station
        self._bandwidth_hz = bandwidth_hz
        num_stations = len(shares.in_cell)
        self._stations = np.arange(num_stations) + first_station
        self._max_entries = max(1, MAX_GAINS // (num_stations * links.num_blocks))
        self._others = self._room_for_others()

    def _room_for_others(self) -> np.ndarray:
        """[cells, stations, active] rise over N0, 0 for the own; the last axis is the one that is summed over."""
        num_cells, num_active = self._values.shape[-2:]
        return np.empty((num_cells, len(self._stations), num_active))

    def at(self, offset: int) -> np.ndarray:
        n = self._num_active
        return self._over_interference(self._values[..., offset, :n], self._others[offset, :, :n])

    def since(self, offset: int) -> np.ndarray:
        n, end = self._num_active, self.num_cells
        return self._over_interference(self._values[..., offset:end, :n], self._others[offset:end, :, :n])

    def remove(self, i: int) -> None:
        n = self._num_active
        if n > i:
            self._others[: self.num_cells, :, i : n - 1] = self._others[: self.num_cells, :, i + 1 : n]
        super().remove(i)

    def _over_interference(self, own: np.ndarray, others: np.ndarray) -> np.ndarray:
        """own: [..., active], with a delay profile by block; others: [..., stations, active].

        No matrix product: the order in which BLAS adds depends on the shape and place of an array, so that bits would depend on how
        many cells are looked at together. Stations are added one by one, and numpy's own sum along the last, contiguous axis
        has one order for one number of transfers.
        """
        shares = self._shares
        if shares.downlink:
            rise = np.zeros(others.shape[:-2] + others.shape[-1:])
            for station in np.flatnonzero(shares.in_cell).tolist():
                rise += others[..., station, :]
        else:
            on_air = others if shares.always_on else others * shares.time_share
            rise = on_air.sum(axis=-1)[..., shares.station]
        result: np.ndarray = own / (1.0 + rise)
        return result

    def _make_room(self, num_cells: int, num_active: int) -> None:
        super()._make_room(num_cells, num_active)
        old = self._others
        if old.shape[::2] != self._values.shape[-2:]:
            self._others = self._room_for_others()
            self._others[: old.shape[0], :, : old.shape[2]] = old

    def _fill(self, offset: int, have: int, active: list[Transfer], cell: int) -> None:
        downlink = self._shares.downlink
        new = active[have:]
        devices = np.array([transfer.receivers[0] if downlink else transfer.tx for transfer in new])
        # of a fixed rate in the downlink nothing is needed here: stations radiate alike whatever they send
        looked_up = (
            [i for i, transfer in enumerate(new) if transfer.efficiency is None] if downlink else range(len(new))
        )
        rows = np.s_[offset : self.num_cells]
        self._values[..., rows, have : len(active)] = 0.0
        self._others[rows, :, have : len(active)] = 0.0
        if not len(looked_up):
            return
        places = np.array(looked_up) + have
        cn0 = self._cn0(devices[looked_up], cell, self.num_cells - offset)
        station = self._shares.station[places]
        index = np.arange(len(places))
        self._values[..., rows, places] = cn0[..., index, station]
        cn0 = self._links.band_mean(cn0)
        receivers = devices[looked_up][:, None] if downlink else self._stations
        cn0 *= 1.0 / (self._bandwidth_hz * self._links.rx_antennas[receivers])
        cn0[:, index, station] = 0.0
        self._others[rows][:, :, places] = cn0.swapaxes(-1, -2)

    def _cn0(self, devices: np.ndarray, first_cell: int, num_cells: int) -> np.ndarray:
        """[..., num_cells, len(devices), stations] C/N0 of the links between these devices and all stations."""
        num_stations = len(self._stations)
        near, far = np.repeat(devices, num_stations), np.tile(self._stations, len(devices))
        tx, rx = (far, near) if self._shares.downlink else (near, far)
        cn0 = self._links.band_cn0(tx, rx, first_cell, num_cells).swapaxes(-1, -2)
        return cn0.reshape(*cn0.shape[:-1], len(devices), num_stations)


@dataclass(frozen=True)
class _OnAir:
    """Who was on the air from time_ns on. All arrays [n]: sender, its station (from 0), part of the time."""

    time_ns: int
    senders: np.ndarray
    stations: np.ndarray
    weights: np.ndarray


class InterferenceLog(OnAirLog[_OnAir]):
    """Who was on the air in all cells."""

    def __init__(self, links: Links, shares: CellShares, first_station: int, bandwidth_hz: float) -> None:
        super().__init__(links)
        self._shares = shares
        self._first_station = first_station
        self._bandwidth_hz = bandwidth_hz
        self._changes = -1

    def note(self, time_ns: int, active: list[Transfer]) -> None:
        """Keep who is on the air from now on, where that has changed."""
        shares = self._shares
        if self._changes == shares.num_changes and self._entries:
            return
        self._changes = shares.num_changes
        if shares.downlink:
            stations = np.flatnonzero(shares.in_cell)
            entry = _OnAir(time_ns, stations + self._first_station, stations, np.ones(len(stations)))
        else:
            senders = np.array([transfer.tx for transfer in active], dtype=np.int64)
            entry = _OnAir(time_ns, senders, shares.station.copy(), shares.time_share)
        self._entries.append(entry)

    def _rise(self, entry: _OnAir, transfer: Transfer, first_cell: int, num_cells: int) -> np.ndarray | None:
        links = self._links
        receivers = np.array(transfer.receivers)
        own = (transfer.tx if self._shares.downlink else transfer.receivers[0]) - self._first_station
        others = entry.stations != own
        senders, weights = entry.senders[others], entry.weights[others]
        if not len(senders):
            return None
        tx, rx = np.repeat(senders, len(receivers)), np.tile(receivers, len(senders))
        cn0 = links.cn0(tx, rx, first_cell, num_cells).reshape(len(senders), len(receivers), num_cells)
        added: np.ndarray = tree_sum(cn0 * weights[:, None, None])
        return added / (self._bandwidth_hz * links.rx_antennas[receivers])[:, None]
