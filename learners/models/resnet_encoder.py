"""Encoders of 18 and 34 layers with residual connections, for small images.

    conv 3 x 3, m -> blocks of m maps -> of 2 m, the first with stride 2 -> of 4 m, likewise -> of 8 m, likewise
    -> mean over the pixels -> projection (see `image_encoder`) -> z of length 1

    block:  h <- relu(norm(conv(relu(norm(conv(h))))) + shortcut(h)),   convolutions 3 x 3 without biases

with m = 64 maps, batch normalization, and 2, 2, 2, 2 or 3, 4, 6, 3 blocks. He et al., "Deep residual learning for image recognition",
CVPR 2016, table 1; the first layer is 3 x 3 without pooling, as for small images in section 4.2. The shortcut is the identity, and a
normalized 1 x 1 convolution where the size changes.

As encoders of distributed maximal coding rate reduction (Tian, Ben Issaid and Bennis, arXiv 2604.18237; sizes as in its reference code),
with feature_dim = 128 at 3 x 32 x 32: 11,497,664 and 21,605,824 parameters without the head and the running statistics, 0.56 and 1.16
billion multiplications a sample. The start is ours, see `image_encoder`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.batch_norm import Normalization
from learners.models.image_encoder import ImageEncoder, Layer, projected, projection
from learners.quantities import Maps, Width


class ResNetEncoder(ImageEncoder):
    """input_shape: (channels, height, width), sides of at least 4. maps: m."""

    blocks: ClassVar[tuple[int, ...]]
    """In each of the four stages."""

    def __init__(self, input_shape: Sequence[int], num_classes: int, feature_dim: Width = 128, maps: Maps = 64) -> None:
        layers = [Layer((maps, self.channels(input_shape), 3, 3))]
        self._strides: list[int] = []
        before = maps
        for stage, num_blocks in enumerate(self.blocks):
            width = maps * 2**stage
            for _ in range(num_blocks):
                layers += [Layer((width, before, 3, 3)), Layer((width, width, 3, 3))]
                if before != width:
                    layers.append(Layer((width, before, 1, 1)))
                self._strides.append(1 if before == width else 2)
                before = width
        layers += projection(before, feature_dim)
        super().__init__(input_shape, num_classes, feature_dim, maps, layers)

    def encode(self, layers: Iterator[Tensor], norm: Normalization, inputs: Tensor) -> Tensor:
        def convolved(h: Tensor, stride: int) -> Tensor:
            kernel = next(layers)
            h = F.conv2d(h, kernel, stride=stride, padding=kernel.shape[-1] // 2)
            return norm(h, next(layers), next(layers))

        h = torch.relu(convolved(inputs, 1))
        for stride in self._strides:
            inner = convolved(torch.relu(convolved(h, stride)), 1)
            h = torch.relu(inner + (h if stride == 1 else convolved(h, stride)))
        return projected(layers, norm, h)


class ResNet18(ResNetEncoder):
    """Encoder of 18 layers with residual connections and batch normalization: ResNet-18 for small images with a projection.

    feature_dim: d. maps: of the first stage; the others have 2, 4 and 8 times as many."""

    blocks = (2, 2, 2, 2)


class ResNet34(ResNetEncoder):
    """Encoder of 34 layers with residual connections and batch normalization: ResNet-34 for small images with a projection.

    feature_dim: d. maps: of the first stage; the others have 2, 4 and 8 times as many."""

    blocks = (3, 4, 6, 3)
