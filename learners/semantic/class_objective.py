"""Objectives that see a minibatch by its classes: its features, and their sums Z^k' Z^k and numbers n^k.

A subclass says what it minimizes in `of`, of a `ClassBatch` and of what else it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from learners.semantic.coding_rate import class_sums


class ClassBatch(NamedTuple):
    """z: [B, d]; labels, weights: [B]; sums: Z^k' Z^k [num_classes, d, d]; counts: n^k [num_classes]."""

    model: Any
    parameters: Sequence[Tensor]
    z: Tensor
    labels: Tensor
    weights: Tensor
    sums: Tensor
    counts: Tensor


class ClassObjective:
    """See `learners.task.Objective`."""

    of: Callable[..., Tensor]
    loop = True  # see `local_step`

    def __call__(
        self, model: Any, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, weights: Tensor, *args: Tensor
    ) -> Tensor:
        z = model.representation(parameters, inputs)
        sums, counts = class_sums(z, labels, weights, model.num_classes)
        return self.of(ClassBatch(model, parameters, z, labels, weights, sums, counts), *args)
