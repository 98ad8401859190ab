"""Mixing weights of decentralized averaging, and their matrix form.

    metropolis   w_ij = 1 / (1 + max(d_i, d_j))      symmetric, so doubly stochastic on any graph
    uniform      w_ij = 1 / (1 + d_i)                doubly stochastic only where all degrees are equal

for neighbors j of i, with degrees d; the rest of the row, 1 - sum_j w_ij, is the device's own weight. Both need only
what a device knows: its own degree and those its neighbors put into their headers. The third choice, "file", is a matrix of the
user's, of which every device knows its own row (`Node.mixing_row`).
Source: Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53 (2004),
section 4; Metropolis weights: Xiao, Boyd and Lall, IPSN 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import networkx as nx


def metropolis(own_degree: int, neighbor_degrees: Sequence[int]) -> list[float]:
    """Weights of a device's neighbors, in the order of `neighbor_degrees`."""
    return [1 / (1 + max(own_degree, degree)) for degree in neighbor_degrees]


def uniform(own_degree: int, neighbor_degrees: Sequence[int]) -> list[float]:
    """Weights of a device's neighbors: the same for each and for itself."""
    return [1 / (1 + own_degree)] * len(neighbor_degrees)


MIXING_WEIGHTS: dict[str, Callable[[int, Sequence[int]], list[float]]] = {"metropolis": metropolis, "uniform": uniform}
"""Rules by degrees."""

FILE = "file"


def mixing_matrix(graph: nx.Graph, weights: Callable[[int, Sequence[int]], list[float]] = metropolis) -> np.ndarray:
    """W [num_nodes, num_nodes] of `graph`, rows in the order of sorted nodes."""
    nodes = sorted(graph)
    position = {node: i for i, node in enumerate(nodes)}
    matrix = np.zeros((len(nodes), len(nodes)))
    for i, node in enumerate(nodes):
        neighbors = sorted(graph[node])
        degrees = [graph.degree[neighbor] for neighbor in neighbors]
        matrix[i, [position[neighbor] for neighbor in neighbors]] = weights(graph.degree[node], degrees)
        matrix[i, i] = 1 - matrix[i].sum()
    return matrix


def eigenvalues(matrix: np.ndarray) -> np.ndarray:
    """Of a mixing matrix, [num_nodes]; those of a symmetric one are found several times as fast, and are real."""
    return np.linalg.eigvalsh(matrix) if np.array_equal(matrix, matrix.T) else np.linalg.eigvals(matrix)


def spectral_gap(matrix: np.ndarray) -> float:
    """1 - max(|lambda_2|, |lambda_n|) of a symmetric doubly stochastic matrix: disagreement shrinks by the rest every
    round."""
    return float(1 - np.sort(np.abs(np.linalg.eigvalsh(matrix)))[-2]) if len(matrix) > 1 else 1.0
