"""Encoder for digits: linear layers with biases and ReLU between them, and an output of length 1.

    h_0 = x,   h_l = max(0, W_l h_(l-1) + b_l),   e = W_L h_(L-1) + b_L,   z = e / |e|

The networks that distributed maximal coding rate reduction is checked with here, 64-h-..-h-32. They start as linear layers do in torch
(`flat.uniform_layers`): its check values name no start, but are met with this one, and not with He's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.batch_norm import Normalization
from learners.models.encoder import Encoder
from learners.models.flat import Shapes, uniform_layers
from learners.quantities import Width


class BiasMlp(Encoder):
    """input_shape: shape of one sample, flattened at the input. hidden: widths of the hidden layers (none: a linear encoder).

    An input of 64 numbers, hidden = [128] and feature_dim = 32 make 12,448 parameters without the head.
    """

    has_convolution = False

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, hidden: Sequence[Width] = (128,), feature_dim: Width = 32
    ) -> None:
        if any(width < 1 for width in hidden):
            raise ValueError(f"hidden = {tuple(hidden)}: every layer needs at least 1 unit")
        if feature_dim < 1:
            raise ValueError(f"feature_dim = {feature_dim}: at least 1")
        widths = (prod(input_shape), *hidden, feature_dim, num_classes)
        if min(widths) < 1:
            raise ValueError(f"input_shape = {tuple(input_shape)}: needs at least 1 number and 1 class")
        self.input_shape: tuple[int, ...] = (widths[0],)
        self.num_classes = num_classes
        self.feature_dim = feature_dim
        self._num_hidden = len(hidden)
        layers = [((after, before), (after,)) for before, after in zip(widths, widths[1:], strict=False)]
        self.shapes: Shapes = tuple(shape for layer in layers for shape in layer)

    def encode(self, layers: Iterator[Tensor], norm: Normalization, inputs: Tensor) -> Tensor:
        h = inputs
        for _ in range(self._num_hidden):
            h = torch.relu(F.linear(h, next(layers), next(layers)))
        return F.linear(h, next(layers), next(layers))

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return uniform_layers(rng, self.shapes)
