"""A graph from a file."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx

from wsim.graphs.kind import Given, needs_at_least


@dataclass(frozen=True)
class EdgeList:
    """Lines of "a b", device numbers from 0; with directed = true b hears a, and a hears b only where "b a" stands there too.

    Has to be connected, and strongly so if directed."""

    file: str
    directed: bool = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        graph = nx.empty_graph(given.num_devices, nx.DiGraph if self.directed else None)
        graph.add_edges_from(given.edges)
        return graph
