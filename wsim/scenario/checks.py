"""Checks between tables: what each table may hold by itself, but not together with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from wsim.catalog import find, importable
from wsim.scenario import evaluation, files
from wsim.scenario.losses import broadcasts, loses_for_good
from wsim.scenario.messages import problem, shown
from wsim.scenario.root import Scenario


def check(scenario: Scenario, learner: Any, source: str, texts: Mapping[str, str]) -> None:
    """Raise a ScenarioError for the first combination that cannot be run.

    learner: the learner's class; only `uses_server`, `synchronous`, `heterogeneous` and `sends` are used.
    texts: referenced files by name.
    """
    _stop(scenario, source)
    _area(scenario, source)
    _devices(scenario, source, texts)
    _channel(scenario, source)
    _phy(scenario, source)
    _server(scenario, learner, source)
    _graph(scenario, source, texts)
    _codec(scenario, source)
    _algorithm(scenario, learner, source)
    evaluation.check(scenario, learner, source)


def _stop(scenario: Scenario, source: str) -> None:
    stop = scenario.stop
    if stop.rounds is None and stop.simulated_s is None and stop.air_bits is None and stop.energy_j is None:
        raise problem(
            source, ("stop",), "is empty; give at least one of rounds, simulated_s, air_bits, energy_j", table=True
        )


def _area(scenario: Scenario, source: str) -> None:
    area = scenario.area
    key: Literal["radius_m", "side_m"] = "radius_m" if area.shape == "disc" else "side_m"
    size = getattr(area, key)
    if size is None:
        raise problem(source, ("area", key), f"this key is missing; shape = {shown(area.shape)} needs it, in m")
    largest = size if area.shape == "disc" else size / 2
    if area.min_distance_m >= largest:
        says = f"leaves nothing of the area, which ends {shown(largest)} m from the origin"
        raise problem(source, ("area", "min_distance_m"), says, value=area.min_distance_m)


def _devices(scenario: Scenario, source: str, texts: Mapping[str, str]) -> None:
    area, reach_m = scenario.area, scenario.area.reach_m
    names: dict[str, int] = {}
    for index, group in enumerate(scenario.devices):
        path = ("devices", index)
        if group.name in names:
            raise problem(source, (*path, "name"), f"is also the name of group {names[group.name]}", value=group.name)
        if group.name.isdigit() or "." in group.name or not group.name.strip():
            raise problem(source, (*path, "name"), "names are words without dots, not numbers", value=group.name)
        names[group.name] = index
        if group.positions_m is not None:
            if len(group.positions_m) != group.count:
                says = f"positions_m holds {len(group.positions_m)} places; count has to be equal, or left out"
                raise problem(source, (*path, "count"), says, value=group.count)
            for number, point in enumerate(group.positions_m):
                distance = (point[0] ** 2 + point[1] ** 2) ** 0.5
                outside = (
                    distance > reach_m
                    if area.shape == "disc"
                    else max(abs(point[0]), abs(point[1])) > (area.side_m or 0) / 2
                )
                if outside:
                    says = f"lies outside the area, which reaches {shown(reach_m)} m from the origin"
                    raise problem(source, (*path, "positions_m", number), says, value=point)
        ring = group.position.ring_m
        if ring is not None and ring[1] > reach_m:
            says = f"ends outside the area, which reaches {shown(reach_m)} m from the origin"
            raise problem(source, (*path, "position", "ring_m"), says, value=ring)
        if ring is not None and ring[1] <= area.min_distance_m:
            says = f"lies within area.min_distance_m = {shown(area.min_distance_m)}, where nobody may be"
            raise problem(source, (*path, "position", "ring_m"), says, value=ring)
        _mobility(scenario, index, source, texts)
    if len(names) and scenario.num_devices > 1_000_000:
        raise problem(source, ("devices",), f"{scenario.num_devices} devices are more than 1000000", table=True)


def _mobility(scenario: Scenario, index: int, source: str, texts: Mapping[str, str]) -> None:
    group = scenario.devices[index]
    mobility, path = group.mobility, ("devices", index, "mobility")
    if mobility.kind == "random_waypoint":
        for key in ("position", "positions_m"):
            placed = group.positions_m is not None if key == "positions_m" else group.position.ring_m is not None
            if placed:
                says = "a random_waypoint walker starts where its walk takes it, anywhere in the area: leave this out"
                raise problem(source, ("devices", index, key), says)
        if mobility.speed_mps is None:
            says = "this key is missing; random_waypoint needs [lowest, highest] in m/s"
            raise problem(source, (*path, "speed_mps"), says)
        if mobility.speed_mps[0] == 0 < mobility.speed_mps[1]:
            says = "a lowest speed of 0 makes more and more walkers stand still for ever; above 0, or [0, 0]"
            raise problem(source, (*path, "speed_mps"), says, value=mobility.speed_mps)
    if mobility.kind == "trace" and mobility.file is not None:
        files.trace(texts[mobility.file], mobility.file, group.count, group.position.height_m)


def _channel(scenario: Scenario, source: str) -> None:
    channel = scenario.channel
    loss, umi = channel.path_loss, channel.path_loss.kind == "tr38901_umi"
    if find("path_loss", loss.kind).needs_station and scenario.server is None:
        says = (
            "is a base-station-to-user model, means nothing between devices; free_space or log_distance, or a [server]"
        )
        raise problem(source, ("channel", "path_loss"), says, value=loss.kind)
    if umi and not 5e8 <= channel.carrier_hz <= 1e11:
        raise problem(
            source, ("channel", "carrier_hz"), "tr38901_umi holds from 0.5e9 to 100e9 Hz", value=channel.carrier_hz
        )
    if channel.bandwidth_hz > channel.carrier_hz:
        says = f"is wider than the carrier's frequency, carrier_hz = {shown(channel.carrier_hz)}"
        raise problem(source, ("channel", "bandwidth_hz"), says, value=channel.bandwidth_hz)
    shadowing = channel.shadowing
    if shadowing.kind == "tr38901_umi" and not umi:
        says = (
            'needs path_loss = "tr38901_umi" (its numbers depend on the line of sight); or { sigma_db, correlation_m }'
        )
        raise problem(source, ("channel", "shadowing"), says, value=shadowing.kind)
    if shadowing.kind == "lognormal":
        for key in ("sigma_db", "correlation_m"):
            if getattr(shadowing, key) is None:
                raise problem(
                    source, ("channel", "shadowing", key), "this key is missing; log-normal shadowing needs it"
                )
    if channel.fading.kind == "rician" and channel.fading.k_db is None:
        raise problem(
            source, ("channel", "fading", "k_db"), "this key is missing; rician fading needs it, such as 9.0 dB"
        )
    forced = channel.forced_loss
    bursts = forced.unit == "packet" and forced.mean_burst_packets > 1
    if bursts and forced.mean_burst_packets * (1 - forced.rate) < forced.rate:
        least = forced.rate / (1 - forced.rate)
        says = f"bursts this short cannot lose {shown(forced.rate)} of all packets; at least {shown(least)}"
        raise problem(source, ("channel", "forced_loss", "mean_burst_packets"), says, value=forced.mean_burst_packets)


def _phy(scenario: Scenario, source: str) -> None:
    phy = scenario.phy
    if phy.rate == "fixed":
        if phy.fixed_efficiency_bps_hz is None:
            says = 'this key is missing; rate = "fixed" needs it, in bit/s/Hz'
            raise problem(source, ("phy", "fixed_efficiency_bps_hz"), says)
        if phy.fixed_efficiency_bps_hz > phy.max_efficiency_bps_hz:
            says = f"is more than max_efficiency_bps_hz = {shown(phy.max_efficiency_bps_hz)}"
            raise problem(source, ("phy", "fixed_efficiency_bps_hz"), says, value=phy.fixed_efficiency_bps_hz)
    if phy.duplex == "tdd":
        if sum(phy.special_slot_symbols) != 14:
            says = "downlink, guard and uplink symbols of a slot add up to 14"
            raise problem(source, ("phy", "special_slot_symbols"), says, value=phy.special_slot_symbols)
        down, _, up = phy.special_slot_symbols
        special = "S" in phy.tdd_pattern
        if not ("D" in phy.tdd_pattern or (special and down)) or not ("U" in phy.tdd_pattern or (special and up)):
            says = "needs downlink and uplink, at least one D and one U"
            raise problem(source, ("phy", "tdd_pattern"), says, value=phy.tdd_pattern)


def _server(scenario: Scenario, learner: Any, source: str) -> None:
    kind, mac, server = scenario.topology.kind, scenario.mac.kind, scenario.server
    needs_server = find("mac", mac).needs_server
    if server is None:
        if kind == "star":
            raise problem(source, ("topology", "kind"), "needs a [server], which is missing", value=kind)
        if needs_server:
            says = f"serves a cell and needs a [server], which is missing; without one: {_macs_that_work(server=False)}"
            raise problem(source, ("mac", "kind"), says, value=mac)
        if learner.uses_server:
            says = 'needs a server; add [server] and topology.kind = "star"'
            raise problem(source, ("algorithm", "name"), says, value=scenario.algorithm.name)
        return
    if kind != "star":
        says = 'never reaches the [server]; topology.kind = "star", or server = "none"'
        raise problem(source, ("topology", "kind"), says, value=kind)
    if needs_server is False:
        says = (
            f"is for devices among each other, this scenario has a [server]; with one: {_macs_that_work(server=True)}"
        )
        raise problem(source, ("mac", "kind"), says, value=mac)
    if learner.uses_server is False:
        says = 'runs between devices and never uses the [server]; server = "none" and another topology, such as ring'
        raise problem(source, ("algorithm", "name"), says, value=scenario.algorithm.name)


def _macs_that_work(server: bool) -> str:
    """Names of the kinds of medium access for a cell, or for devices among each other."""
    return ", ".join(name for name, kind in importable("mac").items() if kind.needs_server in (server, None))


def _graph(scenario: Scenario, source: str, texts: Mapping[str, str]) -> None:
    topology, n = scenario.topology, scenario.num_devices
    least = {"ring": 3, "complete": 2, "radio": 2, "erdos_renyi": 2, "random_regular": 2, "file": 2, "torus": 9}.get(
        topology.kind, 1
    )
    if n < least:
        raise problem(
            source, ("topology", "kind"), f"needs at least {least} devices, there are {n}", value=topology.kind
        )
    if topology.kind == "random_regular":
        if topology.degree is None:
            raise problem(source, ("topology", "degree"), "this key is missing; random_regular needs it")
        if topology.degree >= n:
            raise problem(source, ("topology", "degree"), f"has to be less than the {n} devices", value=topology.degree)
        if topology.degree * n % 2:
            says = f"degree times devices has to be even, {topology.degree} * {n} is not"
            says += f"; {topology.degree + 1}, or another count"
            raise problem(source, ("topology", "degree"), says, value=topology.degree)
        if topology.degree == 1 and n > 2:
            raise problem(
                source, ("topology", "degree"), "only joins pairs and leaves the graph in pieces; 2 or more", value=1
            )
    if topology.kind == "erdos_renyi" and topology.probability is None:
        raise problem(source, ("topology", "probability"), "this key is missing; erdos_renyi needs it")
    if topology.kind == "torus" and not any(n % rows == 0 and n // rows >= 3 for rows in range(3, n)):
        says = (
            f"{n} devices make no grid of at least 3 by 3; {n + next(k for k in range(1, n) if (n + k) % 3 == 0)} would"
        )
        raise problem(source, ("topology", "kind"), says, value=topology.kind)
    if topology.kind == "file" and topology.file is not None:
        lonely = files.unreached(files.edges(texts[topology.file], topology.file, n), n)
        if lonely is not None:
            says = f"device {lonely} has no path to device 0: the graph is in pieces"
            raise problem(source, ("topology", "file"), says, value=topology.file)


def _codec(scenario: Scenario, source: str) -> None:
    reliability = scenario.transport.reliability
    if scenario.codec.own.get("error_feedback") and reliability in ("none", "nack"):
        says = f"codec {scenario.codec.name} has to learn what became of its messages for its error_feedback; "
        says += '"arq" or "fountain" tell, or codec.error_feedback = false'
        raise problem(source, ("transport", "reliability"), says, value=reliability)


def _algorithm(scenario: Scenario, learner: Any, source: str) -> None:
    chosen = scenario.algorithm.hyperparameters
    if scenario.model.variants and not getattr(learner, "heterogeneous", False):
        says = f"{scenario.algorithm.name} needs one architecture at all nodes, that of [model] itself; leave this out"
        raise problem(source, ("model", "variants"), says)
    stop = scenario.stop
    if (
        not getattr(learner, "sends", True)
        and stop.rounds is None
        and stop.simulated_s is None
        and stop.energy_j is None
    ):
        says = f"{scenario.algorithm.name} sends nothing and never gets there; give rounds, simulated_s or energy_j"
        raise problem(source, ("stop", "air_bits"), says, value=stop.air_bits)
    clients = chosen.get("clients_per_round")
    if isinstance(clients, int) and clients > scenario.num_devices:
        says = f"there are only {scenario.num_devices} devices"
        raise problem(source, ("algorithm", "clients_per_round"), says, value=clients)
    if learner.synchronous and chosen.get("deadline_s") is None:
        why = loses_for_good(scenario, broadcast=broadcasts(scenario))
        if why is not None:
            says = f"{scenario.algorithm.name} waits for every message, and {why}; set deadline_s"
            repeated = scenario.transport.model_copy(update={"reliability": "arq"})
            if (
                loses_for_good(scenario.model_copy(update={"transport": repeated}), broadcast=broadcasts(scenario))
                is None
            ):
                says += ', or transport.reliability = "arq"'
            raise problem(source, ("algorithm", "deadline_s"), says)
