"""[[devices]] mobility: the model of a group, and the paths of its devices from a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.mobility import Area, Trace, TraceFile
from wsim.catalog import find
from wsim.errors import ScenarioError
from wsim.scenario.keys import own_keys, taken
from wsim.scenario.root import Scenario
from wsim.scenario.world import DeviceGroup


def area_of(scenario: Scenario) -> Area | None:
    """Where devices may walk; None for the cells of a layout, in which nobody walks."""
    area = scenario.area
    if area.shape == "cells":
        return None
    size_m = area.radius_m if area.shape == "disc" else area.side_m
    return Area(area.shape, size_m or 0.0)


def mobility_arguments(scenario: Scenario, group: DeviceGroup) -> dict[str, Any]:
    """What the group's model takes beside its own keys."""
    area = area_of(scenario)
    given: dict[str, Any] = {} if area is None else {"area": area}
    given |= {
        "height_m": group.position.height_m,
        "position_m": (0.0, 0.0, 0.0),  # static: a node's place comes later
    }
    return taken(find("mobility", group.mobility.kind), **given)


def mobility_model(scenario: Scenario, group: DeviceGroup) -> Any:
    """The model of a group that moves."""
    model = find("mobility", group.mobility.kind)
    return model(**mobility_arguments(scenario, group), **own_keys("mobility", model, group.mobility))


def read_traces(model: TraceFile, texts: Mapping[str, str], group: DeviceGroup) -> list[Trace]:
    """The paths of the group's devices. texts: of the files, by name. Raises ScenarioError that names the file."""
    try:
        return model.paths(texts[model.file], group.count, group.position.height_m)
    except ValueError as error:
        says = str(error)
        raise ScenarioError(f"{model.file}{' ' if says.startswith('line ') else ': '}{says}") from None
