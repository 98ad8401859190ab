"""Radio states of several cells: every station's radio is on while it has something to send or receive."""

from __future__ import annotations

import numpy as np

from wsim.accounts import Radios
from wsim.mac.carrier_radios import CarrierRadios
from wsim.mac.cell_shares import CellShares


class StationRadios(CarrierRadios):
    """first_station: the stations are the nodes from there on."""

    def __init__(self, radios: Radios, shares: CellShares, first_station: int) -> None:
        super().__init__(radios, first_station, shares.downlink, shares.duplex_share)
        self._first = first_station
        self._in_cell = shares.in_cell
        self._stations_on = np.zeros(len(shares.in_cell), dtype=bool)

    def set_stations(self, now_ns: int, any_active: bool) -> None:
        """Of the stations that have got their first transfer or lost their last one since the last time."""
        on = self._in_cell > 0
        for station in np.flatnonzero(on != self._stations_on).tolist():
            self._switch(self._first + station, now_ns, bool(on[station]))
        self._stations_on = on
