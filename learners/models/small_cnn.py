"""The convolutional network of the federated averaging paper.

    conv 5 x 5, 32 -> ReLU -> pool -> conv 5 x 5, 64 -> ReLU -> pool -> 512 -> ReLU -> classes,   2 x 2 max pooling

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017, section 3: with
zero padding that keeps the sizes (padding = "same") it has the paper's 1,663,370 parameters on MNIST. Without padding, the
default here and the usual choice for CIFAR-10 in later federated work, it has 878,538 parameters and 7.8 million
multiplications a sample at 3 x 32 x 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes
from learners.models.stages import Stage, Staged
from learners.quantities import Maps, Width

KERNEL = 5


class SmallCnn(Staged):
    """input_shape: (channels, height, width), sides of at least 16 without padding, of at least 4 with it.
    maps: channels of the two convolutions. hidden: width of the fully connected layer, the representation.
    padding: "valid" (none) or "same" (zeros, so that a convolution keeps the size)."""

    has_convolution = True
    narrows = True

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        maps: tuple[Maps, Maps] = (32, 64),
        feature_dim: Width = 512,
        padding: Literal["valid", "same"] = "valid",
    ) -> None:
        shape = tuple(input_shape)
        if padding not in ("valid", "same"):
            raise ValueError(f"padding = {padding!r}: one of valid, same")
        least = 16 if padding == "valid" else 4
        if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < least:
            raise ValueError(f"input_shape = {shape}: needs images with sides of at least {least} pixels")
        if len(maps) != 2 or min(maps) < 1:
            raise ValueError(f"maps = {tuple(maps)}: two numbers of channels, at least 1 each")
        if feature_dim < 1:
            raise ValueError(f"feature_dim = {feature_dim}: at least 1")
        if num_classes < 1:
            raise ValueError(f"num_classes = {num_classes}: at least 1")
        self.input_shape: tuple[int, ...] = shape
        self.num_classes = num_classes
        self.feature_dim = feature_dim
        self._padding = KERNEL // 2 if padding == "same" else 0
        height, width = (self._pooled(self._pooled(side)) for side in shape[1:])
        self.shapes: Shapes = (
            (maps[0], shape[0], KERNEL, KERNEL), (maps[0],), (maps[1], maps[0], KERNEL, KERNEL), (maps[1],),
            (feature_dim, maps[1] * height * width), (feature_dim,), (num_classes, feature_dim), (num_classes,),
        )  # fmt: skip
        self.stages = (Stage(2, self._convolution), Stage(2, self._convolution), Stage(2, _full))

    def _pooled(self, side: int) -> int:
        """The side of the maps after one convolution and pooling."""
        return (side + 2 * self._padding - KERNEL + 1) // 2

    def _convolution(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        weight, bias = parameters
        return F.max_pool2d(torch.relu(F.conv2d(h, weight, bias, padding=self._padding)), 2)


def _full(parameters: Sequence[Tensor], h: Tensor) -> Tensor:
    return torch.relu(F.linear(h.flatten(1), *parameters))
