"""How a carrier is divided among its active transfers, as a rule and as its result."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import numpy as np

from wsim.accounts import Radios
from wsim.clock import NS_PER_S
from wsim.mac.transfer import Transfer


class Allotment:
    """What each active transfer holds until the set changes; each number is one for all, or [num_active].

    time_share: share of time on the air; band_hz: band held while on the air; power_band_hz: band its power is spread over.
    For the rates, as arrays: power_band, rate_per_efficiency (bit/ns for each bit/s/Hz). uniform: one for all.
    """

    __slots__ = ("band_hz", "power_band", "power_band_hz", "rate_per_efficiency", "time_share", "uniform")

    def __init__(
        self, time_share: float | np.ndarray, band_hz: float | np.ndarray, power_band_hz: float | np.ndarray
    ) -> None:
        self.uniform = isinstance(time_share, float) and isinstance(band_hz, float)
        self.time_share = time_share
        self.band_hz: Any = band_hz
        self.power_band_hz = power_band_hz
        self.power_band = np.asarray(power_band_hz)
        self.rate_per_efficiency = np.asarray(time_share * (band_hz / NS_PER_S))


class Sharing(Protocol):
    """A rule that divides a carrier among its active transfers.

    even_share: the time share of every transfer where it is the same constant for all, else None.
    power_band_hz: the band the power is spread over where it never changes, else None.
    duplex_share: the part of the time that the carrier has.
    """

    @property
    def even_share(self) -> float | None: ...

    @property
    def power_band_hz(self) -> float | None: ...

    @property
    def duplex_share(self) -> float: ...

    def queue_key(self, transfer: Transfer) -> Hashable:
        """Transfers of one key go one after the other."""

    def admit(self, transfer: Transfer) -> None: ...

    def remove(self, i: int) -> None:
        """The i-th active transfer has gone; the ones behind it move up."""

    def allot(self, num_active: int) -> Allotment: ...

    def share_radios(self, radios: Radios, active: list[Transfer], time_share: float | np.ndarray) -> None:
        """Where shares vary: set the radio shares of the nodes on this carrier (settled by now)."""

    def topology_changed(self, active: list[Transfer]) -> None: ...
