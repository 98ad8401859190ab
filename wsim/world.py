"""The physical world of a scenario: where nodes are, their radios, processors and powers, and the links between them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from channels.channel import Channel
from channels.link_adaptation import RateMap
from channels.local_mean import Indoors
from channels.mobility import Path, Positions, Static, TraceFile
from channels.noise import noise_w_per_hz
from channels.path_loss.model import optional
from channels.penetration import draw_penetration
from channels.shadowing import UMI_SHADOWING, LosShadowing, Shadowing, StandardShadowing
from channels.units import dbm_to_w
from wsim.accounts import Power
from wsim.catalog import find
from wsim.compute import speeds
from wsim.links import Blocks, Links
from wsim.mac.medium_access import MediumAccess
from wsim.scenario import Scenario
from wsim.scenario.compute import Compute, ServerCompute
from wsim.scenario.items import path_loss_of
from wsim.scenario.keys import own_keys
from wsim.scenario.mobility import mobility_model, read_traces
from wsim.scenario.selectivity import profile_of
from wsim.scenario.world import DeviceGroup, Energy, Radio, Server
from wsim.streams import Streams

BLOCKS_PER_SPREAD = 6  # resource blocks for each unit of bandwidth x delay spread: a link's rate within 5 % r.m.s.


@dataclass
class World:
    """Arrays are [num_nodes]: the devices, then the base stations where there is a server; it stands at the first of them. Where the
    stations are edge servers, it comes behind them, without a radio."""

    num_devices: int
    server_index: int  # num_devices with a server, behind the stations where those are edge servers; -1 without
    num_stations: int
    positions: Positions
    links: Links
    power: Power
    tx_w: np.ndarray  # watts drawn on the air
    max_tx_power_dbm: np.ndarray
    tx_w_of_dbm: Callable[[int, float], float]
    full_duplex: np.ndarray
    effective_flops: np.ndarray
    computes: list[Compute | ServerCompute]  # [num_nodes]
    battery_j: np.ndarray  # infinity for mains
    group: np.ndarray  # [num_devices]
    group_names: list[str]

    @property
    def num_nodes(self) -> int:
        return len(self.effective_flops)


def build_world(
    scenario: Scenario, mac: MediumAccess, files: Mapping[str, str], streams: Streams, has_edges: bool = False
) -> World:
    """files: texts of the trace files that the scenario names. has_edges: the stations are edge servers."""
    members: list[DeviceGroup | Server] = []
    group_of: list[int] = []
    paths: list[Path] = []
    for g, group in enumerate(scenario.devices):
        paths += _paths(scenario, group, len(members), files, streams)
        members += [group] * group.count
        group_of += [g] * group.count
    num_devices = len(members)
    stations_m = _stations_m(scenario)
    for place in stations_m:
        members.append(scenario.server)  # type: ignore[arg-type]  # there is one
        paths.append(Static(place))
    server_index = num_devices if scenario.server is not None else -1
    on_air = np.ones(num_devices + len(stations_m))
    if has_edges and scenario.server is not None:
        server_index = len(members)
        members.append(scenario.server)
        paths.append(Static(scenario.server.position_m))
        on_air = np.append(on_air, 0.0)
    positions = Positions(paths)
    radios = [member.radio for member in members]
    fdd_cell = bool(mac.needs_server) and scenario.phy.duplex == "fdd"
    fading = _fading(scenario)
    path_loss = path_loss_of(scenario.channel)
    profile = profile_of(scenario.channel)
    channel = Channel(
        positions,
        scenario.channel.carrier_hz,
        path_loss=path_loss,
        shadowing=_shadowing(scenario, path_loss),
        fading=fading,
        antenna_gain_dbi=[radio.antenna_gain_dbi for radio in radios],
        rx_antennas=[radio.rx_antennas for radio in radios],
        key=streams.key("channel"),
        base_station=range(num_devices, num_devices + len(stations_m)),
        reciprocal=not fdd_cell,
        layout=None if scenario.cells is None else scenario.cells.hexagons,
        delay_profile=profile,
        indoors=_indoors(scenario, members, optional(path_loss, "indoor_depth_m"), streams),
    )
    bandwidth_hz = scenario.channel.bandwidth_hz
    power_dbm = np.array([_power_dbm(radio, bandwidth_hz) for radio in radios])
    rate_map = RateMap(
        snr_gap_db=scenario.phy.snr_gap_db,
        max_efficiency_bps_hz=scenario.phy.max_efficiency_bps_hz,
        min_snr_db=scenario.phy.min_snr_db,
        overhead=scenario.phy.overhead,
    )
    noise_db = np.array([radio.noise_figure_db for radio in radios]) + scenario.channel.interference_over_thermal_db
    fixed = scenario.phy.fixed_efficiency_bps_hz
    links = Links(
        channel,
        positions,
        rate_map,
        np.asarray(dbm_to_w(power_dbm), dtype=np.float64),
        np.asarray(noise_w_per_hz(noise_db), dtype=np.float64),
        np.array([radio.rx_antennas for radio in radios], dtype=np.float64),
        None if fixed is None else fixed * (1.0 - scenario.phy.overhead),
        fading if fading is not None and fading.correlation == "ergodic" else None,
        None if profile is None else _blocks(scenario),
    )
    energies = [member.energy or Energy() for member in members]
    computes: list[Compute | ServerCompute] = [member.compute for member in members]
    faster = speeds(computes, streams)

    def tx_w_of_dbm(node: int, dbm: float) -> float:
        energy = energies[node]
        if energy.tx_w is not None:
            return energy.tx_w
        return float(dbm_to_w(dbm)) / energy.pa_efficiency + energy.tx_circuit_w

    return World(
        num_devices=num_devices,
        server_index=server_index,
        num_stations=len(stations_m),
        positions=positions,
        links=links,
        power=Power(
            compute_w=np.array([compute.watts(speed) for compute, speed in zip(computes, faster.tolist())]),
            rx_w=np.array([energy.rx_w for energy in energies]),
            listen_w=np.array([energy.listen_w for energy in energies]) * on_air,
            idle_w=np.array([energy.idle_w for energy in energies]) * on_air,
            counted=np.array([member.energy is not None for member in members]),
            rest_is_idle=not mac.listens,
            sleeps=np.array([energy.sleep for energy in energies]),
            sleep_w=np.array([energy.sleep_w or 0.0 for energy in energies]),
        ),
        tx_w=np.array([tx_w_of_dbm(i, dbm) for i, dbm in enumerate(power_dbm.tolist())]),
        max_tx_power_dbm=power_dbm,
        tx_w_of_dbm=tx_w_of_dbm,
        full_duplex=np.full(len(members), fdd_cell or mac.full_duplex),
        effective_flops=np.array([compute.flops_per_s for compute in computes]) * faster,
        computes=computes,
        battery_j=np.array([energy.battery_j or np.inf for energy in energies]),
        group=np.array(group_of),
        group_names=[group.name for group in scenario.devices],
    )


def _stations_m(scenario: Scenario) -> list[tuple[float, float, float]]:
    """Where base stations stand: none without a server."""
    if scenario.server is None:
        return []
    center_m = scenario.server.position_m
    return [center_m] if scenario.cells is None else scenario.cells.places_m(center_m)


def _paths(
    scenario: Scenario, group: DeviceGroup, first: int, files: Mapping[str, str], streams: Streams
) -> list[Path]:
    """The paths of a group whose devices are first, first + 1, ..."""
    devices = range(first, first + group.count)
    if group.mobility.kind == "static":
        return [Static(_place(scenario, group, i, device, streams)) for i, device in enumerate(devices)]
    model = mobility_model(scenario, group)
    if isinstance(model, TraceFile):
        return list(read_traces(model, files, group))
    if model.chooses_start:
        return [model.path(streams("mobility", device)) for device in devices]
    places = [_place(scenario, group, i, device, streams) for i, device in enumerate(devices)]
    return [model.path(streams("mobility", device), place) for device, place in zip(devices, places)]


def _place(scenario: Scenario, group: DeviceGroup, i: int, device: int, streams: Streams) -> tuple[float, float, float]:
    """Where device `device`, the i-th of its group, is put: x, y, z."""
    area, height_m = scenario.area, group.position.height_m
    if group.positions_m is not None:
        place = group.positions_m[i]
        return place[0], place[1], place[2] if len(place) > 2 else height_m
    rng = streams("placement", device)
    if area.shape == "cells":
        x, y = _in_cells(scenario, rng)
    elif group.position.ring_m is not None:
        low, high = group.position.ring_m
        x, y = _on_ring(rng, low, high)
    else:
        while True:
            if area.shape == "disc":
                x, y = _on_ring(rng, area.min_distance_m, area.radius_m or 0.0)
            else:
                x, y = ((rng.random(2) - 0.5) * (area.side_m or 0.0)).tolist()
            if np.hypot(x, y) >= area.min_distance_m:
                break
    return x, y, height_m


def _on_ring(rng: np.random.Generator, low_m: float, high_m: float) -> tuple[float, float]:
    """Uniform over the area between two radii."""
    u, v = rng.random(2).tolist()
    radius = float(np.sqrt(low_m**2 + u * (high_m**2 - low_m**2)))
    return radius * float(np.cos(2 * np.pi * v)), radius * float(np.sin(2 * np.pi * v))


def _power_dbm(radio: Radio, bandwidth_hz: float) -> float:
    """Total radiated power: as given, or scaled from its reference bandwidth to the band."""
    if radio.tx_power_reference_hz is None:
        return radio.tx_power_dbm
    return radio.tx_power_dbm + 10.0 * float(np.log10(bandwidth_hz / radio.tx_power_reference_hz))


def _in_cells(scenario: Scenario, rng: np.random.Generator) -> tuple[float, float]:
    """Uniform over the hexagons of all sites, [area] min_distance_m away from each."""
    assert scenario.cells is not None
    assert scenario.server is not None
    hexagons = scenario.cells.hexagons
    assert hexagons is not None
    while True:
        point = hexagons.draw(rng, 1)[0]
        if np.hypot(*(point - hexagons.sites_m).T).min() >= scenario.area.min_distance_m:
            center_m = scenario.server.position_m
            return center_m[0] + float(point[0]), center_m[1] + float(point[1])


def _indoors(
    scenario: Scenario, members: list[DeviceGroup | Server], depth_m: float, streams: Streams
) -> Indoors | None:
    """What stands between the base station and each device; None where all are outdoors."""
    kinds = [member.indoor if isinstance(member, DeviceGroup) else None for member in members]
    if not any(kinds):
        return None
    penetration_db, depths_m = np.zeros(len(members)), np.zeros(len(members))
    for i, kind in enumerate(kinds):
        if kind is not None:
            drawn = draw_penetration(kind, scenario.channel.carrier_hz, depth_m, streams("indoor", i))
            penetration_db[i], depths_m[i] = drawn
    return Indoors(penetration_db, depths_m)


def _shadowing(scenario: Scenario, path_loss: Any) -> Shadowing | LosShadowing | None:
    config = scenario.channel.shadowing
    if config.kind == "standard":
        standard: StandardShadowing = path_loss.standard_shadowing
        return standard
    if config.kind == "lognormal":
        return Shadowing(config.sigma_db, config.correlation_m)  # type: ignore[arg-type]
    return UMI_SHADOWING if config.kind == "tr38901_umi" else None


def _fading(scenario: Scenario):  # type: ignore[no-untyped-def]
    config = scenario.channel.fading
    if config.kind == "none":
        return None
    law = find("fading", config.kind)
    return law(**own_keys("fading", law, config))


def _blocks(scenario: Scenario) -> Blocks:
    """The resource blocks that a frequency-selective band is looked at in; a note where they are too few for its delay spread."""
    fading = scenario.channel.fading
    number, spread_s = fading.num_blocks, fading.delay_spread_s
    assert number is not None
    assert spread_s is not None
    enough = math.ceil(BLOCKS_PER_SPREAD * scenario.channel.bandwidth_hz * spread_s - 1e-9)
    if number < enough:
        says = f"channel.fading.num_blocks = {number} is coarse for this band and delay spread: rates of single links vary too much"
        warnings.warn(f"{says}; {enough} or more would do", stacklevel=2)
    return Blocks(number, scenario.channel.bandwidth_hz / number)
