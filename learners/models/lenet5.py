"""LeNet-5 in the form of today's textbooks, for images of 28 x 28 or 32 x 32 pixels.

    conv 5 x 5, 6 -> ReLU -> pool -> conv 5 x 5, 16 -> ReLU -> pool -> 120 -> ReLU -> 84 -> ReLU -> classes

The first convolution pads images of 28 x 28 with two pixels of zeros, which makes them the 32 x 32 of the original; the
second pads nothing, so that the pooled maps are 16 x 5 x 5 in both cases. 61,706 parameters and 416,520 multiplications
a sample at 1 x 28 x 28 with 10 classes; 62,006 parameters at 3 x 32 x 32.

After LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998, section II, where the
activations are scaled tangents, the pooling is a trained average, the second convolution is not fully connected
(60,000 parameters in all) and the last layer consists of radial basis functions. `lenet` is the same idea for other sizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes
from learners.models.stages import Stage, Staged

PADDING = {28: 2, 32: 0}
"""Of the first convolution, by the side of the image."""


class LeNet5(Staged):
    """input_shape: (channels, 28, 28) or (channels, 32, 32)."""

    has_convolution = True
    narrows = True
    feature_dim = 84

    def __init__(self, input_shape: Sequence[int], num_classes: int) -> None:
        shape = tuple(input_shape)
        if len(shape) != 3 or shape[0] < 1 or shape[1] != shape[2] or shape[1] not in PADDING:
            raise ValueError(f"input_shape = {shape}: needs images of 28 x 28 or 32 x 32 pixels")
        if num_classes < 1:
            raise ValueError(f"num_classes = {num_classes}: at least 1")
        self.input_shape: tuple[int, ...] = shape
        self.num_classes = num_classes
        self._padding = PADDING[shape[1]]
        self.shapes: Shapes = (
            (6, shape[0], 5, 5), (6,), (16, 6, 5, 5), (16,),
            (120, 400), (120,), (84, 120), (84,), (num_classes, 84), (num_classes,),
        )  # fmt: skip
        self.stages = (Stage(2, self._padded), Stage(2, _pooled), Stage(2, _full), Stage(2, _full))

    def _padded(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        weight, bias = parameters
        return F.max_pool2d(torch.relu(F.conv2d(h, weight, bias, padding=self._padding)), 2)


def _pooled(parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    weight, bias = parameters
    return F.max_pool2d(torch.relu(F.conv2d(h, weight, bias)), 2)


def _full(parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    return torch.relu(F.linear(h.flatten(1), *parameters))
