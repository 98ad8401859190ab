"""Where things are and what they are made of: area, devices, server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from wsim.scenario import quantities as q
from wsim.scenario.churn import Churn
from wsim.scenario.compute import Compute, ServerCompute
from wsim.scenario.table import ItemTable, Table, left_out

Indoor = Annotated[Literal["low_loss", "high_loss", "car"] | None, Field(exclude_if=left_out)]
Place = Annotated[tuple[q.CoordinateM, ...], Field(min_length=2, max_length=3)]  # x, y and perhaps height


class Area(Table):
    """Where devices are placed and walk. Disc and square are centered on the origin; cells: the hexagons of [cells], in which
    nobody is placed nearer than `min_distance_m` to a site and nobody walks."""

    shape: Literal["disc", "square", "cells"]
    radius_m: q.DistanceM | None = None  # disc
    side_m: q.DistanceM | None = None  # square
    min_distance_m: q.DistanceOrZeroM = 0.0  # nobody is placed nearer to the origin than this; walkers may pass

    @property
    def reach_m(self) -> float:
        """The largest distance from the origin."""
        return self.radius_m or 0.0 if self.shape == "disc" else (self.side_m or 0.0) / 2 * 2**0.5


class Position(Table):
    """Placement at random: uniform over the area, or over the ring between two distances from the origin."""

    ring_m: q.RingRange | None = None
    height_m: q.HeightM = 1.5


class Mobility(ItemTable):
    """How devices move; the own keys are those of the model."""

    shorthand: ClassVar[str | None] = "kind"
    items: ClassVar[Mapping[str, str]] = {"kind": "mobility"}
    kind: str = "static"


class Radio(Table):
    """A transceiver. `tx_power_dbm` is the total radiated power, or the power in `tx_power_reference_hz` where that is
    given (a base station of constant power per hertz: the power is scaled to the band)."""

    tx_power_dbm: q.PowerDbm
    tx_power_reference_hz: q.BandwidthHz | None = None
    antenna_gain_dbi: q.GainDb = 0.0
    noise_figure_db: q.NoiseFigureDb = 7.0
    rx_antennas: Annotated[int, q.Quantity(1, 1024, "antennas are whole numbers")] = 1


class Energy(Table):
    """What a radio draws in each state. Transmitting: radiated power / `pa_efficiency` + `tx_circuit_w`, or `tx_w`."""

    pa_efficiency: q.Efficiency = 0.35
    tx_circuit_w: q.Watts = 0.1
    tx_w: q.Watts | None = None
    rx_w: q.Watts = 0.2
    listen_w: q.Watts = 0.2  # nothing to receive, between devices: who senses a carrier keeps the receiver on
    idle_w: q.Watts = 0.05  # nothing to receive, in a cell: scheduled by the base station, the receiver rests
    sleep: Annotated[bool, Field(exclude_if=lambda value: not value)] = (
        False  # in a cell: with nothing to send or receive it sleeps, until the base station wakes it
    )
    sleep_w: Annotated[q.Watts | None, Field(exclude_if=left_out)] = (
        None  # with sleep: 0.001 of a sensor node, 0.1 of Wi-Fi
    )
    battery_j: q.Joules | None = None  # not given: mains


class DeviceGroup(Table):
    """Devices of one kind. `like` copies an earlier group, table by table, before this one's own keys are set."""

    name: str
    count: q.Count
    position: Position = Position()
    positions_m: tuple[Place, ...] | None = None  # explicit places instead of `position`
    mobility: Mobility = Mobility()
    compute: Compute
    radio: Radio
    energy: Energy = Energy()
    churn: Annotated[Churn, Field(exclude_if=lambda churn: churn.kind == "none")] = Churn()
    indoor: Indoor = None  # what the base station's signal has to penetrate


class Server(Table):
    """A base station with the server behind it. Its joules are kept apart; "not counted" leaves them out."""

    position_m: tuple[q.CoordinateM, q.CoordinateM, q.HeightM] = (0.0, 0.0, 10.0)
    radio: Radio
    compute: ServerCompute = ServerCompute()
    energy: Annotated[Energy | None, Field(description='a table, or "not counted"')] = None

    @field_validator("energy", mode="before")
    @classmethod
    def _not_counted(cls, value: Any) -> Any:
        return None if value == "not counted" else value
