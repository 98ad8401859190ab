"""Mobility in scenarios: every model puts its devices where it should; what is wrong with a trace is one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.wsim.builders import Toy, peers
from wsim.errors import ScenarioError
from wsim.mac.medium_access import medium_access
from wsim.scenario import Loaded, load_text
from wsim.streams import Streams
from wsim.world import World, build_world

FCD = """<fcd-export>
<timestep time="100.0"><vehicle id="a" x="10" y="20"/><vehicle id="b" x="0" y="0"/></timestep>
<timestep time="101.0"><vehicle id="a" x="20" y="20"/></timestep>
<timestep time="102.0"><vehicle id="a" x="30" y="20"/></timestep>
</fcd-export>"""


def four(mobility: str, *changes: str, referenced: dict[str, str] | None = None) -> Loaded:
    """Four devices without a place of their own."""
    text = peers([(0.0, 0.0)] * 4).text.replace("positions_m = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]", "# [")
    text = text.replace(", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]", "")
    mobility = f"devices.peers.mobility={mobility}"
    return load_text(text, (mobility, "area.side_m=400.0", *changes), 3, learner=Toy, referenced=referenced)


def world_of(loaded: Loaded) -> World:
    scenario = loaded.scenario
    return build_world(scenario, medium_access(scenario), loaded.files, Streams(scenario.scenario.seed))


def places(loaded: Loaded, t_s: Any) -> np.ndarray:
    """[4, k, 3]"""
    return world_of(loaded).positions.at(np.arange(4), np.asarray(t_s, dtype=np.float64))


@pytest.mark.parametrize(
    ("mobility", "moves"),
    [
        ("static", False),
        ("{kind='random_waypoint', speed_mps=[1.0, 2.0]}", True),
        ("{kind='random_waypoint', speed_mps=[0, 0]}", False),
        ("{kind='gauss_markov', spread_mps=2.0}", True),
        ("{kind='manhattan', speed_mps=[9.0, 15.0], block_m=100}", True),
    ],
)
def test_devices_stay_in_the_area_at_their_height(mobility: str, moves: bool) -> None:
    loaded = four(mobility, "devices.peers.position.height_m=2.5")
    at = places(loaded, np.arange(0.0, 300.0, 0.5))
    assert abs(at[..., :2]).max() <= 200 + 1e-9
    assert (at[..., 2] == 2.5).all()
    assert (np.ptp(at[..., :2], axis=1).max() > 1) == moves
    assert world_of(loaded).positions.is_static.tolist() == [not moves] * 4
    if "manhattan" in mobility:
        assert (abs(at[..., :2] / 100 - np.round(at[..., :2] / 100)).min(axis=-1) < 1e-9).all()


def test_gauss_markov_starts_where_a_device_is_placed() -> None:
    loaded = peers([(3, 4), (-50, 6)], "devices.peers.mobility={kind='gauss_markov', spread_mps=1.0}")
    assert world_of(loaded).positions.at(np.arange(2), 0.0).tolist() == [[3, 4, 0], [-50, 6, 0]]


def test_a_device_walks_alike_whoever_else_there_is() -> None:
    mobility = "{kind='gauss_markov', spread_mps=2.0}"
    np.testing.assert_array_equal(
        places(four(mobility), [50.0])[:2], places(four(mobility, "devices.peers.count=7"), [50.0])[:2]
    )


def test_vehicles_from_sumo() -> None:
    mobility = "{kind='trace', file='cars.xml', start_s=100.5, offset_m=[-10, 0]}"
    loaded = four(mobility, "devices.peers.count=2", referenced={"cars.xml": FCD})
    at = world_of(loaded).positions.at(np.array([0, 1]), np.array([0.0, 1.0, 9.0]))
    assert at[..., 0].tolist() == [[5.0, 15.0, 20.0], [-10.0, -10.0, -10.0]]
    assert loaded.files == {"cars.xml": FCD}


@pytest.mark.parametrize(
    ("mobility", "text", "says"),
    [
        ("{kind='trace', file='cars.xml'}", FCD, "cars.xml: holds 2 nodes, the group has 4 devices; count = 2, or"),
        (
            "{kind='trace', file='cars.xml'}",
            FCD.replace("102", "101"),
            "cars.xml line 4: time step 101.0 s follows 101",
        ),
        ("{kind='trace', file='cars.xml', start_s=-1}", FCD, "start_s = -1: times are in s, 0 to 1e9"),
        (
            "{kind='trace', file='cars.xml', format='fcd'}",
            FCD,
            'format = "fcd": has to be "auto" or "csv" or "sumo_fcd"',
        ),
        ("{kind='gauss_markov', memory=1.0}", "", "memory = 1: the memory has no unit, 0 to below 1"),
        (
            "{kind='manhattan', speed_mps=[9, 15], block_m=70}",
            "",
            "block_m = 70: the area's side, 400 m, has to be a whole",
        ),
        (
            "{kind='manhattan', block_m=100}",
            "",
            "speed_mps: this key is missing; manhattan needs an array of 2 numbers",
        ),
        ("{kind='gauss_marcov', memory=1.0}", "", 'kind = "gauss_marcov": unknown mobility (gauss_markov?)'),
    ],
)
def test_what_is_wrong_is_one_line(mobility: str, text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        four(mobility, referenced={"cars.xml": text})
    assert says in str(error.value)
    assert "\n" not in str(error.value)
