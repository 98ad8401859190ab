"""Graphs of one size that papers use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from wsim.graphs.kind import Given


def _exactly(size: int, num_devices: int) -> None:
    if num_devices != size:
        raise ValueError(f"kind = {size}: has {size} devices, there are {num_devices}")


@dataclass(frozen=True)
class Dyck:
    """The Dyck graph: 32 devices with three neighbors each, diameter 5 (LCF notation [5, -5, 13, -13]^8)."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        _exactly(32, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        return nx.Graph(nx.LCF_graph(32, [5, -5, 13, -13], 8))


@dataclass(frozen=True)
class DyckCcl:
    """What the public code of cross-feature contrastive learning calls a Dyck graph: 32 devices with three neighbors each,
    diameter 6. Device 8 a + b: four rings over b, a from 0 to 3, joined at equal b: 0-1 and 2-3 where b is even, 0-2 and
    1-3 where it is odd."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        _exactly(32, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        graph = nx.empty_graph(32)
        graph.add_edges_from((8 * a + b, 8 * a + (b + 1) % 8) for a in range(4) for b in range(8))
        for b in range(8):
            rungs = ((0, 1), (2, 3)) if b % 2 == 0 else ((0, 2), (1, 3))
            graph.add_edges_from((8 * a + b, 8 * other + b) for a, other in rungs)
        return graph


@dataclass(frozen=True)
class Petersen:
    """The Petersen graph: 10 devices with three neighbors each, diameter 2."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        _exactly(10, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        return nx.petersen_graph()
