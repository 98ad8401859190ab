"""A convolutional network in the manner of LeNet-5.

Two stages of convolution, ReLU and 2 x 2 max pooling, then fully connected layers:

    conv k x k, 6 -> pool -> conv k x k, 16 -> pool -> 120 -> 84 -> classes

After LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998, section II. Differences:
zero padding keeps the size in both convolutions, ReLU and max pooling replace the sigmoids and the trained averages,
every map of the second stage sees every map of the first, and the last layer is linear. That lets the sizes follow from
the input: 8 x 8 digits (k = 3) as well as 28 x 28 or 32 x 32 images (k = 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes
from learners.models.stages import Stage, Staged
from learners.quantities import Maps, Width

MIN_SIDE = 4
"""Two poolings halve the sides twice; at least one pixel must be left."""

WIDE_SIDE = 16
"""From this side upwards the kernels are 5 x 5, below 3 x 3."""


class LeNet(Staged):
    """input_shape: (channels, height, width), sides of at least 4. hidden: widths of the fully connected layers.
    maps: channels of the two convolutions."""

    has_convolution = True
    narrows = True

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[Width] = (120, 84),
        maps: tuple[Maps, Maps] = (6, 16),
    ) -> None:
        if len(input_shape) != 3:
            raise ValueError(f"input_shape = {tuple(input_shape)}: needs images (channels, height, width)")
        channels, height, width = input_shape
        if channels < 1 or min(height, width) < MIN_SIDE:
            raise ValueError(
                f"input_shape = {tuple(input_shape)}: needs images with sides of at least {MIN_SIDE} pixels"
            )
        for key, sizes in (("hidden", hidden), ("maps", maps), ("num_classes", (num_classes,))):
            if any(size < 1 for size in sizes):
                raise ValueError(f"{key} = {tuple(sizes)}: at least 1 each")
        k = 5 if min(height, width) >= WIDE_SIDE else 3
        self.input_shape: tuple[int, ...] = (channels, height, width)
        self.num_classes = num_classes
        widths = (maps[1] * (height // 4) * (width // 4), *hidden, num_classes)
        shapes: list[tuple[int, ...]] = [(maps[0], channels, k, k), (maps[0],), (maps[1], maps[0], k, k), (maps[1],)]
        for before, after in zip(widths, widths[1:], strict=False):
            shapes += [(after, before), (after,)]
        self.shapes: Shapes = tuple(shapes)
        self.feature_dim = widths[-2]
        self._padding = k // 2
        self.stages = (Stage(2, self._convolution),) * 2 + (Stage(2, _full),) * len(hidden)

    def _convolution(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        weight, bias = parameters
        return F.max_pool2d(torch.relu(F.conv2d(h, weight, bias, padding=self._padding)), 2)


def _full(parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    return torch.relu(F.linear(h.flatten(1), *parameters))
