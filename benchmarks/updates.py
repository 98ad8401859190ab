"""One look at who is near whom among 10,000 moving devices, or at who is served by which of 57 stations, without a simulation
around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from wsim.cells import Cells
from wsim.mac.medium_access import medium_access
from wsim.scenario import load
from wsim.streams import Streams
from wsim.topology import RadioTopology, build_topology
from wsim.world import World, build_world

NUM_UPDATES = 5
EVERY_S = (
    1.0337  # not a multiple of the grid of the local means: both points around an instant are new, nothing is known
)


def measure(name: str) -> dict[str, float]:
    """CPU seconds of an update (the median of five): positions, search, mean gains, and the change of neighbors or stations."""
    loaded = load(Path(__file__).with_name(f"{name}.toml"))
    scenario = loaded.scenario
    mac, streams = medium_access(scenario), Streams(scenario.scenario.seed)
    world = build_world(scenario, mac, loaded.files, streams)
    update: Callable[[float], Any]
    if scenario.cells is None:
        topology = build_topology(scenario, mac, loaded.files, world, streams, None)
        assert isinstance(topology, RadioTopology)
        update = topology.update
    else:
        update = _cells(world, scenario.cells.hysteresis_db).update
    cpu_s = []
    for k in range(1, NUM_UPDATES + 1):
        start = time.process_time()
        update(k * EVERY_S)
        cpu_s.append(time.process_time() - start)
    links = len(topology.edges()) if scenario.cells is None else world.num_devices * world.num_stations
    return {"cpu_s": median(cpu_s), "links": float(links)}


def _cells(world: World, hysteresis_db: float) -> Cells:
    return Cells(
        world.links,
        world.num_devices,
        world.num_stations,
        hysteresis_db,
        update_every_s=EVERY_S,
        loses=False,
        interferes=True,
    )
