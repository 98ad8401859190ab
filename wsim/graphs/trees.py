"""Trees, for methods that pass messages along one (a `chain` is one, too)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from wsim.graphs.kind import Given, needs_at_least


@dataclass(frozen=True)
class BinaryTree:
    """Device 0 is the root; device i has the children 2 i + 1 and 2 i + 2, as far as there are any."""

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        graph = nx.empty_graph(given.num_devices)
        graph.add_edges_from(((child - 1) // 2, child) for child in range(1, given.num_devices))
        return graph
