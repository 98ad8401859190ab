"""Encoders of 8 and 13 plain convolutions, for small images.

    vgg11_encoder    m P 2m P 4m 4m P 8m 8m P 8m 8m P
    vgg16_encoder    m m P 2m 2m P 4m 4m 4m P 8m 8m 8m P 8m 8m 8m P
    -> mean over the pixels -> projection (see `image_encoder`) -> z of length 1

A number of maps: a convolution 3 x 3 with biases, batch normalization and ReLU; P: 2 x 2 max pooling; m = 64. Simonyan and Zisserman,
"Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1, A and D, without its three linear layers. Not to
be confused with `vgg11`, a small network without statistics of batches.

As encoders of distributed maximal coding rate reduction (Tian, Ben Issaid and Bennis, arXiv 2604.18237; sizes as in its reference code),
with feature_dim = 128 at 3 x 32 x 32: 9,554,816 and 15,051,968 parameters without the head and the running statistics, 0.15 and 0.31
billion multiplications a sample. There the poolings leave one pixel. Ours: odd sides are rounded up by them, so that smaller images fit,
and what is left of larger ones is averaged. The start is ours, too.
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

MULTIPLES = (1, 2, 4, 8, 8)
"""Of m, in the five stages."""


class VggEncoder(ImageEncoder):
    """input_shape: (channels, height, width), sides of at least 4. maps: m."""

    convolutions: ClassVar[tuple[int, ...]]
    """In each of the five stages, which end with a pooling."""

    def __init__(self, input_shape: Sequence[int], num_classes: int, feature_dim: Width = 128, maps: Maps = 64) -> None:
        layers = []
        before = self.channels(input_shape)
        for multiple, num_convolutions in zip(MULTIPLES, self.convolutions, strict=True):
            for _ in range(num_convolutions):
                layers.append(Layer((multiple * maps, before, 3, 3), bias=True))
                before = multiple * maps
        layers += projection(before, feature_dim)
        super().__init__(input_shape, num_classes, feature_dim, maps, layers)

    def encode(self, layers: Iterator[Tensor], norm: Normalization, inputs: Tensor) -> Tensor:
        h = inputs
        for num_convolutions in self.convolutions:
            for _ in range(num_convolutions):
                h = F.conv2d(h, next(layers), next(layers), padding=1)
                h = torch.relu(norm(h, next(layers), next(layers)))
            h = F.max_pool2d(h, 2, ceil_mode=True)
        return projected(layers, norm, h)


class Vgg11Encoder(VggEncoder):
    """Encoder of 8 plain convolutions with batch normalization: VGG-11 for small images with a projection.

    feature_dim: d. maps: of the first stage; the others have 2, 4, 8 and 8 times as many."""

    convolutions = (1, 1, 2, 2, 2)


class Vgg16Encoder(VggEncoder):
    """Encoder of 13 plain convolutions with batch normalization: VGG-16 for small images with a projection.

    feature_dim: d. maps: of the first stage; the others have 2, 4, 8 and 8 times as many."""

    convolutions = (2, 2, 3, 3, 3)
