"""Checks of where nodes are: above the ground, and within the area that the scenario names."""

from __future__ import annotations

from collections.abc import Sequence

from channels.mobility import Trace
from wsim.scenario.cells import Cells
from wsim.scenario.messages import Path, problem, shown
from wsim.scenario.world import Area

HEIGHTS = "lies under the ground; heights are in m, 0 or more"
SLACK = 1 + 1e-9  # of the area: an offset that was added and taken off again


def check_places(places: Sequence[Sequence[float]], area: Area | None, path: Path, source: str) -> None:
    """Raise ScenarioError for a place [x, y] or [x, y, height] under the ground, or outside the area; None: there is no area."""
    for number, place in enumerate(places):
        if len(place) > 2 and place[2] < 0:
            says = f"{HEIGHTS} ({shown(-place[2])}?)"
            raise problem(source, (*path, number), says, value=place)
        if area is not None and _is_outside(area, place[0], place[1]):
            raise problem(source, (*path, number), f"lies outside the area, {_ends(area)}", value=place)


def check_stations(cells: Cells, source: str) -> None:
    """Raise ScenarioError for a base station under the ground."""
    check_places(cells.positions_m or (), None, ("cells", "positions_m"), source)


def check_traces(traces: Sequence[Trace], file: str, area: Area, path: Path, source: str) -> None:
    """Raise ScenarioError where a device of the group goes under the ground or leaves the area; the straight lines between points
    inside do not."""
    for device, trace in enumerate(traces):
        for t_s, (x, y, z) in trace.points():
            where = f"device {device} of the group is at {shown([x, y, z])} at {shown(t_s)} s,"
            if z < 0:
                raise problem(source, path, f"{where} under the ground; heights are in m, 0 or more", value=file)
            if area.shape != "cells" and _is_outside(area, x, y):
                says = f"{where} outside the area, {_ends(area)}; offset_m moves a trace, or a larger area"
                raise problem(source, path, says, value=file)


def _is_outside(area: Area, x: float, y: float) -> bool:
    if area.shape == "disc":
        return (x**2 + y**2) ** 0.5 > area.reach_m * SLACK
    return max(abs(x), abs(y)) > (area.side_m or 0.0) / 2 * SLACK


def _ends(area: Area) -> str:
    return f"which reaches {shown(area.reach_m)} m from the origin"
