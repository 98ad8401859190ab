"""Who exchanges with whom, and who hears whom.

Fixed graphs never change. The radio topology is who is in range now: an edge appears when the local mean SNR of the weaker
direction reaches `neighbor_mean_snr_db` and goes when it falls `hysteresis_db` below, looked at every `update_every_s`, so that
neighbors do not flicker with the fading. Candidates come from a spatial index over the largest distance at which the path
loss (and 3.5 sigma of shadowing) allows that SNR: no pass over all pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np

from learners.protocol import SERVER, Joined, Left
from wsim.graphs.exponential import hops
from wsim.graphs.kind import Given
from wsim.links import Links
from wsim.scenario import files as scenario_files
from wsim.scenario.items import graph_of
from wsim.scenario.learning import Topology
from wsim.streams import Streams

if TYPE_CHECKING:
    from wsim.mac.medium_access import MediumAccess
    from wsim.scenario import Scenario
    from wsim.world import World

Changes = dict[int, Joined | Left]  # by the neighbor, in the order of what happened last


class FixedTopology:
    """A graph, directed or not, or a star around the server (graph None: every device's neighbor is the server)."""

    update_every_s: float | None = None
    absent: frozenset[int] = frozenset()  # devices that are not there

    def __init__(self, num_devices: int, graph: nx.Graph | None) -> None:
        self.graph = graph
        self.directed = graph is not None and graph.is_directed()
        if graph is None:
            self._neighbors: list[tuple[int, ...]] = [(SERVER,)] * num_devices + [tuple(range(num_devices))]
            self._heard = self._neighbors
            self._edges = np.array([(i, num_devices) for i in range(num_devices)], dtype=np.int64).reshape(-1, 2)
            return
        self._neighbors = [tuple(sorted(int(j) for j in graph.neighbors(i))) for i in range(num_devices)]
        self._heard, edges = self._neighbors, [tuple(sorted(edge)) for edge in graph.edges]
        if self.directed:
            self._heard = [tuple(sorted(int(j) for j in graph.predecessors(i))) for i in range(num_devices)]
            edges = [tuple(edge) for edge in graph.edges]
        self._edges = np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)

    def neighbors(self, index: int) -> tuple[int, ...]:
        """To whom the node sends."""
        return self._neighbors[index]

    def peers(self, index: int, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """To whom the node sends in a round, and whom it hears."""
        return self._neighbors[index], self._heard[index]

    def edges(self) -> np.ndarray:
        """[num_edges, 2] node indices, of a directed graph from sender to receiver."""
        return self._edges

    def membership(self, index: int) -> tuple[Joined | Left, ...]:
        """Changes of the neighborhood since last asked: none, ever."""
        return ()

    def known_by(self, index: int) -> tuple[int, ...]:
        """Ids of those who have this device as a neighbor."""
        return self._heard[index]

    def forget(self, index: int) -> tuple[int, ...]:
        """A device goes: the ids of those who had it as a neighbor."""
        return self.known_by(index)


class OnePeerTopology(FixedTopology):
    """The directed exponential graph, one distance a round."""

    def __init__(self, num_devices: int, graph: nx.Graph) -> None:
        super().__init__(num_devices, graph)
        self._num_devices = num_devices
        self._hops = hops(num_devices)

    def peers(self, index: int, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        hop, n = self._hops[round % len(self._hops)], self._num_devices
        return ((index + hop) % n,), ((index - hop) % n,)


class RadioTopology:
    """Neighbors by the local mean SNR with hysteresis, looked at when `update` is called."""

    graph = None
    directed = False
    absent: frozenset[int] = frozenset()  # devices that are not there

    def __init__(
        self,
        links: Links,
        num_devices: int,
        bandwidth_hz: float,
        snr_db: float,
        hysteresis_db: float,
        update_every_s: float,
    ) -> None:
        self.update_every_s: float | None = update_every_s
        self._proximity = Proximity(links, num_devices, bandwidth_hz, snr_db - hysteresis_db)
        self._up_db = snr_db
        self._edge_codes = np.empty(0, dtype=np.int64)  # in order; a * num_devices + b for an edge with a < b
        self._neighbors: list[tuple[int, ...]] = [()] * num_devices
        self._changes: list[Changes] = [{} for _ in range(num_devices)]
        self.update(0.0)
        self._changes = [{} for _ in range(num_devices)]  # those present at the start have not joined

    def update(self, time_s: float) -> bool:
        """Look at the present mean SNRs; True if a neighborhood changed."""
        pairs, snr_db = self._proximity.pairs(time_s)
        num_devices, before = len(self._neighbors), self._edge_codes
        codes = pairs[:, 0] * num_devices + pairs[:, 1]
        now = codes[(snr_db >= self._up_db) | np.isin(codes, before, assume_unique=True)]
        if np.array_equal(now, before):
            return False
        self._edge_codes = now
        a, b = np.divmod(now, num_devices)
        both = np.sort(np.concatenate([now, b * num_devices + a]))
        cuts = np.searchsorted(both, np.arange(num_devices + 1) * num_devices).tolist()
        others = (both % num_devices).tolist()
        self._neighbors = [tuple(others[start:end]) for start, end in pairwise(cuts)]
        for change, edges in ((Joined, np.setdiff1d(now, before, True)), (Left, np.setdiff1d(before, now, True))):
            for a, b in zip(*(ends.tolist() for ends in np.divmod(edges, num_devices)), strict=True):
                self._note(a, change(b))
                self._note(b, change(a))
        return True

    def _note(self, index: int, change: Joined | Left) -> None:
        """Keep a change until the node asks; of one neighbor only the last counts, so that memory stays bounded. Who is away
        makes no changes by moving."""
        if change.node in self.absent:
            return
        kept = self._changes[index]
        kept.pop(change.node, None)
        kept[change.node] = change

    def neighbors(self, index: int) -> tuple[int, ...]:
        return self._neighbors[index]

    def peers(self, index: int, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._neighbors[index], self._neighbors[index]

    def edges(self) -> np.ndarray:
        return np.stack(np.divmod(self._edge_codes, len(self._neighbors)), axis=1)

    def membership(self, index: int) -> tuple[Joined | Left, ...]:
        changes, self._changes[index] = tuple(self._changes[index].values()), {}
        return changes

    def known_by(self, index: int) -> tuple[int, ...]:
        """Ids of those who have this device as a neighbor: its own neighbors."""
        return self._neighbors[index]

    def forget(self, index: int) -> tuple[int, ...]:
        """A device goes: the ids of those who had it as a neighbor."""
        return self.known_by(index)


class BeaconTopology(RadioTopology):
    """Neighbors are those whose beacon was heard within the last three periods; nobody is told who is in range.

    Every device sends a frame of `beacon_bytes` every `beacon_every_s`, from a random phase on, at the rate that a receiver
    at the threshold (neighbor_mean_snr_db - hysteresis_db, in the local mean) decodes. A beacon costs air time and energy and
    is lost to fading like any broadcast. The audience that a beacon is offered to are the devices above the threshold.
    """

    KEPT_PERIODS = 3

    def __init__(self, radio: RadioTopology, num_devices: int, beacon_every_s: float) -> None:
        self.update_every_s = radio.update_every_s
        self._in_reach = radio
        self._kept_s = self.KEPT_PERIODS * beacon_every_s
        self._last_heard: list[dict[int, float]] = [{} for _ in range(num_devices)]
        self._neighbors = [()] * num_devices
        self._changes = [{} for _ in range(num_devices)]

    def audience(self, index: int) -> np.ndarray:
        """Indices that a beacon of `index` is offered to now."""
        return np.array(self._in_reach.neighbors(index), dtype=np.int64)

    def heard(self, receiver: int, sender: int, time_s: float) -> None:
        """A beacon has arrived."""
        known = self._last_heard[receiver]
        if sender not in known:
            self._note(receiver, Joined(sender))
        known[sender] = time_s
        if sender not in self._neighbors[receiver]:
            self._neighbors[receiver] = tuple(sorted(known))

    def known_by(self, index: int) -> tuple[int, ...]:
        """Ids of those who have heard this device, who need not be those that it has heard."""
        return tuple(receiver for receiver, known in enumerate(self._last_heard) if index in known)

    def forget(self, index: int) -> tuple[int, ...]:
        """A device goes, and is nobody's neighbor until one of its beacons is heard again: the ids of those whose it was."""
        told = self.known_by(index)
        for receiver in told:
            del self._last_heard[receiver][index]
            self._neighbors[receiver] = tuple(sorted(self._last_heard[receiver]))
        return told

    def update(self, time_s: float) -> bool:
        """Forget whom nothing has been heard of for too long."""
        self._in_reach.update(time_s)
        changed = False
        for receiver, known in enumerate(self._last_heard):
            silent = [sender for sender, last_s in known.items() if time_s - last_s > self._kept_s]
            for sender in silent:
                del known[sender]
                self._note(receiver, Left(sender))
            if silent:
                self._neighbors[receiver] = tuple(sorted(known))
                changed = True
        return changed

    def edges(self) -> np.ndarray:
        pairs = {(min(i, j), max(i, j)) for i, known in enumerate(self._last_heard) for j in known}
        return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)


class Proximity:
    """Pairs of devices whose local mean SNR (over `bandwidth_hz`, weaker direction) is at least `min_snr_db`.

    tx_power_w: [num_nodes] to go by, None for the present ones."""

    def __init__(
        self,
        links: Links,
        num_devices: int,
        bandwidth_hz: float,
        min_snr_db: float,
        tx_power_w: np.ndarray | None = None,
    ) -> None:
        self._links = links
        self._tx_power_w = tx_power_w
        self._nodes = np.arange(num_devices)
        self._bandwidth_hz = bandwidth_hz
        self._min_snr_db = min_snr_db

    def pairs(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """[num_pairs, 2] indices with a < b, in order, and [num_pairs] dB."""
        links, channel = self._links, self._links.channel
        power_w = links.tx_power_w if self._tx_power_w is None else self._tx_power_w
        receiver = (links.rx_antennas[self._nodes] / links.noise_w_per_hz[self._nodes]).max()
        best = power_w[self._nodes].max() * receiver / self._bandwidth_hz
        pairs = channel.near_pairs(self._nodes, time_s, self._min_snr_db - 10 * float(np.log10(best)))
        if not len(pairs):
            return pairs, np.empty(0)
        a, b = pairs.T
        gain = 10.0 ** (channel.mean_gain_db(a, b, time_s) / 10.0)  # that of both directions
        forth = power_w[a] / links.noise_w_per_hz[b] * links.rx_antennas[b]
        back = power_w[b] / links.noise_w_per_hz[a] * links.rx_antennas[a]
        snr_db = 10 * np.log10(np.minimum(forth, back) * gain / self._bandwidth_hz)
        near = snr_db >= self._min_snr_db
        return pairs[near], snr_db[near]


class Hearing:
    """Who senses whose transmissions on a shared carrier: mean SNR at least `sensing_snr_db` in the weaker direction."""

    def __init__(self, links: Links, num_devices: int, bandwidth_hz: float, sensing_snr_db: float) -> None:
        self._proximity = Proximity(links, num_devices, bandwidth_hz, sensing_snr_db)
        self._num_devices = num_devices
        self._heard_by: list[np.ndarray] = []

    def update(self, time_s: float) -> None:
        pairs, _ = self._proximity.pairs(time_s)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        cuts = np.searchsorted(both[:, 0], np.arange(1, self._num_devices))
        self._heard_by = np.split(both[:, 1], cuts)

    def heard_by(self, index: int) -> np.ndarray:
        return self._heard_by[index]


def build_topology(
    scenario: Scenario,
    mac: MediumAccess,
    files: Mapping[str, str],
    world: World,
    streams: Streams,
    cells: FixedTopology | None,
) -> FixedTopology | RadioTopology:
    """The scenario's topology. files: texts of the files that it names. cells: the star of
    several cells. Raises ValueError where there is no such graph, or
    where an edge of a fixed one can never carry anything."""
    config, num_devices = scenario.topology, world.num_devices
    if cells is not None:
        _refuse_unreachable(scenario, mac, world, cells.edges())
        return cells
    if config.kind == "radio":
        radio = RadioTopology(
            world.links,
            num_devices,
            scenario.channel.bandwidth_hz,
            config.neighbor_mean_snr_db,
            config.hysteresis_db,
            config.update_every_s,
        )
        beacons = config.discovery == "beacon"
        return BeaconTopology(radio, num_devices, config.beacon_every_s) if beacons else radio
    if config.kind == "star":
        topology = FixedTopology(num_devices, None)
    else:
        topology = _fixed(config, files, world, streams)
    _refuse_unreachable(scenario, mac, world, topology.edges(), topology.directed)
    return topology


def _fixed(config: Topology, files: Mapping[str, str], world: World, streams: Streams) -> FixedTopology:
    """The topology of a graph. Raises ValueError, in the words of the scenario, where there is none."""
    kind, n = graph_of(config), world.num_devices
    edges: list[tuple[int, int]] = []
    if config.kind == "file":
        edges = scenario_files.edges(files[kind.file], kind.file, n, kind.directed)
    places_m = world.positions.at(np.arange(n), 0.0)
    try:
        graph = kind.graph(Given(n, streams("graph"), places_m, edges))
    except ValueError as error:
        raise ValueError(f"[topology] {error}") from None
    return OnePeerTopology(n, graph) if config.kind == "one_peer_exponential" else FixedTopology(n, graph)


def build_hearing(scenario: Scenario, mac: MediumAccess, world: World) -> Hearing | None:
    """Who senses whom at the start, where the medium access asks for it."""
    if mac.senses_above_db is None:
        return None
    hearing = Hearing(world.links, world.num_devices, scenario.channel.bandwidth_hz, mac.senses_above_db)
    hearing.update(0.0)
    return hearing


def _refuse_unreachable(
    scenario: Scenario, mac: MediumAccess, world: World, edges: np.ndarray, directed: bool = False
) -> None:
    """Among devices that stay where they are, an edge of a fixed graph that carries nothing would wait for ever.

    With fading, an edge is given up 10 dB later: a Rayleigh peak that high comes once in 22,000 coherence times, and makes an
    ergodic rate of that fraction."""
    if world.positions.max_speed_mps > 0.0 or not len(edges):
        return
    phy = scenario.phy
    links = world.links
    levels_db = [(phy.min_snr_db - (0.0 if links.static and not links.ergodic else 10.0), "min_snr_db")]
    if phy.preamble_snr_db is not None:  # an ergodic law's mean never changes
        levels_db.append((phy.preamble_snr_db - (0.0 if links.static else 10.0), "preamble_snr_db"))
    least_db, key = max(levels_db)
    level_db = getattr(phy, key)
    forth, back = (edges[:, 0], edges[:, 1]), (edges[:, 1], edges[:, 0])
    for tx, rx in (forth,) if directed else (forth, back):
        band_hz = np.full(len(tx), scenario.channel.bandwidth_hz)
        if mac.divides_band:  # a power-limited uplink may narrow its band down to its share
            band_hz[tx < world.num_devices] /= world.num_devices
        snr_db = 10 * np.log10(world.links.mean_cn0(tx, rx, 0.0) / band_hz)
        i = int(snr_db.argmin())
        if snr_db[i] < least_db:
            ends = [_name(world, int(end)) for end in (tx[i], rx[i])]
            raise ValueError(
                f"[topology] kind = {scenario.topology.kind!r}: the link from {ends[0]} to {ends[1]} has a mean SNR of "
                f"{snr_db[i]:.1f} dB, [phy] {key} is {level_db}, and nobody moves: place the devices "
                f"closer, raise tx_power_dbm or lower {key}"
            )


def _name(world: World, index: int) -> str:
    if index < world.num_devices:
        return f"device {index}"
    return "the server" if world.num_stations == 1 else f"base station {index - world.num_devices}"
