"""Class prototypes: means of the representations of a device's samples, class by class.

    c_j = 1 / n_j  sum_{i: y_i = j} h(x_i),   h: the model's representation [feature_dim], n_j samples of class j

A table of prototypes is [num_classes, feature_dim]; which of its rows mean something is told by counts or flags
[num_classes] beside it. Rows without a class are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from learners.deferred import Op, op
from learners.models.flat import unflatten
from learners.task import Task, weighted_cross_entropy, weighted_mean


def prototype_loss(
    model: Any,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    prototypes: Tensor,
    known: Tensor,
    prototype_weight: float,
) -> Tensor:
    """cross-entropy + prototype_weight * `prototype_distance`: the objective of FedProto.

    prototypes: [num_classes, feature_dim]; known: [num_classes], 1 where there is a prototype, else 0
    """
    z = model.representation(parameters, inputs)
    loss = weighted_cross_entropy(model.head(parameters, z), labels, weights)
    return loss + prototype_weight * prototype_distance(z, labels, weights, prototypes, known)


def prototype_distance(z: Tensor, labels: Tensor, weights: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """Mean over the batch and the dimensions of (z_b - C_{y_b})^2; samples of classes without a prototype add 0 and count.

    z: [B, feature_dim]; labels, weights: [B]; prototypes: [num_classes, feature_dim]; known: [num_classes]
    """
    return weighted_mean((z - prototypes[labels]).square().mean(-1) * known[labels], weights)


def prototype_sums(task: Task) -> Op:
    """(sums [num_classes, feature_dim], indices [B], weights [B], x) -> sums with the representations of these training
    samples added to the rows of their classes."""
    return sums_by_class(task, "prototype_sums", task.model.representation)


def sums_by_class(task: Task, name: str, of: Callable[[Sequence[Tensor], Tensor], Tensor]) -> Op:
    """(sums [num_classes, n], indices [B], weights [B], x) -> sums with `of` these training samples added to the rows of their
    classes. of: (parameters in the model's shapes, inputs) -> [B, n]; name: of the op, one for each of these functions."""
    model = task.model

    def sums(sums: Tensor, indices: Tensor, weights: Tensor, x: Tensor) -> Tensor:
        inputs, labels = task.training_samples(indices)
        z = of(unflatten(x, model.shapes), inputs)
        member = (labels.unsqueeze(-1) == torch.arange(task.num_classes)) * weights.unsqueeze(-1)  # [B, num_classes]
        return sums + member.mT @ z

    return task.op(name, lambda: Op(sums, name=name, loop=model.has_convolution))


def nearest_prototype(task: Task) -> Op:
    """A metric: ((x, prototypes, usable [num_classes]), inputs [n, ...], labels [n]) -> correct [n].

    A sample belongs to the usable class j of smallest |h(x) - C_j|^2, found as that of |C_j|^2 - 2 h(x) . C_j.
    """
    model = task.model

    def correct(value: tuple[Tensor, Tensor, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        x, prototypes, usable = value
        inputs = task.samples.prepared(inputs).reshape(-1, *model.input_shape)
        z = model.representation(unflatten(x, model.shapes), inputs)
        distances = prototypes.square().sum(-1) - 2 * z @ prototypes.mT  # [n, num_classes]
        return torch.where(usable > 0, distances, torch.inf).argmin(-1) == labels

    return task.op("nearest_prototype", lambda: Op(correct, name="nearest_prototype", loop=model.has_convolution))


@op(flops=lambda sums, counts: sums.numel())
def class_means(sums: Tensor, counts: Tensor) -> Tensor:
    """sums [num_classes, feature_dim] over counts [num_classes]; 0 where the count is. One operation a value is charged."""
    return sums / torch.where(counts > 0, counts, 1).unsqueeze(-1)


@op
def rows(table: Tensor, classes: Tensor) -> Tensor:
    """The rows `classes` (int64 [num_held]) of a table [num_classes, feature_dim], flat [num_held * feature_dim]."""
    return table[classes].flatten()


@op
def placed(values: Tensor, classes: Tensor, zeros: Tensor) -> Tensor:
    """The inverse of `rows`: a table shaped like `zeros` [num_classes, feature_dim] with these rows."""
    return zeros.index_copy(0, classes, values.reshape(len(classes), -1))


@op
def held_mask(mask: Tensor, classes: Tensor, nothing: Tensor) -> Tensor:
    """As `placed`, flat: bool [num_classes * feature_dim] of a mask of the rows that were sent. nothing: bool zeros."""
    return nothing.index_copy(0, classes, mask.reshape(len(classes), -1)).flatten()


@op
def preferred(table: Tensor, known: Tensor, other: Tensor) -> Tensor:
    """Rows of `table` where known [num_classes] is above 0, of `other` elsewhere. Both: [num_classes, feature_dim]."""
    return torch.where(known.unsqueeze(-1) > 0, table, other)


@op(loop=True, ragged=("tables", "shares"), flops=lambda previous, tables, shares: 2 * tables.numel())
def average_prototypes(previous: Tensor, tables: Tensor, shares: Tensor) -> Tensor:
    """sum_k s_kj c_kj / sum_k s_kj for every class j, previous_j where no share is above 0.

    previous: [num_classes, feature_dim]; tables: [m, num_classes, feature_dim]; shares s: [m, num_classes]. Charged are a
    product and a sum a value.
    """
    total = shares.sum(0)
    mean = (shares.unsqueeze(-1) * tables).sum(0) / torch.where(total > 0, total, 1).unsqueeze(-1)
    return torch.where(total.unsqueeze(-1) > 0, mean, previous)


@op(
    loop=True,
    ragged=("tables", "shares", "masks"),
    flops=lambda previous, tables, shares, masks: 2 * tables.numel(),
)
def average_prototypes_masked(previous: Tensor, tables: Tensor, shares: Tensor, masks: Tensor) -> Tensor:
    """As `average_prototypes`, where numbers that did not arrive, masks [m, num_classes, feature_dim] False, are those of
    `previous`."""
    return average_prototypes.fn(previous, torch.where(masks, tables, previous), shares)
