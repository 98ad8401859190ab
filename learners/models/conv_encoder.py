"""Encoder of four convolutions without biases, for MNIST.

    conv 4 x 4, m -> conv 4 x 4, 2 m -> conv 4 x 4, 4 m, each with stride 2 and padding 1 -> conv 4 x 4, d, on the 4 x 4 pixels left
    -> z of length 1

m = 64; leaky ReLU (slope 0.2) after each but the last, behind batch normalization after the second and the third. 1,181,440 parameters
without the head and the running statistics, and 18 million multiplications a sample, for one channel and d = 128.

The MNIST encoder of distributed maximal coding rate reduction (Tian, Ben Issaid and Bennis, arXiv 2604.18237; layers as in its reference
code), which takes images resized to 32 x 32. Ours: images are padded with zeros instead, all around, to squares of 32 x 32, or of 16 x 16
or 8 x 8 if they fit; the first two or the first one of the strided convolutions then do. Digits of 8 x 8 thus see two convolutions and
no normalization. The start is ours, too, see `image_encoder`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from learners.models.batch_norm import Normalization
from learners.models.image_encoder import ImageEncoder, Layer
from learners.quantities import Maps, Width

SLOPE = 0.2
KERNEL = 4
SQUARES = (8, 16, 32)
"""Sides of the padded images; each doubling takes one more strided convolution."""


class ConvEncoder(ImageEncoder):
    """input_shape: (channels, height, width), sides of 4 to 32. maps: m."""

    sides = (4, SQUARES[-1])

    def __init__(self, input_shape: Sequence[int], num_classes: int, feature_dim: Width = 128, maps: Maps = 64) -> None:
        before = self.channels(input_shape)
        height, width = input_shape[1:]
        side = next(side for side in SQUARES if side >= max(height, width))
        left, top = (side - width) // 2, (side - height) // 2
        self._padding = (left, side - width - left, top, side - height - top)
        self._num_strided = SQUARES.index(side) + 1
        layers = []
        for i in range(self._num_strided):
            layers.append(Layer((maps * 2**i, before, KERNEL, KERNEL), norm=i > 0))
            before = maps * 2**i
        layers.append(Layer((feature_dim, before, KERNEL, KERNEL), norm=False))
        super().__init__(input_shape, num_classes, feature_dim, maps, layers)

    def encode(self, layers: Iterator[Tensor], norm: Normalization, inputs: Tensor) -> Tensor:
        h = F.pad(inputs, self._padding)
        for i in range(self._num_strided):
            h = F.conv2d(h, next(layers), stride=2, padding=1)
            h = F.leaky_relu(norm(h, next(layers), next(layers)) if i else h, SLOPE)
        return F.conv2d(h, next(layers)).flatten(1)
