"""Checks between tables: what each table may hold by itself, but not together with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from channels.mobility import TraceFile
from channels.path_loss.model import optional
from learners.mixing import FILE
from wsim.catalog import find, importable
from wsim.scenario import churn_checks, compute, control, evaluation, files, geometry_checks, mixing, selectivity
from wsim.scenario.items import graph_of, made, named, path_loss_of
from wsim.scenario.losses import broadcasts, loses_for_good
from wsim.scenario.messages import problem, shown
from wsim.scenario.mobility import mobility_arguments, read_traces
from wsim.scenario.objectives import CODING_RATE, objective_of, objectives_of
from wsim.scenario.root import Scenario


def check(scenario: Scenario, learner: Any, source: str, texts: Mapping[str, str]) -> None:
    """Raise a ScenarioError for the first combination that cannot be run.

    learner: the learner's class; only `objectives`, `uses_server`, `synchronous`, `heterogeneous`, `directed`, `fixed_graph`,
        `takes_matrix`, `negative_weights`, `uses_public_samples`, `needs_classes`, `needs_links` and `sends` are used.
    texts: referenced files by name.
    """
    _stop(scenario, source)
    _area(scenario, source)
    _devices(scenario, source, texts)
    _channel(scenario, source)
    selectivity.check(scenario, source)
    _phy(scenario, source)
    _server(scenario, learner, source)
    _cells(scenario, learner, source)
    _graph(scenario, learner, source, texts)
    mixing.check(scenario, learner, source, texts)
    _codec(scenario, source)
    control.check(scenario, learner, source)
    _task(scenario, learner, source)
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
    if area.shape == "cells":
        if scenario.cells is None or scenario.cells.hexagons is None:
            says = 'needs [cells] with layout = "hexagonal", which is missing; disc, square'
            raise problem(source, ("area", "shape"), says, value=area.shape)
        half_m = scenario.cells.inter_site_distance_m / 2
        if area.min_distance_m >= half_m:
            says = f"leaves too little of a cell; below half of cells.inter_site_distance_m, {shown(half_m)}"
            raise problem(source, ("area", "min_distance_m"), says, value=area.min_distance_m)
        return
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
            within = None if area.shape == "cells" else area
            geometry_checks.check_places(group.positions_m, within, (*path, "positions_m"), source)
        ring = group.position.ring_m if area.shape != "cells" else None
        if ring is not None and ring[1] > reach_m:
            says = f"ends outside the area, which reaches {shown(reach_m)} m from the origin"
            raise problem(source, (*path, "position", "ring_m"), says, value=ring)
        if ring is not None and ring[1] <= area.min_distance_m:
            says = f"lies within area.min_distance_m = {shown(area.min_distance_m)}, where nobody may be"
            raise problem(source, (*path, "position", "ring_m"), says, value=ring)
        _mobility(scenario, index, source, texts)
        compute.check(group.compute, (*path, "compute"), source, texts)
        if group.energy.sleep and group.energy.sleep_w is None:
            says = "this key is missing; sleep = true needs it, in W"
            raise problem(source, (*path, "energy", "sleep_w"), says)
        if group.energy.sleep and find("mac", scenario.mac.kind).listens:
            says = (
                f"between devices who senses a carrier never sleeps; false, or a cell: {_macs_that_work(server=True)}"
            )
            raise problem(source, (*path, "energy", "sleep"), says, value=True)
        churn_checks.check(group.churn, (*path, "churn"), source, texts, group.count)
    if len(names) and scenario.num_devices > 1_000_000:
        raise problem(source, ("devices",), f"{scenario.num_devices} devices are more than 1000000", table=True)


def _mobility(scenario: Scenario, index: int, source: str, texts: Mapping[str, str]) -> None:
    """The model can be made for the area, it agrees with the placement, and its trace suits the group."""
    group = scenario.devices[index]
    mobility, path = group.mobility, ("devices", index, "mobility")
    if scenario.area.shape == "cells" and mobility.kind not in ("static", "trace"):
        says = 'needs an area to walk in: area.shape = "disc" or "square", not "cells"'
        raise problem(source, (*path, "kind"), says, value=mobility.kind)
    item = named("mobility", "kind", mobility.kind, path, source)
    model = made(item, path, source, mobility, mobility_arguments(scenario, group))
    if isinstance(model, TraceFile):
        traces = read_traces(model, texts, group)
        geometry_checks.check_traces(traces, model.file, scenario.area, (*path, "file"), source)
    elif model.chooses_start:
        for key in ("position", "positions_m"):
            placed = group.positions_m is not None if key == "positions_m" else group.position.ring_m is not None
            if placed:
                says = f"{mobility.kind} itself says where a device starts and goes: leave this out"
                raise problem(source, ("devices", index, key), says)


def _channel(scenario: Scenario, source: str) -> None:
    channel = scenario.channel
    kind, model = channel.path_loss.kind, path_loss_of(channel)
    if model.needs_station and scenario.server is None:
        says = (
            "is a base-station-to-user model, means nothing between devices; free_space or log_distance, or a [server]"
        )
        raise problem(source, ("channel", "path_loss"), says, value=kind)
    low, high = optional(model, "carrier_range_hz")
    if not low <= channel.carrier_hz <= high:
        says = f"{kind} holds from {low / 1e9:g}e9 to {high / 1e9:g}e9 Hz"
        raise problem(source, ("channel", "carrier_hz"), says, value=channel.carrier_hz)
    _indoor(scenario, model, source)
    if channel.bandwidth_hz > channel.carrier_hz:
        says = f"is wider than the carrier's frequency, carrier_hz = {shown(channel.carrier_hz)}"
        raise problem(source, ("channel", "bandwidth_hz"), says, value=channel.bandwidth_hz)
    shadowing = channel.shadowing
    if shadowing.kind == "standard" and optional(model, "standard_shadowing") is None:
        says = f"path loss {kind} comes without numbers for shadowing; {{ sigma_db, correlation_m }}"
        raise problem(source, ("channel", "shadowing"), says, value=shadowing.kind)
    if shadowing.kind == "tr38901_umi" and kind != "tr38901_umi":
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
    forced = channel.forced_loss
    bursts = forced.unit == "packet" and forced.mean_burst_packets > 1
    if bursts and forced.mean_burst_packets * (1 - forced.rate) < forced.rate:
        least = forced.rate / (1 - forced.rate)
        says = f"bursts this short cannot lose {shown(forced.rate)} of all packets; at least {shown(least)}"
        raise problem(source, ("channel", "forced_loss", "mean_burst_packets"), says, value=forced.mean_burst_packets)


def _indoor(scenario: Scenario, model: Any, source: str) -> None:
    for index, group in enumerate(scenario.devices):
        if group.indoor is None:
            continue
        says = None
        if scenario.server is None:
            says = "is the loss towards a base station and needs a [server]; between devices nothing is known: leave it out"
        elif optional(model, "is_indoor"):
            says = f"path loss {scenario.channel.path_loss.kind} has both ends in one building: leave it out"
        if says is not None:
            raise problem(source, ("devices", index, "indoor"), says, value=group.indoor)


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
    if server is not None and server.energy is not None and server.energy.battery_j is not None:
        says = "a base station has no battery, its programs never end; leave this out"
        raise problem(source, ("server", "energy", "battery_j"), says, value=server.energy.battery_j)
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


def _cells(scenario: Scenario, learner: Any, source: str) -> None:
    if scenario.cells is None:
        if getattr(learner, "uses_edges", False):
            says = "averages at the base stations of [cells], which is missing; one station is enough"
            raise problem(source, ("algorithm", "name"), says, value=scenario.algorithm.name)
        return
    if scenario.server is None:
        says = "stand in front of a [server], which is missing; or leave [cells] out"
        raise problem(source, ("cells",), says, table=True)
    geometry_checks.check_stations(scenario.cells, source)
    if not find("mac", scenario.mac.kind).needs_server:
        kinds = ", ".join(name for name, kind in importable("mac").items() if kind.needs_server)
        says = f"has no cells, this scenario has [cells]; with them: {kinds}"
        raise problem(source, ("mac", "kind"), says, value=scenario.mac.kind)


def _macs_that_work(server: bool) -> str:
    """Names of the kinds of medium access for a cell, or for devices among each other."""
    return ", ".join(name for name, kind in importable("mac").items() if kind.needs_server in (server, None))


def _graph(scenario: Scenario, learner: Any, source: str, texts: Mapping[str, str]) -> None:
    topology, n = scenario.topology, scenario.num_devices
    kind = graph_of(topology)
    if kind.directed and not getattr(learner, "directed", False):
        says = f"is directed here, and {scenario.algorithm.name} is for links that work both ways"
        keyed = "directed" in topology.own
        says += "; false" if keyed else "; an undirected kind, such as ring"
        raise problem(
            source, ("topology", "directed" if keyed else "kind"), says, value=True if keyed else topology.kind
        )
    by_file = scenario.algorithm.hyperparameters.get("mixing_weights") == FILE
    if getattr(kind, "changes", False) and (by_file or getattr(learner, "fixed_graph", False)):
        who = 'mixing_weights = "file"' if by_file else scenario.algorithm.name
        says = f"changes during a run, and {who} needs one that stays; a fixed graph"
        raise problem(source, ("topology", "kind"), says, value=topology.kind)
    if topology.kind == "file":
        name = topology.own["file"]
        apart = files.unreached(files.edges(texts[name], name, n, kind.directed), n, kind.directed)
        if apart is not None:
            says = f"device {apart[0]} has no path to device {apart[1]}: the graph is in pieces"
            raise problem(source, ("topology", "file"), says, value=name)


def _codec(scenario: Scenario, source: str) -> None:
    reliability = scenario.transport.reliability
    if scenario.codec.own.get("error_feedback") and reliability in ("none", "nack"):
        says = f"codec {scenario.codec.name} has to learn what became of its messages for its error_feedback; "
        says += '"arq" or "fountain" tell, or codec.error_feedback = false'
        raise problem(source, ("transport", "reliability"), says, value=reliability)
    if scenario.algorithm.hyperparameters.get("uplink") == "powersgd" and reliability in ("none", "nack"):
        says = 'algorithm.uplink = "powersgd" has to learn what became of its factors; "arq" or "fountain" tell'
        raise problem(source, ("transport", "reliability"), says, value=reliability)


def _task(scenario: Scenario, learner: Any, source: str) -> None:
    known, chosen = objectives_of(learner), objective_of(scenario, learner)
    if chosen not in known:
        says = f"{scenario.algorithm.name} minimizes {' or '.join(shown(name) for name in known)}"
        raise problem(source, ("task", "objective"), says, value=chosen)
    if scenario.task.distortion is not None and chosen != CODING_RATE:
        says = f"is of objective = {shown(CODING_RATE)}, and this one is {shown(chosen)}; leave it out"
        raise problem(source, ("task", "distortion"), says, value=scenario.task.distortion)


def _algorithm(scenario: Scenario, learner: Any, source: str) -> None:
    chosen = scenario.algorithm.hyperparameters
    if scenario.model.variants and not getattr(learner, "heterogeneous", False):
        says = f"{scenario.algorithm.name} needs one architecture at all nodes, that of [model] itself; leave this out"
        raise problem(source, ("model", "variants"), says)
    if getattr(learner, "uses_public_samples", False) and scenario.data.public_fraction is None:
        says = f"is missing; {scenario.algorithm.name} needs a part of the training samples that all nodes have, such as 0.2"
        raise problem(source, ("data", "public_fraction"), says)
    stop = scenario.stop
    if (
        not getattr(learner, "sends", True)
        and stop.rounds is None
        and stop.simulated_s is None
        and stop.energy_j is None
    ):
        says = f"{scenario.algorithm.name} sends nothing and never gets there; give rounds, simulated_s or energy_j"
        raise problem(source, ("stop", "air_bits"), says, value=stop.air_bits)
    if chosen.get("uplink") == "aircomp":
        if scenario.phy.duplex == "tdd" and find("mac", scenario.mac.kind).needs_server:
            raise problem(source, ("phy", "duplex"), 'over-the-air sums need a band of their own; "fdd"', value="tdd")
        if scenario.cells is not None:
            says = "over-the-air sums are of one cell, this scenario has [cells]; digital"
            raise problem(source, ("algorithm", "uplink"), says, value="aircomp")
        if scenario.channel.fading.own.get("correlation") == "ergodic":
            says = "over-the-air sums invert the gain of the moment, and an ergodic law knows the mean only; "
            says += '"block" or "doppler"'
            raise problem(source, ("channel", "fading", "correlation"), says, value="ergodic")
    for key in ("clients_per_round", "candidates_per_round", "concurrency"):
        clients = chosen.get(key)
        if isinstance(clients, int) and clients > scenario.num_devices:
            says = f"there are only {scenario.num_devices} devices"
            raise problem(source, ("algorithm", key), says, value=clients)
    if learner.synchronous and chosen.get("deadline_s") is None:
        broadcast = broadcasts(scenario)
        why = loses_for_good(scenario, broadcast=broadcast)
        if why is not None:
            says = f"{scenario.algorithm.name} waits for every message, and {why}; set deadline_s"
            repeated = scenario.model_copy(
                update={"transport": scenario.transport.model_copy(update={"reliability": "arq"})}
            )
            if loses_for_good(repeated, broadcast=broadcast) is None:
                says += ', or transport.reliability = "arq"'
            elif broadcast and loses_for_good(scenario, broadcast=False) is None:
                key = next(key for key in ("exchange", "downlink") if chosen.get(key) == "broadcast")
                says += f', or {key} = "unicast"'
            raise problem(source, ("algorithm", "deadline_s"), says)
