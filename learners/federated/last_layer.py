"""The last, linear layer of models whose lower layers differ: where it is in the flat row, and whether all have one size of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from learners.models.flat import Model, num_params
from learners.protocol import Node


def sizes(node: Node) -> tuple[int, int]:
    """Numbers of the body and of the last layer of a node's model, whose last two tensors are that layer's."""
    shapes = node.task.model.shapes
    header = sum(prod(shape) for shape in shapes[-2:])
    return num_params(shapes) - header, header


def check(learner: str, shared: Model, models: Sequence[Model]) -> None:
    """Raise ValueError unless all models have a last layer of the size that the shared one has."""
    others = sorted({model.feature_dim for model in models} - {shared.feature_dim})
    if others:
        found = ", ".join(map(str, others))
        raise ValueError(
            f"representation of {shared.feature_dim} numbers (the last hidden layer), of variants {found}: {learner} shares the "
            "last layer, whose size has to be the same"
        )
