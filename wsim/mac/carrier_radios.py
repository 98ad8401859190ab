"""Radio states of the nodes at both ends of a carrier's transfers."""

from __future__ import annotations

import numpy as np

from wsim.accounts import Radios
from wsim.mac.transfer import Transfer

MANY_STALLED = 8  # from here on one array operation is cheaper than a loop


class CarrierRadios:
    """server: index of the node at one end of all transfers (a base station, which may serve several at once) or None;
    server_sends: this is its downlink. Nodes behind it are base stations as well: their radios are on while any of their
    transfers is. duplex_share: the part of the time that the carrier has."""

    def __init__(
        self, radios: Radios, server: int | None = None, server_sends: bool = False, duplex_share: float = 1.0
    ) -> None:
        self.radios = radios
        self.server = server
        self.server_sends = server_sends
        self._duplex_share = duplex_share
        self._first_station = 1 << 62 if server is None else server
        self._counts_receivers = server_sends or server is None
        self._server_on = False

    def wait(self, transfer: Transfer, now_ns: int, change: int) -> None:
        """One more, or one less, waits for its turn at the sender of this transfer."""
        if transfer.tx < self._first_station:
            self.radios.change(transfer.tx, now_ns, waiting=change)

    def set_share(self, transfer: Transfer, now_ns: int, share: float, waiting: int = 0) -> None:
        """A transfer is on the air for another share of the time from now on."""
        change = share - transfer.time_share
        transfer.time_share = share
        if transfer.tx < self._first_station:
            self.radios.change(transfer.tx, now_ns, change, 0.0, waiting)
        if change and self._counts_receivers:
            self.radios.change_receivers(transfer.receivers, now_ns, change)

    def set_stations(self, now_ns: int, any_active: bool) -> None:
        """The base station's radio is on from now on, or off."""
        if self.server is not None and any_active != self._server_on:
            self._server_on = any_active
            self._switch(self.server, now_ns, any_active)

    def _switch(self, station: int, now_ns: int, on: bool) -> None:
        change = self._duplex_share if on else -self._duplex_share
        self.radios.change(station, now_ns, *((change, 0.0) if self.server_sends else (0.0, change)))

    def stall(
        self, stalled_ns: np.ndarray, those: list[int], active: list[Transfer], now_ns: int, one_each: bool
    ) -> None:
        """stalled_ns: [num_active], booked as on the air but it was not; those: for whom it is not zero; one_each: no sender
        has several transfers on the air. Base stations send all of the time."""
        those = [i for i in those if active[i].tx < self._first_station]
        senders = [active[i].tx for i in those]
        for tx in senders:
            self.radios.settle_one(tx, now_ns)
        if one_each and len(those) >= MANY_STALLED:
            self.radios.several_stalled(np.array(senders), np.rint(stalled_ns[those]))
            return
        for tx, i in zip(senders, those, strict=True):
            self.radios.stalled(tx, round(float(stalled_ns[i])))
