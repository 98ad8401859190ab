"""Several cells in front of one server: which base station serves a device, and what becomes of its messages when that changes.

Programs know one server. On the air a device's messages go by the station that serves it, a server's broadcast goes as one
flight a station. The nodes of the air are the devices 0 .. D - 1 and the stations D .. D + S - 1; the server is station D. Where
a learner uses edge servers, every station is one, the server is node D + S, and its messages with them go by the backhaul alone.

Association: the station of the strongest mean received power (path loss, shadowing, antennas, no fading); from then on another
one only when it is more than `hysteresis_db` stronger, looked at every `update_every_s`. Who is away changes nothing over: back
again it belongs to the station that was strongest at the last look.

Hand-over of the transfers between a device and its station:
    waiting    they go by the new station
    under way  they are cut. "continue": the bits that were not through go by the new station (at a fixed rate the cut packet
               is sent anew). "lose": the packets that were not through are lost, cause `departure`; arq and nack repeat them.
    a broadcast that is under way: "continue": the device hears it to its end from the station that began it (and what is
               repeated of it); "lose": it misses the packets that were not through
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsim.errors import SimulationError
from wsim.links import Links
from wsim.topology import FixedTopology

if TYPE_CHECKING:
    from wsim.transport.flight import Flight


class Cells:
    """serving: [num_devices] node index of the station of each device. num_handovers: changes since the start, of devices that were
    there."""

    absent: frozenset[int] = frozenset()  # devices that are not there

    def __init__(
        self,
        links: Links,
        num_devices: int,
        num_stations: int,
        hysteresis_db: float,
        update_every_s: float,
        loses: bool,
        interferes: bool,
        server: int | None = None,
    ) -> None:
        """server: its node index; None: it stands at the first station."""
        self.update_every_s = update_every_s
        self.server = num_devices if server is None else server
        self.first_station = num_devices
        self.num_stations = num_stations
        self.loses = loses
        self.interferes = interferes
        self.num_handovers = 0
        self._links = links
        self._hysteresis_db = hysteresis_db
        self._stations = np.repeat(np.arange(num_stations) + num_devices, num_devices)
        self._devices = np.tile(np.arange(num_devices), num_stations)
        self.serving: list[int] = (self.received_db(0.0).argmax(axis=0) + num_devices).tolist()

    @property
    def has_edges(self) -> bool:
        """The stations are edge servers."""
        return self.server != self.first_station

    def received_db(self, time_s: float) -> np.ndarray:
        """[num_stations, num_devices] mean power that devices receive, in dB over their noise density (Hz)."""
        cn0 = self._links.mean_cn0(self._stations, self._devices, time_s)
        return 10.0 * np.log10(cn0).reshape(self.num_stations, -1)

    def update(self, time_s: float) -> list[tuple[int, int]]:
        """Look for stronger stations: [(device, its new station)] of those present that change. `serving` is theirs from now on."""
        received_db = self.received_db(time_s)
        present = np.array(self.serving) - self.first_station
        best = received_db.argmax(axis=0)
        devices = np.arange(received_db.shape[1])
        better_db = received_db[best, devices] - received_db[present, devices]
        found = [(int(i), int(best[i]) + self.first_station) for i in np.flatnonzero(better_db > self._hysteresis_db)]
        changes = [(device, station) for device, station in found if device not in self.absent]
        for device, station in changes:
            self.serving[device] = station
        for device in self.absent:
            self.serving[device] = int(best[device]) + self.first_station
        self.num_handovers += len(changes)
        return changes

    def audiences(self, receivers: Sequence[int]) -> list[tuple[int, ...]]:
        """The receivers of a server's broadcast by the stations that serve them."""
        by_station: dict[int, list[int]] = {}
        for receiver in receivers:
            by_station.setdefault(self.serving[receiver], []).append(receiver)
        return [tuple(by_station[station]) for station in sorted(by_station)]

    def ends(self, flight: Flight) -> tuple[int, tuple[int, ...]]:
        """The nodes between which a flight is on the air: the base station in the place of the server. A broadcast keeps the
        one that it began with."""
        if flight.sender < self.first_station:
            if len(flight.receivers) > 1 or flight.receivers[0] < self.first_station:
                raise SimulationError(f"device {flight.sender} sends to {flight.receivers}: in cells only a server")
            return flight.sender, (self.serving[flight.sender],)
        if not flight.broadcast:
            return self.serving[flight.receivers[0]], flight.receivers
        if flight.station < 0:
            flight.station = self.serving[flight.receivers[0]]
        return flight.station, flight.receivers

    def interferers(self, station: int) -> list[int]:
        """The stations that may radiate beside this one on the same carrier."""
        if not self.interferes:
            return []
        return [
            other for other in range(self.first_station, self.first_station + self.num_stations) if other != station
        ]

    def off_the_air(self, flight: Flight) -> tuple[int, int]:
        """From which node to which a flight goes on besides its way on the air; the same where it does not."""
        tx, receivers = self.ends(flight)
        if flight.sender < self.first_station:
            return receivers[0], flight.receivers[0]
        return flight.sender, tx

    def served(self, station: int) -> tuple[int, ...]:
        """The devices that this station (a node index) serves now, of those that are there."""
        return tuple(i for i, its in enumerate(self.serving) if its == station and i not in self.absent)


class CellTopology(FixedTopology):
    """A star around the server whose edges are drawn to the stations that serve the devices now."""

    def __init__(self, cells: Cells) -> None:
        super().__init__(cells.first_station, None)
        self._cells = cells

    def neighbors(self, index: int) -> tuple[int, ...]:
        cells = self._cells
        if index < cells.first_station or not cells.has_edges:
            return super().neighbors(index)
        return super().neighbors(cells.first_station) if index == cells.server else cells.served(index)

    def edges(self) -> np.ndarray:
        return np.array(list(enumerate(self._cells.serving)), dtype=np.int64).reshape(-1, 2)
