"""Random graphs, drawn anew from their stream until they are connected, 100 times at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import networkx as nx
import numpy as np
from scipy.spatial import cKDTree

from wsim.graphs.kind import Given, needs_at_least
from wsim.scenario.quantities import Degree, DistanceM, Probability

TRIES = 100


def _connected(draw: Callable[[int], nx.Graph], given: Given, says: str) -> nx.Graph:
    """The first connected graph of draw(seed); ValueError(says) without one."""
    for _ in range(TRIES):
        graph = draw(int(given.rng.integers(2**31)))
        if nx.is_connected(graph):
            return graph
    raise ValueError(says)


@dataclass(frozen=True)
class RandomRegular:
    """Every device has `degree` neighbors, otherwise at random."""

    degree: Degree

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)
        if self.degree >= num_devices:
            raise ValueError(f"degree = {self.degree}: has to be less than the {num_devices} devices")
        if self.degree * num_devices % 2:
            raise ValueError(
                f"degree = {self.degree}: degree times devices has to be even, {self.degree} * {num_devices} is not; "
                f"{self.degree + 1}, or another count"
            )
        if self.degree == 1 and num_devices > 2:
            raise ValueError("degree = 1: only joins pairs and leaves the graph in pieces; 2 or more")

    def graph(self, given: Given) -> nx.Graph:
        says = f"degree = {self.degree}: no connected random graph found in {TRIES} tries"
        return _connected(lambda seed: nx.random_regular_graph(self.degree, given.num_devices, seed=seed), given, says)


@dataclass(frozen=True)
class ErdosRenyi:
    """Every pair is joined with `probability`, independently."""

    probability: Probability

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        n, p = given.num_devices, self.probability
        says = f"probability = {p}: no connected random graph of {n} devices found in {TRIES} tries; above ln(n)/n = "
        says += f"{np.log(n) / n:.2g} most are"
        return _connected(lambda seed: nx.fast_gnp_random_graph(n, p, seed=seed), given, says)


@dataclass(frozen=True)
class SmallWorld:
    """A ring on which everybody has the `degree` nearest (an even number); then every edge is led elsewhere with `probability`.

    Watts and Strogatz, "Collective dynamics of 'small-world' networks", Nature 393 (1998).
    """

    degree: Degree = 4
    probability: Probability = 0.1

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(4, num_devices)
        if self.degree % 2 or self.degree >= num_devices:
            raise ValueError(f"degree = {self.degree}: an even number less than the {num_devices} devices")

    def graph(self, given: Given) -> nx.Graph:
        n, says = given.num_devices, f"degree = {self.degree}: no connected graph found in {TRIES} tries; a larger one"
        return _connected(
            lambda seed: nx.watts_strogatz_graph(n, self.degree, self.probability, seed=seed), given, says
        )


@dataclass(frozen=True)
class RandomGeometric:
    """Those are joined who are at most `range_m` apart at the start, wherever the scenario places them, and stay so. (For
    neighbors that change with movement: "radio".)"""

    range_m: DistanceM

    directed: ClassVar[bool] = False

    def check(self, num_devices: int) -> None:
        needs_at_least(2, num_devices)

    def graph(self, given: Given) -> nx.Graph:
        graph = nx.empty_graph(given.num_devices)
        graph.add_edges_from(cKDTree(given.places_m).query_pairs(self.range_m, output_type="ndarray").tolist())
        if not nx.is_connected(graph):
            pieces = nx.number_connected_components(graph)
            raise ValueError(
                f"range_m = {self.range_m}: the {given.num_devices} devices, as they are placed, are in {pieces} pieces; "
                "a longer range, more devices or another seed"
            )
        return graph
