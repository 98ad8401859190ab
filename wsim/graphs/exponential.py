"""Exponential graphs: neighbors at the distances 1, 2, 4, ... along the numbers.

Assran et al., "Stochastic gradient push for distributed deep learning", ICML 2019 (arXiv 1811.10792); Ying et al., "Exponential
graph is provably efficient for decentralized deep training", NeurIPS 2021 (arXiv 2110.13363).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import networkx as nx

from wsim.graphs.kind import Given, needs_at_least


def hops(num_devices: int) -> list[int]:
    """1, 2, 4, ... below the number of devices."""
    return [1 << m for m in range((num_devices - 1).bit_length())]


def _arcs(num_devices: int) -> list[tuple[int, int]]:
    return [(i, (i + hop) % num_devices) for i in range(num_devices) for hop in hops(num_devices)]


@dataclass(frozen=True)
class Exponential:
    """Device i sends to i + 1, i + 2, i + 4, ...; with directed = false they answer, which makes about twice as many neighbors."""

    directed: bool = True

    def check(self, num_devices: int) -> None:
        needs_at_least(3, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        graph = nx.empty_graph(given.num_devices, nx.DiGraph if self.directed else None)
        graph.add_edges_from(_arcs(given.num_devices))
        return graph


@dataclass(frozen=True)
class OnePeerExponential:
    """The directed exponential graph, one neighbor at a time: in round k device i sends to i + 2^(k mod m), m the number of
    distances below the number of devices."""

    directed: ClassVar[bool] = True
    changes: ClassVar[bool] = True

    def check(self, num_devices: int) -> None:
        needs_at_least(3, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        return Exponential().graph(given)
