"""Regular graphs of numbered devices: rings, grids, cubes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from wsim.graphs.kind import Given, needs_at_least
from wsim.scenario.quantities import Count


@dataclass(frozen=True)
class Ring:
    """Every device between its two neighbors; with directed = true it hears the one before it only."""

    directed: bool = False

    def check(self, num_devices: int) -> None:
        needs_at_least(3, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        return nx.cycle_graph(given.num_devices, nx.DiGraph if self.directed else None)


@dataclass(frozen=True)
class Chain:
    """Devices in a row: a ring without one of its edges."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        return nx.path_graph(given.num_devices)


@dataclass(frozen=True)
class Complete:
    """Everybody with everybody."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        return nx.complete_graph(given.num_devices)


@dataclass(frozen=True)
class Torus:
    """A grid with joined borders, four neighbors each. rows: a divisor of the number of devices; not given: the most square
    grid."""

    rows: Count | None = None

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        fit = [rows for rows in range(3, num_devices) if num_devices % rows == 0 and num_devices // rows >= 3]
        if not fit:
            more = next(k for k in range(1, num_devices + 9) if (num_devices + k) % 3 == 0 and num_devices + k >= 9)
            raise ValueError(
                f"kind = torus: {num_devices} devices make no grid of at least 3 by 3; {num_devices + more} devices would"
            )
        if self.rows is not None and self.rows not in fit:
            known = ", ".join(map(str, fit))
            raise ValueError(f"rows = {self.rows}: {num_devices} devices make grids of {known} rows")

    def graph(self, given: Given) -> nx.Graph:
        n = given.num_devices
        rows = self.rows or max(r for r in range(1, int(n**0.5) + 1) if n % r == 0)
        return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, n // rows, periodic=True))


@dataclass(frozen=True)
class Circulant:
    """Device i with i + s and i - s for every s of `offsets`: [1] is a ring; [1, 4] with 32 devices is what the public code of
    cross-feature contrastive learning calls a torus."""

    offsets: tuple[Count, ...]

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        if not self.offsets or len(set(self.offsets)) < len(self.offsets) or max(self.offsets) > num_devices // 2:
            raise ValueError(
                f"offsets = {self.offsets}: different numbers from 1 to {num_devices // 2}, half of the devices"
            )
        if not nx.is_connected(self._of(num_devices)):
            raise ValueError(f"offsets = {self.offsets}: the graph is in pieces; 1 among them joins it")

    def graph(self, given: Given) -> nx.Graph:
        return self._of(given.num_devices)

    def _of(self, num_devices: int) -> nx.Graph:
        return nx.circulant_graph(num_devices, list(self.offsets))


@dataclass(frozen=True)
class Hypercube:
    """2^d devices, joined where their numbers differ in one binary digit: d neighbors each."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        if num_devices < 2 or num_devices & (num_devices - 1):
            power = 1 << max(1, num_devices.bit_length())
            raise ValueError(
                f"kind = hypercube: needs a power of two devices, such as {max(2, power // 2)} or {max(4, power)}, there are {num_devices}"
            )

    def graph(self, given: Given) -> nx.Graph:
        n = given.num_devices
        graph = nx.empty_graph(n)
        graph.add_edges_from((i, i ^ (1 << bit)) for i in range(n) for bit in range(n.bit_length() - 1))
        return graph
