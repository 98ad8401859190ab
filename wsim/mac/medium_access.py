"""Kinds of medium access: what [mac] kind names, and what the rest of the simulator has to know about each.

A kind is a frozen dataclass whose fields are its own keys of [mac]. `media` builds what carries messages from here to there,
one or two objects with the interface of `wsim.mac.transfer.Medium`. That interface is young: a plug-in that adds a kind
(entry point group wsim.macs) may have to follow it from version to version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np

from wsim.accounts import Radios
from wsim.catalog import find
from wsim.clock import Clock
from wsim.mac.carrier import Carrier
from wsim.mac.carrier_radios import CarrierRadios
from wsim.mac.cell_shares import CellShares
from wsim.mac.ideal import IdealMedium
from wsim.mac.interference import InterferenceAhead, InterferenceLog
from wsim.mac.media import Media
from wsim.mac.shared import SharedCarrier
from wsim.mac.shared_interference import SharedInterferenceAhead, SharedInterferenceLog
from wsim.mac.sharing import FdmaShares, TdmaShares
from wsim.mac.station_radios import StationRadios
from wsim.mac.transfer import Transfer
from wsim.scenario import quantities as q
from wsim.scenario.keys import own_keys

if TYPE_CHECKING:
    from wsim.scenario import Scenario
    from wsim.scenario.cells import Cells as CellsTable
    from wsim.scenario.radio import Phy
    from wsim.world import World


Channels = Annotated[int, q.Quantity(1, 1000, "channels are whole numbers")]


@dataclass(frozen=True)
class Air:
    """What a medium is built from.

    done(transfer): to be called when all of its bits have been on the air
    heard_by(tx): indices of the nodes that sense tx now; nobody where the kind does not ask for it (`senses`)
    channel_of: the present channel of each node
    cells: the scenario's [cells]
    """

    bandwidth_hz: float
    phy: Phy
    world: World
    clock: Clock
    radios: Radios
    done: Callable[[Transfer], None]
    heard_by: Callable[[int], np.ndarray]
    channel_of: list[int]
    cells: CellsTable | None = None


@dataclass(frozen=True)
class MediumAccess:
    """Base of all kinds.

    needs_server: True for a cell, False for devices among each other, None for either
    full_duplex: radios send and receive at once, also outside a cell with FDD
    listens: who has nothing to send or receive listens, since it might be heard from; else its radio is idle
    divides_band: a power-limited sender may have to fit its power into a part of the band
    """

    needs_server: ClassVar[bool | None] = None
    full_duplex: ClassVar[bool] = False
    listens: ClassVar[bool] = False
    divides_band: ClassVar[bool] = False

    @property
    def num_channels(self) -> int:
        """Carriers that a node may choose from."""
        return 1

    @property
    def senses_above_db(self) -> float | None:
        """The mean SNR above which a node senses a transmission, in dB; None where nobody has to."""
        return None

    def media(self, air: Air) -> Media:
        raise NotImplementedError


@dataclass(frozen=True)
class Ideal(MediumAccess):
    """No medium access at all: every link has the whole band for itself.

    channels: carriers to choose from; who listens to another hears nothing
    """

    channels: Channels = 1

    full_duplex: ClassVar[bool] = True

    @property
    def num_channels(self) -> int:
        return self.channels

    def media(self, air: Air) -> Media:
        medium = IdealMedium(air.clock, air.world.links, air.radios, air.bandwidth_hz, air.done)
        return Media(medium, medium, air.world.num_devices, air.bandwidth_hz)


@dataclass(frozen=True)
class Fdma(MediumAccess):
    """A cell whose band is divided equally among the active transfers."""

    needs_server: ClassVar[bool | None] = True
    divides_band: ClassVar[bool] = True

    def media(self, air: Air) -> Media:
        return _cells(air, True) if air.cells is not None else _cell(air, FdmaShares)


@dataclass(frozen=True)
class Tdma(MediumAccess):
    """A cell whose time is divided equally among the active transfers."""

    needs_server: ClassVar[bool | None] = True

    def media(self, air: Air) -> Media:
        return _cells(air, False) if air.cells is not None else _cell(air, TdmaShares)


@dataclass(frozen=True)
class Shared(MediumAccess):
    """One carrier between devices: a genie orders conflicting transmissions under half duplex.

    sensing_snr_db: who hears a transmission above this does not send
    orthogonal_links: every link on a band of its own, silently more spectrum
    channels: carriers to choose from
    interference: sinr: transmissions that do not exclude each other hear each other; none: they do not
    capture: true: only senders that sense each other keep apart, and what overlaps at a receiver, also when several send to
        it, is received as its SINR allows; false: nothing that a receiver senses overlaps with what is meant for it
    """

    sensing_snr_db: q.SnrDb = 0.0
    orthogonal_links: bool = False
    channels: Channels = 1
    interference: Literal["none", "sinr"] = "none"
    capture: bool = False

    needs_server: ClassVar[bool | None] = False
    listens: ClassVar[bool] = True

    @property
    def num_channels(self) -> int:
        return self.channels

    @property
    def senses_above_db(self) -> float | None:
        return None if self.orthogonal_links else self.sensing_snr_db

    def __post_init__(self) -> None:
        if self.interference == "sinr" and self.orthogonal_links:
            raise ValueError('interference = sinr: with orthogonal_links every link has a band of its own; "none"')
        if self.capture and self.interference != "sinr":
            raise ValueError('capture = true: what overlaps is received as its SINR allows; interference = "sinr" too')

    def media(self, air: Air) -> Media:
        world, band_hz = air.world, air.bandwidth_hz
        interferes = self.interference == "sinr"
        sharing = SharedCarrier(
            band_hz, world.num_nodes, air.heard_by, air.channel_of, self.orthogonal_links, interferes, self.capture
        )
        hears = None
        if interferes:
            parts = world.links, sharing, band_hz
            hears = SharedInterferenceAhead(*parts), SharedInterferenceLog(*parts)
        carrier = Carrier(air.clock, world.links, CarrierRadios(air.radios), sharing, air.done, hears)
        media = Media(carrier, carrier, world.num_devices, band_hz)
        media.sharing = sharing
        return media


def medium_access(scenario: Scenario) -> MediumAccess:
    """The kind that [mac] names, with its keys."""
    kind = find("mac", scenario.mac.kind)
    found: MediumAccess = kind(**own_keys("mac", kind, scenario.mac))
    return found


def _cell(air: Air, kind: type[FdmaShares] | type[TdmaShares]) -> Media:
    server = air.world.server_index

    def carrier(downlink: bool, duplex_share: float) -> Carrier:
        shares = kind(air.bandwidth_hz, downlink, duplex_share)
        radios = CarrierRadios(air.radios, server, downlink, duplex_share)
        return Carrier(air.clock, air.world.links, radios, shares, air.done)

    up_share, down_share = duplex_shares(air.phy)
    return Media(carrier(False, up_share), carrier(True, down_share), server, air.bandwidth_hz)


def _cells(air: Air, divides_band: bool) -> Media:
    world, first_station = air.world, air.world.num_devices
    interferes = air.cells is not None and air.cells.interference == "sinr"

    def carrier(downlink: bool, duplex_share: float) -> Carrier:
        counts = world.num_devices, world.num_stations
        shares = CellShares(air.bandwidth_hz, *counts, downlink, duplex_share, divides_band, interferes)
        hears = None
        if interferes:
            parts = world.links, shares, first_station, air.bandwidth_hz
            hears = InterferenceAhead(*parts), InterferenceLog(*parts)
        radios = StationRadios(air.radios, shares, first_station)
        return Carrier(air.clock, world.links, radios, shares, air.done, hears)

    up_share, down_share = duplex_shares(air.phy)
    return Media(carrier(False, up_share), carrier(True, down_share), first_station, air.bandwidth_hz)


def duplex_shares(phy: Phy) -> tuple[float, float]:
    """Parts of the time for uplink and downlink: 1 and 1 in FDD; from the slots of the pattern in TDD."""
    if phy.duplex == "fdd":
        return 1.0, 1.0
    down, _, up = phy.special_slot_symbols
    symbols = sum(phy.special_slot_symbols)
    count = {slot: phy.tdd_pattern.count(slot) for slot in "DSU"}
    total = len(phy.tdd_pattern)
    return (count["U"] + count["S"] * up / symbols) / total, (count["D"] + count["S"] * down / symbols) / total
