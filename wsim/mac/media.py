"""The media of a scenario: which medium carries a message from here to there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from wsim.accounts import Radios
from wsim.clock import Clock
from wsim.mac.carrier import Carrier
from wsim.mac.ideal import IdealMedium
from wsim.mac.shared import SharedCarrier
from wsim.mac.sharing import Fdma, Tdma
from wsim.mac.transfer import Medium, Transfer
from wsim.transport import Transport
from wsim.world import World

if TYPE_CHECKING:
    from wsim.scenario import Scenario
    from wsim.scenario.radio import Phy

CELLS: dict[str, type[Fdma] | type[Tdma]] = {"fdma": Fdma, "tdma": Tdma}


class Media:
    """uplink carries what devices send, downlink what the server sends; without a cell they are the same."""

    def __init__(self, uplink: Medium, downlink: Medium, server_index: int, bandwidth_hz: float) -> None:
        self._uplink = uplink
        self._downlink = downlink
        self._server_index = server_index
        self._bandwidth_hz = bandwidth_hz
        self._all = [uplink] if uplink is downlink else [uplink, downlink]
        self.sharing: SharedCarrier | None = None

    def of(self, sender: int) -> Medium:
        return self._downlink if sender == self._server_index else self._uplink

    def drained_bits(self, time_ns: int) -> float:
        return sum(medium.drained_bits(time_ns) for medium in self._all)

    def book_stalls(self) -> None:
        for medium in self._all:
            medium.book_stalls()

    def topology_changed(self) -> None:
        for medium in self._all:
            medium.topology_changed()

    def before_power_change(self, node: int) -> None:
        for medium in self._all:
            medium.before_power_change(node)

    def power_changed(self, node: int) -> None:
        for medium in self._all:
            medium.power_changed(node)

    def can_progress(self, transport: Transport) -> bool:
        """Something is on its way that will arrive by itself."""
        return transport.waits or any(medium.can_progress() for medium in self._all)

    def notes(self) -> list[str]:
        """What the user should know about the spectrum that was used."""
        if isinstance(self._uplink, IdealMedium) and self._uplink.peak_links > 1:
            return [self._spectrum("ideal medium access", self._uplink.peak_links)]
        if self.sharing is not None and self.sharing.orthogonal and self.sharing.peak_concurrent > 1:
            return [self._spectrum("orthogonal_links", self.sharing.peak_concurrent)]
        return []

    def _spectrum(self, what: str, num_links: int) -> str:
        total_mhz = num_links * self._bandwidth_hz / 1e6
        return f"{what}: up to {num_links} links at once, each with its own band: {total_mhz:,.2f} MHz of spectrum"


def build_media(
    scenario: Scenario,
    world: World,
    clock: Clock,
    radios: Radios,
    done: Callable[[Transfer], None],
    heard_by: Callable[[int], np.ndarray],
    channel_of: list[int],
) -> Media:
    """heard_by(tx): indices that sense tx; channel_of: the present channel of each node (both for mac = "shared")."""
    bandwidth_hz, kind, server = scenario.channel.bandwidth_hz, scenario.mac.kind, world.server_index
    if kind == "ideal":
        ideal = IdealMedium(clock, world.links, radios, bandwidth_hz, done)
        return Media(ideal, ideal, server, bandwidth_hz)
    if kind == "shared":
        sharing = SharedCarrier(bandwidth_hz, world.num_nodes, heard_by, channel_of, scenario.mac.orthogonal_links)
        carrier = Carrier(clock, world.links, radios, sharing, done)
        media = Media(carrier, carrier, server, bandwidth_hz)
        media.sharing = sharing
        return media
    up_share, down_share = duplex_shares(scenario.phy)
    rule = CELLS[kind]
    uplink = Carrier(clock, world.links, radios, rule(bandwidth_hz, False, up_share), done, server)
    downlink = Carrier(clock, world.links, radios, rule(bandwidth_hz, True, down_share), done, server, True)
    return Media(uplink, downlink, server, bandwidth_hz)


def duplex_shares(phy: Phy) -> tuple[float, float]:
    """Parts of the time for uplink and downlink: 1 and 1 in FDD; from the slots of the pattern in TDD."""
    if phy.duplex == "fdd":
        return 1.0, 1.0
    down, _, up = phy.special_slot_symbols
    symbols = sum(phy.special_slot_symbols)
    count = {slot: phy.tdd_pattern.count(slot) for slot in "DSU"}
    total = len(phy.tdd_pattern)
    return (count["U"] + count["S"] * up / symbols) / total, (count["D"] + count["S"] * down / symbols) / total
