"""Class second moments of a device as a message: from all its samples to packed numbers, and back to matrices.

    V^k = (1 / n^k) sum of z z' over the samples of class k, with the model in evaluation mode      [d, d]
    message: the matrices of the classes held, one behind the other, d (d + 1) / 2 numbers each ("triangle": row by row from the
    diagonal on) or d^2 ("full")

A receiver symmetrizes full matrices; `projected` makes the nearest second moment of what quantization or missing parts have
spoiled: negative eigenvalues become 0, then the trace 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from learners.deferred import Op, op
from learners.models.flat import unflatten
from learners.semantic.coding_rate import class_sums, spared_flops
from learners.semantic.coding_rate import moments as moments_of
from learners.task import Task

MatrixForm = Literal["triangle", "full"]


@dataclass(frozen=True)
class Cells:
    """Which numbers of a matrix travel. cells: int64 [c] places in the flat matrix [d * d]; places: int64 [d * d] where among them
    each number of the matrix stands."""

    cells: Tensor
    places: Tensor


@cache
def cells_of(form: MatrixForm, d: int) -> Cells:
    if form == "full":
        everything = torch.arange(d * d)
        return Cells(everything, everything)
    rows, columns = np.triu_indices(d)
    places = np.zeros((d, d), dtype=np.int64)
    places[rows, columns] = places[columns, rows] = np.arange(len(rows))
    return Cells(torch.from_numpy(rows * d + columns), torch.from_numpy(places.ravel()))


def second_moment_sums(task: Task) -> Op:
    """(sums [num_classes, d, d], indices [B], weights [B], x) -> sums with z z' of these training samples added, each to its
    class."""
    model, num_classes = task.model, task.num_classes

    def second_moment_sums(sums: Tensor, indices: Tensor, weights: Tensor, x: Tensor) -> Tensor:
        inputs, labels = task.training_samples(indices)
        z = model.representation(unflatten(x, model.shapes), inputs)
        return sums + class_sums(z, labels, weights, num_classes)[0]

    def flops(sums: Tensor, indices: Tensor, weights: Tensor, x: Tensor) -> int:
        return -spared_flops(indices.shape[0], num_classes, sums.shape[-1])

    return task.op(
        "second_moment_sums",
        lambda: Op(second_moment_sums, name="second_moment_sums", loop=True, flops=flops),
    )


@op(flops=lambda sums, counts, held, cells: held.shape[0] * cells.shape[0])
def packed(sums: Tensor, counts: Tensor, held: Tensor, cells: Tensor) -> Tensor:
    """The message [num_held * c] of sums [num_classes, d, d] over counts [num_classes]. held: int64 [num_held]; cells: [c]. One
    operation a number is charged."""
    return moments_of(sums, counts)[held].flatten(1)[:, cells].flatten()


@op(flops=lambda last, known, values, mask: last.numel())
def merged(last: Tensor, known: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What a receiver holds of a sender, and which of it has ever come, after values of which those of the mask arrived. All: [n], known
    and mask bool."""
    return torch.where(mask, values, last), known | mask


@op(flops=lambda values, known, held, places, zeros: held.shape[0] * places.shape[0])
def unpacked(values: Tensor, known: Tensor, held: Tensor, places: Tensor, zeros: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric matrices [num_classes, d, d] of a message [num_held * c], and 1 for the classes of which every number is known
    (bool [num_held * c]), else 0, [num_classes]. zeros: [num_classes, d, d]."""
    matrices = values.view(len(held), -1)[:, places].view(-1, *zeros.shape[1:])
    whole = known.view(len(held), -1).all(1).to(values.dtype)
    flags = zeros[:, 0, 0].index_copy(0, held, whole)
    return zeros.index_copy(0, held, (matrices + matrices.mT) / 2) * flags[:, None, None], flags


@op(flops=lambda v, flags: 18 * v.shape[0] * v.shape[-1] ** 3)
def projected(v: Tensor, flags: Tensor) -> Tensor:
    """Symmetric v [num_classes, d, d] without negative eigenvalues and with trace 1, zeros where flags [num_classes] are 0; without
    any positive eigenvalue, the isotropic one. Some 9 d^3 multiplications and additions are charged for the eigenvalues of a
    matrix. What is not finite stays so."""
    eye = torch.eye(v.shape[-1], dtype=v.dtype)
    finite = torch.isfinite(v).all(-1, keepdim=True).all(-2, keepdim=True)
    eigenvalues, vectors = torch.linalg.eigh(torch.where(finite, v, eye))
    clipped = eigenvalues.clamp(min=0)
    trace = clipped.sum(-1, keepdim=True)
    shares = torch.where(trace > 0, clipped / torch.where(trace > 0, trace, 1), 1 / v.shape[-1])
    found = (vectors * shares.unsqueeze(-2)) @ vectors.mT
    return torch.where(finite, found, torch.nan) * flags[:, None, None]
