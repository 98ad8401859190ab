"""One attempt to bring a message over the air, as every medium handles it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from wsim.mac.air_watch import AirWatch
    from wsim.transport import Flight


class Transfer:
    """`bits` are to be drained from node `tx` to `receivers`. `efficiency`: fixed bit/s/Hz, or None to follow the channel.

    While it is on the air the medium keeps `airtime_ns` and `hz_ns` (time on the air, and that times the band held) and, for
    a fixed efficiency, `history`: (time_ns, bits drained, bandwidth of the power) at every change of share, from which the
    instant of each packet follows. Where receivers have to lock on (`wsim.mac.air_watch`), `locked` says which of them has, None
    before anything was sent. `number`: in the series of SINRs, where there is one."""

    __slots__ = (
        "air_mark_ns", "airtime_ns", "bits", "efficiency", "flight", "history", "hz_mark_ns", "hz_ns", "locked", "number",
        "receivers", "started_ns", "time_share", "tx",
    )  # fmt: skip

    def __init__(
        self, flight: Flight, tx: int, receivers: tuple[int, ...], bits: int, efficiency: float | None = None
    ) -> None:
        self.flight = flight
        self.tx = tx
        self.receivers = receivers
        self.bits = bits
        self.efficiency = efficiency
        self.air_mark_ns = 0.0
        self.hz_mark_ns = 0.0
        self.airtime_ns = 0.0
        self.hz_ns = 0.0
        self.started_ns = -1
        self.time_share = 0.0
        self.history: list[tuple[int, float, float]] = []
        self.locked: np.ndarray | None = None
        self.number = -1


class Interference(Protocol):
    """Who was on the air when, for the fates of packets of a fixed rate; kept as far back as such transfers are under way."""

    def note(self, time_ns: int, active: list[Transfer]) -> None:
        """Keep who is on the air from now on."""

    def forget_before(self, time_ns: int) -> None:
        """Nobody will ask for what was before."""

    def changes_ns(self) -> np.ndarray:
        """Instants at which that changed."""

    def noise_rise(self, transfer: Transfer, times_ns: np.ndarray) -> np.ndarray:
        """(N0 + I0) / N0 at the receivers of a transfer from these instants on: [num_receivers, num_times]."""


class Medium(Protocol):
    """What the transport needs of a medium. It calls `done(transfer)` when all bits have been on the air.

    interference: who else was on the air when, where transfers hear each other; else None. watch: to be told of every span of
    time in which transfers were on the air, where somebody wants to know the SINRs.
    """

    watch: AirWatch | None

    @property
    def interference(self) -> Interference | None: ...

    def submit(self, transfer: Transfer, front: bool = False) -> None:
        """Queue a transfer (front: before the sender's other ones) and put it on the air when its turn comes."""

    def cancel(self, transfer: Transfer) -> float:
        """Take a transfer off the air or out of the queue; returns the bits drained by now."""

    def drained_of(self, transfer: Transfer) -> float:
        """Bits of a transfer on the air that are through by now. Changes nothing."""

    def drained_bits(self, time_ns: int) -> float:
        """Bits of unfinished transfers that will have been on the air by time_ns, if nothing happens until then. Changes
        nothing."""

    def book_stalls(self) -> None:
        """Tell the radios for how long transfers on the air have had rate zero until now: they did not transmit then."""

    def can_progress(self) -> bool:
        """A transfer will finish by itself, or may do so when the channel changes."""

    def topology_changed(self) -> None:
        """Who hears whom has changed."""

    def before_power_change(self, node: int) -> None:
        """Book what was drained at the present power."""

    def power_changed(self, node: int) -> None:
        """A sender's power was set: what was planned for its transfers is void."""
