"""The five convolutional networks of federated Matryoshka representation learning.

    conv 5 x 5, 16 -> ReLU -> pool -> conv 5 x 5, maps -> ReLU -> pool -> hidden -> ReLU -> feature_dim -> ReLU -> classes

    number   maps   hidden    parameters and multiplications a sample at 3 x 32 x 32, 10 classes, feature_dim 500
    1        32     2000      2,621,558    4,825,800
    2        16     2000      1,815,142    3,385,800
    3        32     1000      1,320,558    3,525,800
    4        32      800      1,060,358    3,265,800
    5        32      500        670,058    2,875,800

2 x 2 max pooling, no padding. Yi et al., "Federated model heterogeneous Matryoshka representation learning", NeurIPS 2024 (arXiv
2406.00488), sizes as in the authors' code, where client k has number (k mod 5) + 1 and the small shared network is number 5 with a
narrower representation: feature_dim = 100 makes 465,658 parameters.

Ours: images with a side below 16 get 3 x 3 kernels with zero padding, which keeps their size, so that the same five work on digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes
from learners.models.stages import Stage, Staged
from learners.quantities import Bounds, Width

FIRST_MAPS = 16
SIZES = {1: (32, 2000), 2: (16, 2000), 3: (32, 1000), 4: (32, 800), 5: (32, 500)}
"""Maps of the second convolution and width of the first fully connected layer, by number."""

WIDE_SIDE = 16
"""From this side upwards the kernels are 5 x 5 without padding."""
MIN_SIDE = 4

Number = Annotated[int, Bounds(1, 5, "the five networks have numbers")]


class MrlCnn(Staged):
    """input_shape: (channels, height, width), sides of at least 4. number: of the network, 1 (the largest) to 5. feature_dim:
    width of the last hidden layer, the representation."""

    has_convolution = True
    narrows = True

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, number: Number = 1, feature_dim: Width = 500
    ) -> None:
        shape = tuple(input_shape)
        if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < MIN_SIDE:
            raise ValueError(f"input_shape = {shape}: needs images with sides of at least {MIN_SIDE} pixels")
        if number not in SIZES:
            raise ValueError(f"number = {number!r}: a whole number from 1 to 5")
        for key, size in (("feature_dim", feature_dim), ("num_classes", num_classes)):
            if size < 1:
                raise ValueError(f"{key} = {size}: at least 1")
        self.input_shape: tuple[int, ...] = shape
        self.num_classes = num_classes
        self.feature_dim = feature_dim
        kernel, self._padding = (5, 0) if min(shape[1:]) >= WIDE_SIDE else (3, 1)
        shrinks = kernel - 1 - 2 * self._padding
        height, width = (((side - shrinks) // 2 - shrinks) // 2 for side in shape[1:])
        maps, hidden = SIZES[number]
        self.shapes: Shapes = (
            (FIRST_MAPS, shape[0], kernel, kernel), (FIRST_MAPS,), (maps, FIRST_MAPS, kernel, kernel), (maps,),
            (hidden, maps * height * width), (hidden,), (feature_dim, hidden), (feature_dim,),
            (num_classes, feature_dim), (num_classes,),
        )  # fmt: skip
        self.stages = (Stage(2, self._convolution),) * 2 + (Stage(2, _full),) * 2

    def _convolution(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        weight, bias = parameters
        return F.max_pool2d(torch.relu(F.conv2d(h, weight, bias, padding=self._padding)), 2)


def _full(parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    return torch.relu(F.linear(h.flatten(1), *parameters))
