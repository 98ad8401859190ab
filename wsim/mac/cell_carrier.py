"""One direction of several cells as one carrier: every station's radio is on while it has something to send or receive, and
where the cells share the band, they hear each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wsim.accounts import Radios
from wsim.clock import Clock
from wsim.links import Links
from wsim.mac.carrier import Carrier
from wsim.mac.cell_shares import CellShares
from wsim.mac.interference import InterferenceAhead, InterferenceLog
from wsim.mac.transfer import Transfer


class CellCarrier(Carrier):
    """first_station: the stations are the nodes from there on."""

    def __init__(
        self,
        clock: Clock,
        links: Links,
        radios: Radios,
        shares: CellShares,
        done: Callable[[Transfer], None],
        first_station: int,
        bandwidth_hz: float,
    ) -> None:
        hears = None
        if shares.interferes:
            parts = links, shares, first_station, bandwidth_hz
            hears = InterferenceAhead(*parts), InterferenceLog(*parts)
        super().__init__(clock, links, radios, shares, done, first_station, shares.downlink, hears)
        self._shares = shares
        self._stations_on = np.zeros(len(shares.in_cell), dtype=bool)

    def _set_server(self, now_ns: int) -> None:
        on = self._shares.in_cell > 0
        for station in np.flatnonzero(on != self._stations_on).tolist():
            change = self._shares.duplex_share if on[station] else -self._shares.duplex_share
            node = self._first_station + station
            self._radios.change(node, now_ns, *((change, 0.0) if self._server_sends else (0.0, change)))
        self._stations_on = on
