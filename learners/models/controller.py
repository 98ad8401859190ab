"""Models that decide for objects: one score for each of the K objects of a control problem, for any K.

A sample is [K, width], objects in rows and presence in the last column: 1 for an object, 0 for padding, which is behind the objects and
all zeros.

    "matrix"    width K + 1: entry kj belongs to the gain from transmitter j to receiver k
    "vector"    width 2: entry k belongs to object k

What a score means (a sigmoid's power, a share of a budget), the problem says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from learners.models.flat import Shapes

PROBLEMS = {
    "matrix": ("[K, K + 1]", "interference_channel, link_activation, observed_links, recorded_channels"),
    "vector": ("[K, 2]", "parallel_channels"),
}
"""By what a model controls: a sample's shape, and the data sets."""


class Controller:
    """A base of such models (`flat.Model` without classes). input_shape: (K_max, width) of padded samples; num_classes: 1, decisions an
    object. max_objects: K_max, which only matters where a model says so.

    The representation of a sample are its scores, since there is no last layer that a whole sample would go through."""

    controls: str
    """A key of `PROBLEMS`."""

    has_convolution = False
    num_classes = 1
    shapes: Shapes

    def __init__(self, input_shape: Sequence[int], num_classes: int) -> None:
        shape = tuple(input_shape)
        self.max_objects = checked_objects(type(self).__name__, shape, num_classes, (self.controls,))
        self.input_shape: tuple[int, ...] = shape
        self.feature_dim = self.max_objects

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.forward(parameters, inputs)

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        return z

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """Scores [batch, K] of inputs [batch, K, width]; those of padding are finite and mean nothing."""
        raise NotImplementedError

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


def checked_objects(model: str, shape: tuple[int, ...], num_classes: int, kinds: Sequence[str]) -> int:
    """K_max of a sample's shape. kinds: of `PROBLEMS`. Raises ValueError for a shape that is of none of them."""
    objects = shape[0] if shape else 0
    widths = {"matrix": objects + 1, "vector": 2}
    if objects < 1 or num_classes != 1 or shape not in [(objects, widths[kind]) for kind in kinds]:
        wanted = " or ".join(f"{PROBLEMS[kind][0]} a sample (data sets {PROBLEMS[kind][1]})" for kind in kinds)
        raise ValueError(
            f"input_shape = {shape} with {num_classes} classes: {model} decides for objects of a control problem, {wanted}"
        )
    return objects


def checked_widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Raise ValueError for a layer without units."""
    if any(width < 1 for width in widths):
        raise ValueError(f"{name} = {tuple(widths)}: every layer needs at least 1 unit")
    return tuple(widths)


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, drawn again where they are beyond +- 2."""
    values = rng.standard_normal(shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()))
    return values
