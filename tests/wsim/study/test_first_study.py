"""scenarios/studies/first_study.toml: four protocols that meet one world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsim.engine import Run
from wsim.scenario import load
from wsim.study import world as comparable
from wsim.study.plan import plan
from wsim.world import World

FILE = Path(__file__).parents[3] / "scenarios/studies/first_study.toml"
ARMS = ["FedAvg", "D-PSGD", "gossip", "prototypes"]


def world_of(arm: str) -> World:
    return Run(load(FILE, arm=arm, seed=3), "null", None, None, None, None).world


def test_four_arms_five_seeds_and_nothing_but_the_protocol_differs() -> None:
    found = plan(FILE)
    assert (found.arms, found.seeds, len(found.runs)) == (ARMS, (1, 2, 3, 4, 5), 20)
    differences = comparable.differing(cell.loaded.scenario.resolved() for cell in found.cells)
    assert all(comparable.of_protocol(key) for key in differences), sorted(differences)
    assert found.base.scenario.stop.simulated_s == 60.0


@pytest.mark.parametrize("arm", ARMS[1:])
def test_every_arm_meets_the_same_places_processors_and_links(arm: str) -> None:
    first, other = world_of("FedAvg"), world_of(arm)
    devices = np.arange(16)
    np.testing.assert_array_equal(first.effective_flops[:16], other.effective_flops[:16])
    for time_s in (0.0, 17.3):
        np.testing.assert_array_equal(first.positions.at(devices, time_s), other.positions.at(devices, time_s))
        for tx, rx in ((devices[:-1], devices[1:]), (devices[1:], devices[:-1])):
            mine, theirs = (world.links.channel.exact_gain(tx, rx, time_s) for world in (first, other))  # with fading
            np.testing.assert_array_equal(mine, theirs)
