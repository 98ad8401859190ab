"""Builders shared by the tests of the channel models."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from channels.channel import Channel
from channels.mobility import Area, Positions, RandomWaypoint, Static, Trace
from channels.path_loss import LogDistance, UmiStreetCanyon
from channels.shadowing import UMI_SHADOWING, Shadowing

CARRIER_HZ = 3.5e9


@pytest.fixture(autouse=True)
def _quiet_range_warnings() -> Iterator[None]:
    """Random devices come nearer than 10 m to the base station; the test of that warning records it itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="tr38901_umi")
        yield


def straight(speed_mps: float, start_m: tuple[float, float] = (0.0, 0.0), until_s: float = 1e4) -> Trace:
    """A node that walks along x at a constant speed."""
    x, y = start_m
    return Trace([0.0, until_s], [(x, y, 1.5), (x + speed_mps * until_s, y, 1.5)])


@pytest.fixture
def cell() -> Callable[..., Channel]:
    """A UMi cell of 300 m with num_devices, static or walking, and a base station at the origin as the last node."""

    def build(
        num_devices: int = 6, moving: bool = False, fading: Any = None, rx_antennas: int = 2, **kwargs: Any
    ) -> Channel:
        area = Area("disc", 300.0)
        rng = np.random.default_rng(7)
        paths: list[Any] = [
            RandomWaypoint(area, (1.0, 2.0), (0.0, 2.0)).path(np.random.default_rng([7, i]))
            if moving
            else Static((*area.draw(rng), 1.5))
            for i in range(num_devices)
        ]
        arguments: dict[str, Any] = dict(
            carrier_hz=CARRIER_HZ,
            path_loss=UmiStreetCanyon(),
            shadowing=UMI_SHADOWING,
            fading=fading,
            antenna_gain_dbi=[0.0] * num_devices + [8.0],
            rx_antennas=[1] * num_devices + [rx_antennas],
            key=20240229,
            base_station=num_devices,
            reciprocal=False,
        )
        return Channel(Positions([*paths, Static((0.0, 0.0, 10.0))]), **(arguments | kwargs))

    return build


@pytest.fixture
def mesh() -> Callable[..., Channel]:
    """num_devices in a square of 100 m without a base station; `paths` replaces the random places."""

    def build(
        num_devices: int = 6, moving: bool = False, fading: Any = None, paths: list[Any] | None = None, **kwargs: Any
    ) -> Channel:
        area = Area("square", 100.0)
        rng = np.random.default_rng(8)
        if paths is None:
            paths = [
                RandomWaypoint(area, (1.0, 2.0)).path(np.random.default_rng([8, i]))
                if moving and i % 3
                else Static((*area.draw(rng), 1.5))
                for i in range(num_devices)
            ]
        arguments: dict[str, Any] = dict(
            carrier_hz=CARRIER_HZ,
            path_loss=LogDistance(exponent=3.0),
            shadowing=Shadowing(6.0, 20.0),
            fading=fading,
            antenna_gain_dbi=[0.0] * len(paths),
            rx_antennas=[1 + (i % 3 == 0) for i in range(len(paths))],
            key=20240301,
        )
        return Channel(Positions(paths), **(arguments | kwargs))

    return build


def all_pairs(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Every unordered pair once."""
    return np.triu_indices(num_nodes, 1)


@pytest.fixture
def tools() -> Any:
    """The plain functions of this file: test modules do not import each other."""

    class Tools:
        straight = staticmethod(straight)
        all_pairs = staticmethod(all_pairs)
        carrier_hz = CARRIER_HZ

    return Tools
