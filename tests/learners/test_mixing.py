"""Mixing weights against closed forms."""

import networkx as nx
import numpy as np
import pytest

from learners.mixing import eigenvalues, metropolis, mixing_matrix, spectral_gap, uniform

GRAPHS = {
    "ring": nx.cycle_graph(9),
    "star": nx.star_graph(6),
    "erdos_renyi": nx.gnp_random_graph(20, 0.3, seed=3),
    "random_regular": nx.random_regular_graph(4, 20, seed=1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_metropolis_is_symmetric_and_doubly_stochastic_on_any_graph(name: str) -> None:
    matrix = mixing_matrix(GRAPHS[name])
    assert np.array_equal(matrix, matrix.T)
    assert matrix.sum(axis=1) == pytest.approx(np.ones(len(matrix)), abs=1e-15)
    assert (matrix >= 0).all()
    assert (np.diag(matrix) > 0).all()
    adjacency = nx.to_numpy_array(GRAPHS[name], nodelist=sorted(GRAPHS[name]))
    assert np.array_equal(matrix - np.diag(np.diag(matrix)) > 0, adjacency > 0)


def test_uniform_equals_metropolis_where_degrees_are_equal() -> None:
    assert np.array_equal(mixing_matrix(GRAPHS["ring"], uniform), mixing_matrix(GRAPHS["ring"], metropolis))
    assert not np.allclose(mixing_matrix(GRAPHS["star"], uniform), mixing_matrix(GRAPHS["star"], metropolis))


@pytest.mark.parametrize("num_nodes", [4, 5, 16, 32])
def test_ring_has_the_closed_form_gap(num_nodes: int) -> None:
    """lambda_k = (1 + 2 cos(2 pi k / n)) / 3."""
    eigenvalues = (1 + 2 * np.cos(2 * np.pi * np.arange(1, num_nodes) / num_nodes)) / 3
    gap = spectral_gap(mixing_matrix(nx.cycle_graph(num_nodes)))
    assert gap == pytest.approx(1 - np.abs(eigenvalues).max(), abs=1e-12)


@pytest.mark.parametrize(("num_nodes", "gap"), [(4, 0.6667), (16, 0.0507), (32, 0.0128)])
def test_ring_gaps_are_the_tabulated_ones(num_nodes: int, gap: float) -> None:
    assert spectral_gap(mixing_matrix(nx.cycle_graph(num_nodes))) == pytest.approx(gap, abs=5e-5)


def test_the_ring_of_eight_of_the_table_of_step_sizes() -> None:
    """CHOCO's delta and beta, the largest |1 - eigenvalue|."""
    matrix = mixing_matrix(nx.cycle_graph(8))
    assert spectral_gap(matrix) == pytest.approx(0.195262, abs=5e-7)
    assert np.abs(1 - eigenvalues(matrix)).max() == pytest.approx(1.333333, abs=5e-7)


def test_complete_graph_averages_at_once() -> None:
    matrix = mixing_matrix(nx.complete_graph(6))
    assert matrix == pytest.approx(np.full((6, 6), 1 / 6), abs=1e-15)
    assert spectral_gap(matrix) == pytest.approx(1, abs=1e-12)


def test_averaging_contracts_at_the_spectral_gap() -> None:
    matrix = mixing_matrix(GRAPHS["erdos_renyi"])
    x = np.random.default_rng(1).standard_normal(20)
    mixed = np.linalg.matrix_power(matrix, 30) @ x
    bound = (1 - spectral_gap(matrix)) ** 30 * np.linalg.norm(x - x.mean())
    assert np.linalg.norm(mixed - x.mean()) <= bound * (1 + 1e-9)
