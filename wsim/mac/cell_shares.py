"""How the carriers of several cells are divided among their active transfers: by frequency or by time, in every cell apart.

Every cell has the whole carrier and divides it among its own transfers as one cell alone does (`wsim.mac.sharing`). All cells
are one object, and one direction of them one `Carrier`, so that an event costs one vectorized plan however many there are.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from wsim.accounts import Radios
from wsim.mac.allotment import Allotment
from wsim.mac.transfer import Transfer


class CellShares:
    """num_devices: the stations are the nodes from there on. divides_band: FDMA, else TDMA. interferes: the cells share one
    carrier. num_changes: how often a transfer has come or gone."""

    def __init__(
        self,
        bandwidth_hz: float,
        num_devices: int,
        num_stations: int,
        downlink: bool,
        duplex_share: float,
        divides_band: bool,
        interferes: bool,
    ) -> None:
        self.duplex_share = duplex_share
        self.downlink = downlink
        self.num_changes = 0
        self.interferes = interferes
        self.in_cell = np.zeros(num_stations, dtype=np.int64)  # active transfers by station
        self._bandwidth_hz = bandwidth_hz
        self._num_devices = num_devices
        self._divides_band = divides_band
        self._num = 0
        self._station = np.zeros(16, dtype=np.int64)  # of active transfer i, from 0; capacity doubles

    @property
    def even_share(self) -> float | None:
        return self.duplex_share if self._divides_band else None

    @property
    def power_band_hz(self) -> float | None:
        follows = self.interferes or (self._divides_band and not self.downlink)
        return None if follows else self._bandwidth_hz

    @property
    def station(self) -> np.ndarray:
        """[num_active] of each transfer, from 0."""
        return self._station[: self._num]

    @property
    def always_on(self) -> bool:
        """Every transfer is on the air all of the time of this direction."""
        return self._divides_band

    @property
    def time_share(self) -> np.ndarray:
        """[num_active] part of the time of this direction that each transfer is on the air."""
        return np.ones(self._num) if self._divides_band else 1.0 / self.in_cell[self.station]

    def queue_key(self, transfer: Transfer) -> Hashable:
        """The device at the other end; a multicast is of its station and audience."""
        if not self.downlink:
            return transfer.tx
        receivers = transfer.receivers
        return receivers if len(receivers) == 1 else (transfer.tx, *receivers)

    def admit(self, transfer: Transfer) -> None:
        n = self._num
        if n == len(self._station):
            self._station = np.concatenate([self._station, np.zeros(n, dtype=np.int64)])
        station = (transfer.tx if self.downlink else transfer.receivers[0]) - self._num_devices
        self._station[n] = station
        self.in_cell[station] += 1
        self._num = n + 1
        self.num_changes += 1

    def remove(self, i: int) -> None:
        n = self._num
        self.in_cell[self._station[i]] -= 1
        self._station[i : n - 1] = self._station[i + 1 : n]
        self._num = n - 1
        self.num_changes += 1

    def allot(self, num_active: int) -> Allotment:
        if not num_active:
            return Allotment(self.duplex_share, self._bandwidth_hz, self._bandwidth_hz)
        part = 1.0 / self.in_cell[self.station]
        if not self._divides_band:
            return Allotment(self.duplex_share * part, self._bandwidth_hz, self._bandwidth_hz)
        band_hz = self._bandwidth_hz * part
        return Allotment(self.duplex_share, band_hz, self._bandwidth_hz if self.downlink else band_hz)

    def topology_changed(self, active: list[Transfer]) -> None:
        """A cell's transfers share its carrier, wherever the devices are."""

    def share_radios(self, radios: Radios, active: list[Transfer], time_share: float | np.ndarray) -> None:
        """Set the shares of all devices on this carrier as a whole; the carrier keeps those of the stations."""
        shares = radios.rx_share if self.downlink else radios.tx_share
        shares[: self._num_devices] = 0.0
        if self.downlink:
            for transfer, share in zip(active, np.broadcast_to(time_share, len(active)).tolist(), strict=True):
                shares[list(transfer.receivers)] += share
        else:
            shares[[transfer.tx for transfer in active]] = time_share
