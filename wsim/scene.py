"""What a map of a scenario shows at one time: places, links, and the mean SNR that the air offers everywhere.

Coverage is found by the simulator's own world: the same scenario with its devices standing where they are at that time and, in
a further group, receivers on a grid, outdoors, with the radio of the first group. Path loss, line of sight, shadowing and
antennas are functions of place, so that the grid sees what a device would see there. Fading is left out, and so is
interference: it is the mean SNR over the whole band at full power. Devices that are away then by their churn have no links
(coverage is with them); whose battery is empty only a run knows: here nobody's is.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from scipy.spatial import cKDTree

from channels.mobility import Area, Manhattan
from channels.sites import Sites
from wsim.churn import JOIN, churn_of
from wsim.errors import ScenarioError
from wsim.mac.medium_access import MediumAccess, medium_access
from wsim.scenario import Loaded, Scenario
from wsim.scenario.mobility import area_of, mobility_model
from wsim.scenario.world import DeviceGroup, Mobility
from wsim.streams import Streams
from wsim.topology import build_topology
from wsim.world import World, build_world

GRID = 150
"""Points along the longer side."""

NEAREST = 8
"""Between devices the SNR of a place is that of the best of so many nearest ones."""

MARGIN = 0.04


@dataclass(frozen=True)
class Scene:
    """place_m: [num_nodes, 2], the devices, then the stations. away: [num_devices] bool. edges: [num_edges, 2] of nodes. snr_db: [len(y_m), len(x_m)].
    threshold_db: where a neighborhood ends, None where it does not go by the SNR. streets_m: x (and y) of streets. area: shape and size, the
    radius of a disc or the side of a square. hexagons: of several cells, around center_m."""

    name: str
    time_s: float
    place_m: np.ndarray
    num_devices: int
    group: np.ndarray
    group_names: list[str]
    away: np.ndarray
    edges: np.ndarray
    x_m: np.ndarray
    y_m: np.ndarray
    snr_db: np.ndarray
    threshold_db: float | None
    min_snr_db: float
    streets_m: np.ndarray
    area: Area | None
    hexagons: Sites | None
    center_m: tuple[float, float]

    @property
    def num_stations(self) -> int:
        return len(self.place_m) - self.num_devices


def scene(loaded: Loaded, time_s: float = 0.0) -> Scene:
    """The scene at a simulated time. Links of topology "radio" are who is in range then, of several cells
    the strongest station: what hysteresis keeps is left out. Raises ScenarioError."""
    scenario = loaded.scenario
    streams = Streams(scenario.scenario.seed, scenario.seeds.data, scenario.seeds.radio, scenario.seeds.learner)
    try:
        mac = medium_access(scenario)
        world = build_world(scenario, mac, loaded.files, streams)
        radio = scenario.topology.kind == "radio"
        topology = scenario.topology.model_copy(update={"discovery": "genie"}) if radio else scenario.topology
        seen = scenario.model_copy(update={"topology": topology})
        if scenario.cells is not None:
            edges = _strongest(world, time_s)
        else:
            built = build_topology(seen, mac, loaded.files, world, streams, None)
            if radio:
                built.update(time_s)  # type: ignore[union-attr]  # a RadioTopology
            edges = built.edges()
    except ValueError as error:
        raise ScenarioError(f"{scenario.scenario.name}: {error}") from error
    places = world.positions.at(np.arange(world.num_nodes), time_s)
    x_m, y_m = _grid(scenario, places)
    away = _away(loaded, streams, time_s)
    edges = edges[~np.append(away, np.zeros(world.num_nodes - len(away), dtype=bool))[edges].any(axis=1)]
    return Scene(
        name=scenario.scenario.name,
        time_s=time_s,
        place_m=places[:, :2],
        num_devices=world.num_devices,
        group=world.group,
        group_names=world.group_names,
        away=away,
        edges=edges,
        x_m=x_m,
        y_m=y_m,
        snr_db=_coverage(scenario, mac, streams, places[: world.num_devices], x_m, y_m),
        threshold_db=scenario.topology.neighbor_mean_snr_db if radio else None,
        min_snr_db=scenario.phy.min_snr_db,
        streets_m=_streets(scenario),
        area=area_of(scenario),
        hexagons=None if scenario.cells is None else scenario.cells.hexagons,
        center_m=(0.0, 0.0) if scenario.server is None else scenario.server.position_m[:2],
    )


def _away(loaded: Loaded, streams: Streams, time_s: float) -> np.ndarray:
    """[num_devices] bool: who has left by its churn, or has not come yet."""
    away = np.zeros(loaded.scenario.num_devices, dtype=bool)
    for device, (here, events) in churn_of(loaded.scenario, loaded.files, streams).items():
        away[device] = not here
        for _, what in takewhile(lambda event: event[0] <= time_s, events):
            away[device] = what != JOIN
    return away


def _strongest(world: World, time_s: float) -> np.ndarray:
    """[num_devices, 2]: every device and the station that it receives best."""
    devices, stations = np.arange(world.num_devices), np.arange(world.num_devices, world.num_nodes)
    cn0 = world.links.mean_cn0(np.repeat(stations, devices.size), np.tile(devices, stations.size), time_s)
    return np.stack([devices, stations[cn0.reshape(stations.size, -1).argmax(axis=0)]], axis=1)


def _grid(scenario: Scenario, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the nodes, and the area unless all devices follow traces."""
    low, high = places[:, :2].min(axis=0), places[:, :2].max(axis=0)
    area = area_of(scenario)
    if area is None:
        reach_m = scenario.cells.inter_site_distance_m / 2 if scenario.cells is not None else 0.0
        low, high = low - reach_m, high + reach_m
    elif any(group.mobility.kind != "trace" for group in scenario.devices):
        half = area.size_m if area.shape == "disc" else area.size_m / 2
        low, high = np.minimum(low, -half), np.maximum(high, half)
    size = float((high - low).max()) or 1.0
    low, high = low - MARGIN * size, high + MARGIN * size
    step = (1 + 2 * MARGIN) * size / GRID
    x, y = (np.arange(max(round((b - a) / step), 2)) * step + a + step / 2 for a, b in zip(low, high, strict=True))
    return x, y


def _coverage(
    scenario: Scenario, mac: MediumAccess, streams: Streams, devices_m: np.ndarray, x_m: np.ndarray, y_m: np.ndarray
) -> np.ndarray:
    num_devices = len(devices_m)
    first = scenario.devices[0]
    height_m = first.position.height_m
    points = np.stack([*np.meshgrid(x_m, y_m), np.full((len(y_m), len(x_m)), height_m)], axis=-1).reshape(-1, 3)
    still = Mobility(kind="static")
    groups, start = [], 0
    for group in scenario.devices:
        places = tuple(map(tuple, devices_m[start : start + group.count].tolist()))
        groups.append(group.model_copy(update={"mobility": still, "positions_m": places}))
        start += group.count
    receivers = DeviceGroup(
        name="receivers",
        count=len(points),
        positions_m=tuple(map(tuple, points.tolist())),
        compute=first.compute,
        radio=first.radio,
    )
    path_loss = scenario.channel.path_loss
    lenient = path_loss.with_own(path_loss.own | ({"strict": False} if "strict" in path_loss.own else {}))
    channel = scenario.channel.model_copy(update={"path_loss": lenient})
    probed = scenario.model_copy(update={"devices": (*groups, receivers), "channel": channel})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the grid lies where nobody is, too near for the path loss model
        return _best_snr_db(build_world(probed, mac, {}, streams), num_devices, points, channel.bandwidth_hz).reshape(
            len(y_m), len(x_m)
        )


def _best_snr_db(world: World, num_devices: int, points: np.ndarray, bandwidth_hz: float) -> np.ndarray:
    """[num_points] of the nodes after the devices, which stand at `points`, from the best station or near device."""
    probes = np.arange(num_devices, world.num_devices)
    if world.num_nodes > world.num_devices:
        stations = np.arange(world.num_devices, world.num_nodes)
        snr = np.max([_cn0(world, np.full(probes.size, station), probes) for station in stations.tolist()], axis=0)
    else:
        nearest = min(NEAREST, num_devices)
        devices_m = world.positions.at(np.arange(num_devices), 0.0)
        _, senders = cKDTree(devices_m).query(points, k=nearest)
        senders = np.reshape(senders, (len(points), nearest))
        snr = _cn0(world, senders.ravel(), np.repeat(probes, nearest)).reshape(-1, nearest).max(axis=1)
    snr_db: np.ndarray = 10 * np.log10(snr / bandwidth_hz)
    return snr_db


def _cn0(world: World, tx: np.ndarray, rx: np.ndarray) -> np.ndarray:
    return world.links.mean_cn0(tx, rx, 0.0)


def _streets(scenario: Scenario) -> np.ndarray:
    for group in scenario.devices:
        if group.mobility.kind == "manhattan":
            model: Manhattan = mobility_model(scenario, group)
            return model.area.size_m * (np.arange(model.num_blocks + 1) / model.num_blocks - 0.5)
    return np.empty(0)
