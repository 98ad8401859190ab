"""How fast a graph mixes: the spectral gap 1 - |lambda_2| of its mixing matrix. Disagreement shrinks by lambda_2 a round."""

from __future__ import annotations

import numpy as np

MAX_DEVICES = 1000
"""Above it the gap is not worked out (NaN): the eigenvalues of 1,000 devices take a third of a second."""


def mixing_matrix(
    num_devices: int, edges: np.ndarray, weights: str = "metropolis", directed: bool = False
) -> np.ndarray:
    """W [num_devices, num_devices] of edges [num_edges, 2], rows are receivers.

    weights: "metropolis", 1 / (1 + max(d_i, d_j)), or "uniform", 1 / (1 + d_i), the rest of a row its own. On a directed graph,
    with edges from sender to receiver, what is sent is shared out evenly: W_ij = 1 / (1 + out-degree of j), columns sum to 1.
    """
    w = np.zeros((num_devices, num_devices))
    a, b = edges[:, 0], edges[:, 1]
    if directed:
        share = 1 / (1 + np.bincount(a, minlength=num_devices))
        w[b, a] = share[a]
        np.fill_diagonal(w, share)
        return w
    degree = np.bincount(edges.ravel(), minlength=num_devices)
    w[a, b] = 1 / (1 + (np.maximum(degree[a], degree[b]) if weights == "metropolis" else degree[a]))
    w[b, a] = 1 / (1 + (np.maximum(degree[a], degree[b]) if weights == "metropolis" else degree[b]))
    np.fill_diagonal(w, 1 - w.sum(axis=1))
    return w


def spectral_gap(
    num_devices: int,
    edges: np.ndarray,
    weights: str = "metropolis",
    directed: bool = False,
    matrix: np.ndarray | None = None,
) -> float:
    """In [0, 1]; 0 where the graph is in pieces, NaN above `MAX_DEVICES`. matrix: W itself, instead of that of these edges and
    weights."""
    if num_devices > MAX_DEVICES:
        return float("nan")
    if num_devices < 2:
        return 1.0
    w = mixing_matrix(num_devices, edges, weights, directed) if matrix is None else matrix
    symmetric = matrix is None and not directed and weights == "metropolis"
    sizes = np.sort(np.abs(np.linalg.eigvalsh(w) if symmetric else np.linalg.eigvals(w)))
    return float(min(1.0, max(0.0, 1 - sizes[-2])))
