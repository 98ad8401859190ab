"""Low-rank factors of the matrices in a flat model: the arithmetic of PowerSGD (see `learners.federated.powersgd`).

A tensor of two and more dimensions is a matrix M [n, m], n its first dimension, m all others; it has rank r = min(rank, n, m).
Tensors of one dimension travel whole. With Q [m, r]

    start       Q of all matrices                                                               [num_start]
    left        P = M Q                                                                         [num_left]
    orthonormal P^, the columns of P orthonormalized
    right       Q = M^T P^, and the tensors of one dimension, in the order of the model         [num_right]
    product     P^ Q^T, and the same tensors                                                    [num_params]
    residual    M - P^ Q^T, and nothing of the same tensors

All vectors are flat, matrices in row-major order. P^ P^T is a projector: ||M - P^ P^T M|| <= ||M||, and M comes out exactly
where its rank is at most r.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from learners.deferred import op
from learners.models.flat import Shapes, unflatten

TOLERANCE = 16
"""Times the machine precision: a column that orthogonalization leaves no more of than this counts as 0."""


def sides(shape: tuple[int, ...], rank: int) -> tuple[int, int, int] | None:
    """n, m, r of a tensor; None if it has one dimension."""
    if len(shape) < 2:
        return None
    n, m = shape[0], prod(shape[1:])
    return n, m, min(rank, n, m)


def left_shapes(shapes: Shapes, rank: int) -> Shapes:
    """Of P and P^: [n, r], of matrices only."""
    return tuple((sizes[0], sizes[2]) for shape in shapes if (sizes := sides(shape, rank)))


def start_shapes(shapes: Shapes, rank: int) -> Shapes:
    """Of Q where a step starts: [m, r], of matrices only."""
    return tuple(sizes[1:] for shape in shapes if (sizes := sides(shape, rank)))


def right_shapes(shapes: Shapes, rank: int) -> Shapes:
    """Of Q as a client sends it: [m, r], or the tensor's own."""
    found = [(shape, sides(shape, rank)) for shape in shapes]
    return tuple(sizes[1:] if sizes else shape for shape, sizes in found)


def matrices(shapes: Shapes) -> list[int]:
    """Which tensors are matrices."""
    return [place for place, shape in enumerate(shapes) if len(shape) > 1]


def num_start(shapes: Shapes, rank: int) -> int:
    return sum(prod(shape) for shape in start_shapes(shapes, rank))


def initial_start(shapes: Shapes, rank: int, seed: int = 0) -> np.ndarray:
    """Q at first, float64 [num_start]: Gaussian, by a seed that all nodes know."""
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(num_start(shapes, rank))


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


@op
def left(x: Tensor, q: Tensor, shapes: Shapes, rank: int) -> Tensor:
    """P [num_left] of x [num_params] and Q [num_start]."""
    parts, factors = unflatten(x, shapes), unflatten(q, start_shapes(shapes, rank))
    pairs = zip(matrices(shapes), factors, strict=True)
    return _joined([parts[place].reshape(shapes[place][0], -1) @ factor for place, factor in pairs])


@op(flops=lambda p, shapes, rank: sum(_gram_schmidt_flops(shape, rank) for shape in shapes))
def orthonormal(p: Tensor, shapes: Shapes, rank: int) -> Tensor:
    """P^ [num_left] of P [num_left]."""
    return _joined([orthonormalized(part) for part in unflatten(p, left_shapes(shapes, rank))])


@op
def right(x: Tensor, p_hat: Tensor, shapes: Shapes, rank: int) -> Tensor:
    """Q [num_right] of x [num_params] and P^ [num_left]."""
    parts, factors = list(unflatten(x, shapes)), unflatten(p_hat, left_shapes(shapes, rank))
    for place, factor in zip(matrices(shapes), factors, strict=True):
        parts[place] = parts[place].reshape(shapes[place][0], -1).T @ factor
    return _joined(parts)


@op
def product(p_hat: Tensor, q: Tensor, shapes: Shapes, rank: int) -> Tensor:
    """P^ Q^T [num_params], and what travelled whole, of P^ [num_left] and Q [num_right]."""
    parts, factors = list(unflatten(q, right_shapes(shapes, rank))), unflatten(p_hat, left_shapes(shapes, rank))
    for place, factor in zip(matrices(shapes), factors, strict=True):
        parts[place] = factor @ parts[place].T
    return _joined(parts)


@op(flops=lambda x, p_hat, q, shapes, rank: x.numel())
def residual(x: Tensor, p_hat: Tensor, q: Tensor, shapes: Shapes, rank: int) -> Tensor:
    """x - `product` [num_params]: what is left of x [num_params], 0 of what travelled whole."""
    return x - product.fn(p_hat, q, shapes, rank)


@op(flops=lambda q, before, shapes, rank: before.numel())
def warm(q: Tensor, before: Tensor, shapes: Shapes, rank: int) -> Tensor:
    """Q [num_start] to start the next step from: that of q [num_right], but for columns that are 0, which keep what they were
    before [num_start]; they would stay 0 for ever."""
    parts = unflatten(q, right_shapes(shapes, rank))
    pairs = zip(matrices(shapes), unflatten(before, start_shapes(shapes, rank)), strict=True)
    return _joined([torch.where((parts[place] == 0).all(0), old, parts[place]) for place, old in pairs])


def orthonormalized(p: Tensor) -> Tensor:
    """The columns of p [n, r] by Gram and Schmidt, each made orthogonal to those before it twice, which is enough; 0 for one
    that depends on them."""
    largest = p.abs().amax()
    p = p / torch.where(largest == 0, 1, largest)  # squares of small numbers would be 0
    columns: list[Tensor] = []
    least = TOLERANCE * torch.finfo(p.dtype).eps
    for column in p.unbind(1):
        size = torch.linalg.vector_norm(column)
        for _ in range(2):
            for other in columns:
                column = column - (other * column).sum() * other
        norm = torch.linalg.vector_norm(column)
        remains = norm > least * size
        columns.append(torch.where(remains, column / torch.where(remains, norm, 1), 0))
    return torch.stack(columns, 1)


def _gram_schmidt_flops(shape: tuple[int, ...], rank: int) -> int:
    """4 n a pair of columns, twice; 5 n a column for two norms and the quotient."""
    sizes = sides(shape, rank)
    if sizes is None:
        return 0
    n, _, r = sizes
    return n * (4 * r * (r - 1) + 5 * r)
