"""Layers for objects in any order and number: worked values, their dense matrices, permutations and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.models.permutation_layers import (
    Aggregation,
    aggregation_scale,
    both_ways,
    edge_layer,
    ego_head,
    invariant_head,
    num_connected,
    num_others,
    two_index,
    two_matrix,
)

F64 = torch.float64
AGGREGATIONS: tuple[Aggregation, ...] = ("mean", "sum", "sqrt")


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def divisor(num_neighbors: int, aggregation: Aggregation) -> float:
    return {"sum": 1.0, "mean": float(max(1, num_neighbors)), "sqrt": max(1, num_neighbors) ** 0.5}[aggregation]


def build_dense(U: Tensor, V: Tensor, b: Tensor, K: int, aggregation: Aggregation) -> tuple[Tensor, Tensor]:
    """W_K [K o, K i], U on the diagonal of its K x K blocks and V / s off it, and K times b."""
    scale = divisor(K - 1, aggregation)
    rows = [torch.cat([U if k == j else V / scale for j in range(K)], 1) for k in range(K)]
    return torch.cat(rows), b.repeat(K)


def implicit(h: Tensor, U: Tensor, V: Tensor, b: Tensor, aggregation: Aggregation = "mean") -> Tensor:
    """two_matrix of h [..., K, i] without padding."""
    presence = torch.ones_like(h[..., 0])
    return two_matrix(h, presence, U, V, b, aggregation_scale(num_others(presence), aggregation))


def scalars(U: float, V: float, b: float) -> tuple[Tensor, Tensor, Tensor]:
    return torch.full((1, 1), U, dtype=F64), torch.full((1, 1), V, dtype=F64), torch.full((1,), b, dtype=F64)


def mapped(values: Sequence[float], layer: tuple[Tensor, Tensor, Tensor], aggregation: Aggregation) -> list[float]:
    return implicit(torch.tensor(values, dtype=F64)[:, None], *layer, aggregation)[:, 0].tolist()


# Worked values


def test_a_layer_of_scalars_has_its_worked_values() -> None:
    layer = scalars(2, -1, 0.5)
    assert mapped((1, 2, 4), layer, "sum") == pytest.approx([-3.5, -0.5, 5.5], abs=1e-12)
    assert mapped((1, 2, 4), layer, "mean") == pytest.approx([-0.5, 2, 7], abs=1e-12)
    dense, bias = build_dense(*layer, 3, "sum")
    assert dense.tolist() == [[2, -1, -1], [-1, 2, -1], [-1, -1, 2]]
    assert bias.tolist() == [0.5] * 3


def test_an_average_of_two_clients_layers_has_its_worked_values() -> None:
    """100 samples at (1, .5, 0) and 300 at (3, -.5, 1); object 0 does not feel how many equal neighbors it has."""
    average = [(100 * a + 300 * c) / 400 for a, c in zip(scalars(1, 0.5, 0), scalars(3, -0.5, 1), strict=True)]
    assert [float(part) for part in average] == [2.5, -0.25, 0.75]
    assert mapped((1, 3), (average[0], average[1], average[2]), "mean") == pytest.approx([2.5, 8], abs=1e-12)
    four = mapped((1, 3, 3, 3), (average[0], average[1], average[2]), "mean")
    assert four == pytest.approx([2.5, *[7 + 2 / 3] * 3], abs=1e-12)
    assert four == pytest.approx([2.5, 7.6667, 7.6667, 7.6667], abs=5e-5)  # as the specification rounds them


# Identities


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("K", range(1, 10))
def test_the_layer_is_its_dense_matrix_and_so_are_its_gradients(K: int, aggregation: Aggregation) -> None:
    """The gradient of U is the sum of the dense gradient's diagonal blocks, that of V the sum of the others over s."""
    o, i = 3, 4
    U, V, b, h, weights = numbers(o, i), numbers(o, i, seed=2), numbers(o, seed=3), numbers(5, K, i), numbers(5, K, o)
    dense, bias = build_dense(U, V, b, K, aggregation)
    expected = (h.flatten(1) @ dense.T + bias).unflatten(1, (K, o))
    torch.testing.assert_close(implicit(h, U, V, b, aggregation), expected, rtol=0, atol=1e-12)

    def loss(U: Tensor, V: Tensor) -> Tensor:
        return (implicit(h, U, V, b, aggregation) * weights).sum()

    def dense_loss(dense: Tensor) -> Tensor:
        return ((h.flatten(1) @ dense.T + bias) * weights.flatten(1)).sum()

    of_U, of_V = torch.func.grad(loss, argnums=(0, 1))(U, V)
    blocks = torch.func.grad(dense_loss)(dense).reshape(K, o, K, i).permute(0, 2, 1, 3)
    diagonal = sum((blocks[k, k] for k in range(K)), torch.zeros(o, i, dtype=F64))
    others = blocks.sum((0, 1)) - diagonal
    torch.testing.assert_close(of_U, diagonal, rtol=0, atol=1e-12)
    torch.testing.assert_close(of_V, others / divisor(K - 1, aggregation), rtol=0, atol=1e-12)


@pytest.mark.parametrize("K", [2, 5, 9])
def test_the_spectrum_is_that_of_two_small_matrices(K: int) -> None:
    """W_K (s = 1) acts as U + (K - 1) V on the mean pattern and as U - V on patterns of zero mean."""
    U, V, v = numbers(4, 4), numbers(4, 4, seed=2), numbers(4, seed=3)
    none = torch.zeros(4, dtype=F64)
    mean = implicit(v.expand(K, 4), U, V, none, "sum")
    torch.testing.assert_close(mean, (v @ (U + (K - 1) * V).T).expand(K, 4), rtol=0, atol=1e-12)
    pattern = numbers(K, seed=4)
    pattern -= pattern.mean()
    h = pattern[:, None] * v
    torch.testing.assert_close(implicit(h, U, V, none, "sum"), h @ (U - V).T, rtol=0, atol=1e-12)
    dense, _ = build_dense(U, V, none, K, "sum")
    found = np.linalg.eigvals(dense.numpy())
    parts = [np.linalg.eigvals((U + (K - 1) * V).numpy()), *[np.linalg.eigvals((U - V).numpy())] * (K - 1)]
    for value in np.concatenate(parts):
        assert np.abs(found - value).min() < 1e-8


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("K", [2, 5, 9])
def test_averaging_clients_and_building_their_matrices_commute(K: int, aggregation: Aggregation) -> None:
    clients = [(numbers(3, 2, seed=c), numbers(3, 2, seed=c + 10), numbers(3, seed=c + 20)) for c in range(4)]
    shares = (0.1, 0.2, 0.3, 0.4)
    U, V, b = (sum((w * part for w, part in zip(shares, parts)), torch.zeros(())) for parts in zip(*clients))
    built = [build_dense(*client, K, aggregation) for client in clients]
    dense, bias = (sum((w * part for w, part in zip(shares, parts)), torch.zeros(())) for parts in zip(*built))
    for found, expected in zip(build_dense(U, V, b, K, aggregation), (dense, bias)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    h = numbers(K, 2, seed=5)
    averaged = sum((w * implicit(h, *client, aggregation) for w, client in zip(shares, clients)), torch.zeros(()))
    torch.testing.assert_close(implicit(h, U, V, b, aggregation), averaged, rtol=0, atol=1e-12)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_edge_layer_is_its_definition(aggregation: Aggregation) -> None:
    """By loops, for one sample with neighbors out of range: s_k counts those with a gain in either direction."""
    K, o, i = 5, 3, 2
    A = numbers(K, K).abs()
    for k, j in ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (0, 1), (1, 0), (0, 3), (4, 2), (2, 4), (0, 4), (4, 0)):
        A[k, j] = 0
    U, V, b, h = numbers(o, i), numbers(o, 2 * i, seed=2), numbers(o, seed=3), numbers(K, i, seed=4)
    counts = [sum(bool(A[k, j] or A[j, k]) for j in range(K)) for k in range(K)]
    assert counts == [2, 3, 3, 4, 2]  # 0 hears nothing of 3 but 3 hears 0
    assert num_connected(A).tolist() == counts
    expected = []
    for k, count in enumerate(counts):
        disturbing = sum((A[k, j] * h[j] for j in range(K)), torch.zeros(i))
        disturbed = sum((A[j, k] * h[j] for j in range(K)), torch.zeros(i))
        expected.append(U @ h[k] + V @ torch.cat((disturbing, disturbed)) / divisor(count, aggregation) + b)
    neighbors = both_ways(A, aggregation_scale(num_connected(A), aggregation))
    found = edge_layer(h, torch.ones(K, dtype=F64), U, V, b, neighbors)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)


def test_the_two_index_layer_is_its_definition() -> None:
    """By its dense matrix: U for the entry, V for its column, P for its row, Q for all others, as means over rows and columns."""
    I, J, o, i = 3, 4, 2, 3
    U, V, P, Q = (numbers(o, i, seed=s) for s in range(4))
    b, X = numbers(o, seed=5), numbers(I, J, i, seed=6)
    found = two_index(X, torch.ones(I, dtype=F64), torch.ones(J, dtype=F64), U, V, P, Q, b)
    for r in range(I):
        for c in range(J):
            column, row, everything = X[:, c].mean(0), X[r].mean(0), X.mean((0, 1))
            expected = (U - V - P + Q) @ X[r, c] + (V - Q) @ column + (P - Q) @ row + Q @ everything + b
            torch.testing.assert_close(found[r, c], expected, rtol=0, atol=1e-12)


# Permutations


def orders(K: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(K)
    return [torch.randperm(K, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("K", [1, 2, 7])
def test_permuted_objects_give_permuted_results_in_every_layer_and_the_same_in_invariant_heads(K: int) -> None:
    o, i = 3, 4
    U, V, W, b = numbers(o, i), numbers(o, i, seed=2), numbers(o, 2 * i, seed=3), numbers(o, seed=4)
    h, presence = numbers(2, K, i, seed=5), torch.ones(2, K, dtype=F64)
    A = numbers(2, K, K, seed=6) * (1 - torch.eye(K, dtype=F64))
    X = numbers(2, K, K + 1, i, seed=7)
    scale = aggregation_scale(num_others(presence), "mean")
    columns = torch.ones(2, K + 1, dtype=F64)

    def edges(h: Tensor, A: Tensor) -> Tensor:
        return edge_layer(h, presence, U, W, b, both_ways(A, scale))

    def indices(X: Tensor) -> Tensor:
        return two_index(X, presence, columns, U, V, numbers(o, i, seed=8), numbers(o, i, seed=9), b)

    for order in orders(K):
        pairs = [
            (implicit(h[:, order], U, V, b), implicit(h, U, V, b)[:, order]),
            (edges(h[:, order], A[:, order][:, :, order]), edges(h, A)[:, order]),
            (invariant_head(h[:, order], presence, U, b), invariant_head(h, presence, U, b)),
        ]
        for other in orders(K + 1):
            pairs.append((indices(X[:, order][:, :, other]), indices(X)[:, order][:, :, other]))
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    assert float(implicit(h, U, V, b).std()) > 0.1


def test_the_ego_head_keeps_the_score_of_the_first_object() -> None:
    scores = numbers(2, 4)
    assert torch.equal(ego_head(scores)[:, 0], scores[:, 0])
    assert not ego_head(scores)[:, 1:].any()
    assert torch.equal(ego_head(scores[:, :1]), scores[:, :1])


# Padding


def layers() -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Of states h [2, K, 4], gains A [2, K, K] and presence [2, K]."""
    U, V, W, b = numbers(3, 4), numbers(3, 4, seed=2), numbers(3, 8, seed=3), numbers(3, seed=4)

    def edges(h: Tensor, A: Tensor, presence: Tensor) -> Tensor:
        return edge_layer(h, presence, U, W, b, both_ways(A, aggregation_scale(num_others(presence), "mean")))

    def indices(h: Tensor, A: Tensor, presence: Tensor) -> Tensor:
        entries = A[..., None] * numbers(4, seed=5)
        return two_index(entries, presence, presence, U, V, numbers(3, 4, seed=6), numbers(3, 4, seed=7), b)

    return {
        "two_matrix": lambda h, A, presence: two_matrix(
            h, presence, U, V, b, aggregation_scale(num_others(presence), "mean")
        ),
        "edge_layer": edges,
        "two_index": indices,
        "invariant_head": lambda h, A, presence: invariant_head(h, presence, U, b)[:, None, None],
    }


@pytest.mark.parametrize("name", layers())
@pytest.mark.parametrize("K", [1, 3])
def test_padding_counts_nowhere_and_comes_out_as_zeros(name: str, K: int) -> None:
    layer, num_padding = layers()[name], 2
    h, A = numbers(2, K, 4), numbers(2, K, K, seed=6) * (1 - torch.eye(K, dtype=F64))
    expected = layer(h, A, torch.ones(2, K, dtype=F64))
    padding = (0, num_padding)
    padded = layer(
        torch.nn.functional.pad(h, (0, 0, *padding)),
        torch.nn.functional.pad(A, (*padding, *padding)),
        torch.nn.functional.pad(torch.ones(2, K, dtype=F64), padding),
    )
    real = padded[:, :K, :K] if name == "two_index" else padded[:, :K]
    torch.testing.assert_close(real, expected, rtol=0, atol=1e-12)
    assert float(padded.abs().sum()) == pytest.approx(float(expected.abs().sum()), abs=1e-10)


def test_nothing_but_padding_gives_finite_numbers() -> None:
    nothing = torch.zeros(2, 3, dtype=F64)
    for layer in layers().values():
        assert layer(torch.zeros(2, 3, 4, dtype=F64), torch.zeros(2, 3, 3, dtype=F64), nothing).isfinite().all()
