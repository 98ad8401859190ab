"""Multilayer perceptron: linear layers with ReLU between them.

    h_0 = x,   h_l = max(0, W_l h_(l-1) + b_l),   logits = W_L h_(L-1) + b_L

Start: He normal in hidden layers, Glorot normal in the last, biases zero (see `flat.initial_layers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes
from learners.models.stages import Stage, Staged
from learners.quantities import Width


class Mlp(Staged):
    """input_shape: shape of one sample, flattened at the input. hidden: widths of the hidden layers (none: a linear
    model).

    An input of 64 numbers, hidden = [64] and 10 classes make 4,810 parameters.
    """

    has_convolution = False
    narrows = True

    def __init__(self, input_shape: Sequence[int], num_classes: int, hidden: Sequence[Width] = (64,)) -> None:
        widths = (prod(input_shape), *hidden, num_classes)
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden = {tuple(hidden)}: every layer needs at least 1 unit")
        if min(widths[0], num_classes) < 1:
            raise ValueError(f"input_shape = {tuple(input_shape)}: needs at least 1 number and 1 class")
        self.input_shape: tuple[int, ...] = (widths[0],)
        self.num_classes = num_classes
        self.feature_dim = widths[-2]
        layers = [((after, before), (after,)) for before, after in zip(widths, widths[1:], strict=False)]
        self.shapes: Shapes = tuple(shape for layer in layers for shape in layer)
        self.stages = (Stage(2, _hidden),) * len(hidden)


def _hidden(parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    return torch.relu(F.linear(h, *parameters))
