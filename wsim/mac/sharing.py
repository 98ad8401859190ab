"""How a cell's carrier is divided among its active transfers: by frequency or by time.

`FdmaShares`: equal parts of the band. In the uplink a power-limited sender puts its whole power into its part, so two equal uplinks
of SNR S take 2 log2(1+S)/log2(1+2S) times as long as one; in the downlink the power is spread over the whole carrier: exactly
twice as long.
`TdmaShares`: equal parts of the time, the whole band each: exactly twice as long.
`duplex_share`: the part of the time that this direction has (TDD); 1 in FDD.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from wsim.accounts import Radios
from wsim.mac.allotment import Allotment
from wsim.mac.transfer import Transfer


@dataclass(frozen=True)
class _Cell:
    """What both have in common: one transfer a device at a time, no state."""

    bandwidth_hz: float
    downlink: bool
    duplex_share: float = 1.0
    _allotments: dict[int, Allotment] = field(default_factory=dict, init=False, repr=False)  # by number of transfers

    @property
    def even_share(self) -> float | None:
        return None

    @property
    def power_band_hz(self) -> float | None:
        return self.bandwidth_hz

    def queue_key(self, transfer: Transfer) -> Hashable:
        """The device at the other end from the server; a multicast is of its own."""
        return transfer.receivers if self.downlink else transfer.tx

    def allot(self, num_active: int) -> Allotment:
        allotment = self._allotments.get(num_active)
        if allotment is None:
            allotment = self._allotments[num_active] = self._divide(max(num_active, 1))
        return allotment

    def _divide(self, num_active: int) -> Allotment:
        """Among at least one."""
        raise NotImplementedError

    def admit(self, transfer: Transfer) -> None:
        """Nothing to keep."""

    def remove(self, i: int) -> None:
        """Nothing to keep."""

    def topology_changed(self, active: list[Transfer]) -> None:
        """A cell's transfers all share its carrier, wherever the devices are."""

    def share_radios(self, radios: Radios, active: list[Transfer], time_share: float | np.ndarray) -> None:
        """Every device on the carrier has the same share; the server's own radio is kept by the carrier."""
        share = float(time_share)
        for transfer in active:
            change = share - transfer.time_share
            transfer.time_share = share
            if self.downlink:
                radios.rx_share[list(transfer.receivers)] += change
            else:
                radios.tx_share[transfer.tx] += change


@dataclass(frozen=True)
class FdmaShares(_Cell):
    @property
    def even_share(self) -> float | None:
        return self.duplex_share

    @property
    def power_band_hz(self) -> float | None:
        return self.bandwidth_hz if self.downlink else None

    def _divide(self, num_active: int) -> Allotment:
        band_hz = self.bandwidth_hz / num_active
        return Allotment(self.duplex_share, band_hz, self.bandwidth_hz if self.downlink else band_hz)


@dataclass(frozen=True)
class TdmaShares(_Cell):
    def _divide(self, num_active: int) -> Allotment:
        return Allotment(self.duplex_share / num_active, self.bandwidth_hz, self.bandwidth_hz)
