"""How a carrier is divided among its active transfers: by frequency or by time.

`Fdma`: equal parts of the band. A power-limited sender puts its whole power into its part, so two equal uplinks of SNR S take
2 log2(1+S)/log2(1+2S) times as long as one; with `constant_density` (a downlink, whose power is spread over the carrier)
exactly twice as long.
`Tdma`: equal parts of the time, the whole band each: exactly twice as long.
`duplex_share`: the part of the time that this direction has (TDD); 1 in FDD.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from wsim.mac.carrier import Allotment
from wsim.mac.transfer import Transfer


@dataclass(frozen=True)
class _Cell:
    """What both have in common: one transfer a device at a time, no state."""

    bandwidth_hz: float
    constant_density: bool
    duplex_share: float = 1.0

    @property
    def power_band_hz(self) -> float | None:
        return self.bandwidth_hz

    def queue_key(self, transfer: Transfer) -> Hashable:
        """The device at the other end from the server; a multicast is of its own."""
        return transfer.tx if not self.constant_density else transfer.receivers.tobytes()

    def admit(self, transfer: Transfer) -> None:
        """Nothing to keep."""

    def remove(self, i: int) -> None:
        """Nothing to keep."""

    def topology_changed(self, active: list[Transfer]) -> None:
        """A cell's transfers all share its carrier, wherever the devices are."""


@dataclass(frozen=True)
class Fdma(_Cell):
    @property
    def power_band_hz(self) -> float | None:
        return self.bandwidth_hz if self.constant_density else None

    @property
    def even_share(self) -> float:
        return self.duplex_share

    def allot(self, num_active: int) -> Allotment:
        band_hz = self.bandwidth_hz / num_active
        return Allotment(self.duplex_share, band_hz, self.bandwidth_hz if self.constant_density else band_hz)


@dataclass(frozen=True)
class Tdma(_Cell):
    even_share = None

    def allot(self, num_active: int) -> Allotment:
        return Allotment(self.duplex_share / num_active, self.bandwidth_hz, self.bandwidth_hz)
