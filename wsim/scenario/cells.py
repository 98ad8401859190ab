"""Several cells: where the base stations stand, how devices choose among them and what one cell hears of the others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from channels.sites import WRAPPED, Sites
from wsim.scenario import quantities as q
from wsim.scenario.table import Table, left_out
from wsim.scenario.world import Place


class Cells(Table):
    """Several base stations in front of one server. Each has the radio of [server]; `server.position_m` gives their height and,
    in x and y, the center of a hexagonal layout."""

    layout: Literal["hexagonal", "positions"] = "hexagonal"
    sites: Literal[1, 3, 7, 19] = 7  # hexagonal
    sectors: Literal[1, 3] = 1  # hexagonal: stations a site
    inter_site_distance_m: q.DistanceM = 500.0  # hexagonal
    wraparound: bool = False  # hexagonal, 7 or 19 sites: the layout is repeated for ever
    positions_m: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None  # positions: one a station
    hysteresis_db: q.MarginDb = 3.0  # a device changes to a station that is this much stronger, in the local mean
    update_every_s: q.Seconds = 1.0  # how often devices look for a stronger station
    handover: Literal["continue", "lose"] = "continue"  # a transfer that is under way goes on, or is lost (departure)
    interference: Literal["sinr", "none"] = "sinr"  # one carrier for all cells, or one for each
    backhaul_latency_s: q.SecondsOrZero = (
        0.0  # between the server and every station but the first; of edge servers, every station
    )
    backhaul_rate_bps: Annotated[q.BitRate | None, Field(exclude_if=left_out)] = (
        None  # of each station's wire, each way; else no limit
    )

    @model_validator(mode="after")
    def _layout_fits(self) -> Cells:
        if self.layout == "positions":
            if self.positions_m is None:
                raise PydanticCustomError("rule", 'layout = "positions" needs positions_m, one place [x, y] a station')
            if len(set(self.positions_m)) < len(self.positions_m):
                raise PydanticCustomError("rule", "positions_m names a place twice; every station needs its own")
        elif self.wraparound and self.sites not in WRAPPED:
            raise PydanticCustomError(
                "rule",
                "wraparound = true needs a layout that tiles the plane, sites = 7 or 19, not {sites}",
                {"sites": self.sites},
            )
        return self

    @property
    def hexagons(self) -> Sites | None:
        """The hexagonal layout, around the origin; None for explicit places."""
        if self.layout != "hexagonal":
            return None
        return Sites(self.sites, self.inter_site_distance_m, self.sectors, self.wraparound)

    def places_m(self, center_m: tuple[float, float, float]) -> list[tuple[float, float, float]]:
        """x, y and height of every station; center_m: `server.position_m`."""
        x, y, height = center_m
        hexagons = self.hexagons
        if hexagons is not None:
            return [(x + px, y + py, height) for px, py in hexagons.stations_m.tolist()]
        return [(p[0], p[1], p[2] if len(p) > 2 else height) for p in self.positions_m or ()]
