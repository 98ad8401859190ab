"""Every kind of fixed graph: its shape, its spectral gap, and what is refused."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

from learners.mixing import MIXING_WEIGHTS, mixing_matrix, spectral_gap, uniform
from learners.protocol import Sleep
from tests.wsim.builders import peers, play
from wsim import spectral
from wsim.catalog import find, names_of
from wsim.errors import ScenarioError
from wsim.graphs.exponential import Exponential, OnePeerExponential
from wsim.graphs.kind import Given
from wsim.graphs.lattices import Circulant, Complete, Hypercube, Ring, Torus
from wsim.graphs.named import Dyck, DyckCcl, Petersen
from wsim.graphs.random import ErdosRenyi, RandomGeometric, RandomRegular, SmallWorld
from wsim.topology import FixedTopology, OnePeerTopology

KEYS: dict[str, dict[str, Any]] = {
    "circulant": {"offsets": (1, 4)},
    "random_regular": {"degree": 3},
    "erdos_renyi": {"probability": 0.3},
    "random_geometric": {"range_m": 60.0},
    "file": {"file": "g"},
}
SIZES = {"petersen": 10, "torus": 32, "hypercube": 32}
GRAPHS = sorted(set(names_of("topology")) - {"star", "radio"})


def given(n: int, seed: int = 1, side_m: float = 100.0) -> Given:
    rng = np.random.default_rng(seed)
    return Given(n, np.random.default_rng(seed), rng.uniform(0, side_m, (n, 3)), [(i, i + 1) for i in range(n - 1)])


@pytest.mark.parametrize("kind", GRAPHS)
def test_every_kind_is_connected_has_no_loops_and_follows_its_stream(kind: str) -> None:
    make, n = find("topology", kind)(**KEYS.get(kind, {})), SIZES.get(kind, 32)
    make.check(n)
    graph = make.graph(given(n))
    assert set(graph) == set(range(n))
    assert nx.number_of_selfloops(graph) == 0
    assert graph.is_directed() == make.directed
    assert nx.is_strongly_connected(graph) if make.directed else nx.is_connected(graph)
    assert sorted(make.graph(given(n)).edges) == sorted(graph.edges)


@pytest.mark.parametrize(
    ("graph", "n", "degree", "diameter"),
    [
        (Ring(), 7, 2, 3),
        (Complete(), 5, 4, 1),
        (Torus(), 12, 4, 3),
        (Torus(), 9, 4, 2),
        (Torus(rows=4), 32, 4, 6),
        (Circulant((1, 4)), 32, 4, 5),
        (Hypercube(), 16, 4, 4),
        (Dyck(), 32, 3, 5),
        (DyckCcl(), 32, 3, 6),
        (Petersen(), 10, 3, 2),
        (RandomRegular(6), 20, 6, None),
    ],
)
def test_regular_graphs(graph: Any, n: int, degree: int, diameter: int | None) -> None:
    made = graph.graph(given(n))
    assert set(dict(made.degree).values()) == {degree}
    assert diameter is None or nx.diameter(made) == diameter


@pytest.mark.parametrize(
    ("graph", "n", "gap"),
    [
        (Ring(), 4, 0.6667),
        (Ring(), 16, 0.0507),
        (Ring(), 32, 0.0128),
        (DyckCcl(), 32, 0.1464),
        (Circulant((1, 4)), 32, 0.1248),
    ],
)
def test_spectral_gaps_of_the_specifications(graph: Any, n: int, gap: float) -> None:
    assert spectral_gap(mixing_matrix(graph.graph(given(n)), uniform)) == pytest.approx(gap, abs=5e-5)


def test_the_two_dyck_graphs_differ() -> None:
    dyck, other = (kind.graph(given(32)) for kind in (Dyck(), DyckCcl()))
    assert nx.is_isomorphic(dyck, nx.LCF_graph(32, [5, -5, 13, -13], 8))
    assert nx.is_bipartite(dyck)
    assert nx.diameter(dyck) < nx.diameter(other)


def test_a_torus_of_twelve_is_three_rows_of_four() -> None:
    assert nx.is_isomorphic(Torus().graph(given(12)), nx.cartesian_product(nx.cycle_graph(3), nx.cycle_graph(4)))


def test_exponential_graphs() -> None:
    graph = Exponential().graph(given(8))
    assert sorted(graph.successors(6)) == [0, 2, 7]
    assert sorted(graph.predecessors(6)) == [2, 4, 5]
    both = Exponential(directed=False).graph(given(8))
    assert set(dict(both.degree).values()) == {5}
    topology = OnePeerTopology(8, OnePeerExponential().graph(given(8)))
    assert [topology.peers(6, k) for k in range(4)] == [((7,), (5,)), ((0,), (4,)), ((2,), (2,)), ((7,), (5,))]
    product = np.eye(8)  # three rounds of averaging with one peer each reach the exact mean
    for k in range(3):
        w = np.zeros((8, 8))
        for i in range(8):
            (j,), _ = topology.peers(i, k)
            w[i, i] = w[j, i] = 0.5
        product = w @ product
    assert product == pytest.approx(1 / 8)


def test_a_directed_topology_sends_one_way_and_hears_the_other() -> None:
    topology = FixedTopology(4, Ring(directed=True).graph(given(4)))
    assert topology.peers(1, 0) == ((2,), (0,))
    assert topology.edges().tolist() == [[0, 1], [1, 2], [2, 3], [3, 0]]


@pytest.mark.parametrize("degree", [2, 3, 6])
def test_random_regular_graph_is_connected_and_follows_its_stream(degree: int) -> None:
    graphs = [RandomRegular(degree).graph(given(20, seed)) for seed in (1, 1, 2)]
    assert all(set(dict(graph.degree).values()) == {degree} and nx.is_connected(graph) for graph in graphs)
    edges = [sorted(map(sorted, graph.edges)) for graph in graphs]
    assert edges[0] == edges[1] != edges[2]


def test_random_graph_has_its_edge_probability() -> None:
    """Edges of 60 devices are 1,770 independent trials: 4 standard errors."""
    graph = ErdosRenyi(0.3).graph(given(60))
    assert graph.number_of_edges() / 1770 == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 1770))


def test_small_world_leads_its_share_of_edges_elsewhere() -> None:
    """Of 200 edges about 0.2 are not of the lattice: 4 standard errors (a new end may be an old one: fewer by 1/100)."""
    graph = SmallWorld(4, 0.2).graph(given(100))
    assert graph.number_of_edges() == 200
    lattice = Circulant((1, 2)).graph(given(100))
    led = sum(not lattice.has_edge(*edge) for edge in graph.edges)
    assert led / 200 == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 200))


def test_geometric_graph_joins_who_is_near() -> None:
    sites = given(20)
    graph = RandomGeometric(60.0).graph(sites)
    distance = np.linalg.norm(sites.places_m[:, None] - sites.places_m, axis=-1)
    assert nx.to_numpy_array(graph).tolist() == ((distance <= 60.0) & ~np.eye(20, dtype=bool)).tolist()
    with pytest.raises(ValueError, match="range_m = 5.0: .* in 20 pieces"):
        RandomGeometric(5.0).graph(sites)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('"ring"', ["topology", "ring", "needs at least 3 devices, there are 2"]),
        ('{kind="ring", directed=true}', ["[topology] directed = true", "links that work both ways", "false"]),
        ('"exponential"', ["[topology] directed = true", "links that work both ways"]),
        ('"one_peer_exponential"', ['kind = "one_peer_exponential"', "both ways", "ring"]),
        ('{kind="random_regular"}', ["degree", "missing"]),
        ('{kind="random_regular", degree=3}', ["degree = 3", "even"]),
        ('{kind="random_regular", degree=5}', ["degree = 5", "less than the 5 devices"]),
        ('{kind="circulant", offsets=[2, 9]}', ["offsets", "from 1 to 2"]),
        ('"hypercube"', ["hypercube", "power of two", "4 or 8, there are 5"]),
        ('"torus"', ["torus", "3 by 3; 9 devices would"]),
        ('{kind="small_world", degree=3}', ["degree = 3", "even number"]),
        ('{kind="random_geometric", range_m=0.1}', ["range_m = 0.1", "pieces"]),
        ('"dyck"', ["dyck", "32 devices"]),
        ('"rign"', ["rign", "ring?"]),
        ('{kind="ring", degre=3}', ["degre = 3", "unknown key of ring", "directed"]),
        ('{kind="file"}', ["file", "missing"]),
        ('{kind="file", file="g"}', ["file", "device 3 has no path to device 0"]),
        ('{kind="file", file="g", directed=true}', ["directed = true", "both ways"]),
    ],
)
def test_impossible_graphs_are_refused(keys: str, words: list[str]) -> None:
    places = [(float(x), 0) for x in range(5)][: 2 if keys == '"ring"' else 5]

    def program(node: Any) -> Any:
        yield from ()

    with pytest.raises(ScenarioError) as refused:
        play(peers(places, f"topology={keys}", referenced={"g": "0 1\n1 2\n"}), program)
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("weights", ["metropolis", "uniform"])
def test_spectral_gap_of_edges_is_that_of_the_learners_matrix(weights: str) -> None:
    graph = ErdosRenyi(0.4).graph(given(12))
    edges = np.array(sorted(graph.edges))
    rule = MIXING_WEIGHTS[weights]
    assert spectral.mixing_matrix(12, edges, weights) == pytest.approx(mixing_matrix(graph, rule), abs=1e-15)
    sizes = np.sort(np.abs(np.linalg.eigvals(mixing_matrix(graph, rule))))
    assert spectral.spectral_gap(12, edges, weights) == pytest.approx(1 - sizes[-2], abs=1e-12)


def test_spectral_gap_of_directed_graphs_and_of_pieces() -> None:
    """A directed ring of n, shared out by halves, has the eigenvalues (1 + e^(2 pi i k / n)) / 2."""
    edges = FixedTopology(6, Ring(directed=True).graph(given(6))).edges()
    assert spectral.spectral_gap(6, edges, directed=True) == pytest.approx(1 - np.cos(np.pi / 6))
    w = spectral.mixing_matrix(6, edges, directed=True)
    assert w.sum(axis=0) == pytest.approx(1)
    assert w[1, 0] == 0.5
    assert spectral.spectral_gap(4, np.array([[0, 1], [2, 3]])) == pytest.approx(0, abs=1e-12)
    assert spectral.spectral_gap(4, np.empty((0, 2), dtype=int)) == pytest.approx(0, abs=1e-12)
    assert np.isnan(spectral.spectral_gap(spectral.MAX_DEVICES + 1, edges))


def test_a_result_has_the_spectral_gap_of_its_graph() -> None:
    def program(node: Any) -> Any:
        yield Sleep(0.1)

    run = play(peers([(float(x), 0) for x in range(16)], 'topology="ring"'), program)
    record = run.recorder.record("rounds")
    assert record.spectral_gap == pytest.approx([0.0507] * len(record.snapshot_time_s), abs=5e-5)
