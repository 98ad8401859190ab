"""Updates of a model compressed matrix by matrix: singular value decomposition, cut where enough of the energy is kept.

    D = U diag(s) V,   r the smallest with  sum_{i <= r} s_i^2 > T sum_i s_i^2,   r = all of them where none is enough
    sent: 16 bits that say r, U[:, :r], s[:r], V[:r], r (m + n + 1) numbers of a matrix [m, n]

A matrix of zeros has r = 0; one with a number that is not finite has no decomposition and full rank. One for which r (m + n + 1) numbers are no fewer than its m n goes as it is, 32 m n bits, and so do vectors
(biases). Kernels of convolutions [out, in, height, width] are matrices [out, in height width].

Wu et al., "Communication-efficient federated learning via knowledge distillation", Nature Communications 13 (2022), and its code; there
the search ends before the full rank and finds r = 0 for a flat spectrum, which loses the update, and everything goes as factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from learners.deferred import op
from learners.models.flat import Shapes, flatten, unflatten

BITS = 32
RANK_BITS = 16


def ranks_of(singular_values: Tensor, energy: float | Tensor) -> Tensor:
    """r, int64 []. singular_values: s [min(m, n)], descending; energy: T."""
    squares = singular_values.double().square()  # in single precision those of small updates are 0
    before = squares.cumsum(0) - squares
    return ((before <= energy * squares.sum()) & (squares > 0)).sum()


def _truncation_flops(x: Tensor, energy: Tensor, shapes: Shapes) -> int:
    """14 m n^2 + 8 n^3 of a thin decomposition with m >= n (Golub and Van Loan, "Matrix computations", section 8.6), and 2 m n^2 of the
    product."""
    sizes = [sorted(matrix_of(shape)) for shape in shapes if len(shape) > 1]
    return sum(16 * m * n * n + 8 * n**3 for n, m in sizes)


@op(loop=True, flops=_truncation_flops)
def truncated(x: Tensor, energy: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
    """x as the receiver will hold it, and r of each of its matrices, int64. x: [num_params], tensors of `shapes`; energy: T, a scalar."""
    parts, ranks = [], []
    for part in unflatten(x, shapes):
        if part.ndim == 1:
            parts.append(part)
            continue
        matrix = part.reshape(matrix_of(tuple(part.shape)))
        finite = matrix.isfinite().all()
        u, s, v = torch.linalg.svd(torch.where(finite, matrix, 0), full_matrices=False)
        rank = torch.where(finite, ranks_of(s, energy), len(s))
        kept = torch.where(torch.arange(len(s)) < rank, s, 0)
        as_it_is = rank * (u.shape[0] + v.shape[1] + 1) >= part.numel()
        parts.append(torch.where(as_it_is, part, ((u * kept) @ v).reshape(part.shape)))
        ranks.append(rank)
    return flatten(parts), torch.stack(ranks)


def num_bits(shapes: Shapes, ranks: Sequence[int] | None) -> int:
    """Exact length of the message. ranks: of the matrices among `shapes`; None: the longest that it can be."""
    matrices = [matrix_of(shape) for shape in shapes if len(shape) > 1]
    numbers = sum(prod(shape) for shape in shapes if len(shape) == 1)
    ranks = [min(matrix) for matrix in matrices] if ranks is None else ranks
    numbers += sum(min(r * (m + n + 1), m * n) for (m, n), r in zip(matrices, ranks, strict=True))
    return BITS * numbers + RANK_BITS * len(matrices)


@dataclass(frozen=True)
class Message:
    """The format of one message: tensor after tensor, of a matrix first r in 16 bits; numbers row by row, in single precision.
    shapes: of the model. ranks: r of its matrices; None in an estimate."""

    shapes: Shapes
    ranks: tuple[int, ...] | None

    @property
    def num_bits(self) -> int:
        return num_bits(self.shapes, self.ranks)

    def encode(self, x: Tensor) -> bytes:
        """x [num_params] as the receiver holds it, whose factors have these ranks. Raises ValueError for an estimate."""
        if self.ranks is None:
            raise ValueError("ranks = None: an estimate has no bytes")
        ranks, pieces = iter(self.ranks), []
        for part in unflatten(x.double(), self.shapes):
            if part.ndim == 1:
                pieces.append(_numbers(part))
                continue
            rank, (m, n) = next(ranks), matrix_of(tuple(part.shape))
            pieces.append(rank.to_bytes(RANK_BITS // 8, "little"))
            if rank * (m + n + 1) >= m * n:
                pieces.append(_numbers(part))
            else:
                u, s, v = torch.linalg.svd(part.reshape(m, n), full_matrices=False)
                pieces += [_numbers(u[:, :rank]), _numbers(s[:rank]), _numbers(v[:rank])]
        return b"".join(pieces)

    @staticmethod
    def decode(data: bytes, shapes: Shapes) -> tuple[Tensor, tuple[int, ...]]:
        """The inverse of `encode`: x float32 [num_params] and the ranks. Raises ValueError for what is no such message."""
        rest, parts, ranks = memoryview(data), [], []

        def numbers(count: int) -> Tensor:
            nonlocal rest
            found, rest = np.frombuffer(rest[: count * BITS // 8], dtype="<f4"), rest[count * BITS // 8 :]
            if len(found) < count:
                raise ValueError(f"{len(data)} bytes: the message ends before its numbers do")
            return torch.tensor(found)

        for shape in shapes:
            if len(shape) == 1:
                parts.append(numbers(shape[0]))
                continue
            m, n = matrix_of(shape)
            rank, rest = int.from_bytes(rest[: RANK_BITS // 8], "little"), rest[RANK_BITS // 8 :]
            ranks.append(rank)
            if rank * (m + n + 1) >= m * n:
                parts.append(numbers(m * n))
            else:
                u, s, v = numbers(m * rank).view(m, rank), numbers(rank), numbers(rank * n).view(rank, n)
                parts.append(((u * s) @ v).flatten())
        if len(rest):
            raise ValueError(f"{len(data)} bytes: {len(rest)} behind the last number")
        return torch.cat(parts), tuple(ranks)


def _numbers(values: Tensor) -> bytes:
    return values.contiguous().numpy().astype("<f4").tobytes()


def matrix_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """[m, n] of a tensor of more than one dimension."""
    return shape[0], prod(shape[1:])
