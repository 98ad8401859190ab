"""A small VGG-11 for images of up to 32 x 32 pixels.

    16 P 32 P 64 64 P 128 128 P 128 128 P -> classes

A number: a convolution 3 x 3 with biases to that many maps, and its normalization with activation; P: 2 x 2 max pooling, which
leaves 1 x 1 x 128 after the fifth. 579,786 parameters and 9.9 million multiplications a sample at 3 x 32 x 32 with 10 classes.

The arrangement is VGG-A of Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015,
table 1, with a quarter of its maps (above 128: fewer) and one linear layer instead of three: the VGG-11 of the public code of
cross-feature contrastive learning (Aketi and Roy, WACV 2024), with EvoNorm as there. That code's list of layers is known, and its number
of parameters; it follows from that that convolutions have biases and normalizations a scale and a shift a map.

Ours: odd sides are rounded up by the pooling, so that smaller images fit; `norm = "group"` with ReLU.

Start: He normal convolutions, scales 1, biases and shifts 0; the last layer Glorot normal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes, glorot_normal, he_normal
from learners.models.normalization import NormKind, norm_of
from learners.models.stages import Stage, Staged
from learners.quantities import Groups

LAYERS = ((16, True), (32, True), (64, False), (64, True), (128, False), (128, True), (128, False), (128, True))
"""Maps of each convolution, and whether a pooling follows."""
SIDES = (4, 32)


class Vgg11(Staged):
    """input_shape: (channels, height, width), sides of 4 to 32. norm: "evonorm" (in 8 groups) or "group"; groups: of the latter, a
    divisor of 16."""

    has_convolution = True
    feature_dim = LAYERS[-1][0]

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, norm: NormKind = "evonorm", groups: Groups = 2
    ) -> None:
        shape = tuple(input_shape)
        least, most = SIDES
        if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < least or max(shape[1:]) > most:
            raise ValueError(f"input_shape = {shape}: needs images with sides of {least} to {most} pixels")
        self._norm, self._activation = norm_of(norm, groups, LAYERS[0][0])
        if num_classes < 1:
            raise ValueError(f"num_classes = {num_classes}: at least 1")
        self.input_shape: tuple[int, ...] = shape
        self.num_classes = num_classes
        shapes: list[tuple[int, ...]] = []
        before = shape[0]
        for maps, _ in LAYERS:
            shapes += [(maps, before, 3, 3), (maps,), (maps,), (maps,)]
            before = maps
        self.shapes: Shapes = (*shapes, (num_classes, before), (num_classes,))
        self.stages = tuple(Stage(4, self._pooled if pooled else self._convolution) for _, pooled in LAYERS)

    def _convolution(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        kernel, bias, scale, shift = parameters
        return self._activation(self._norm(F.conv2d(h, kernel, bias, padding=1), scale, shift))

    def _pooled(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        return F.max_pool2d(self._convolution(parameters, h), 2, ceil_mode=True)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        layers = []
        for kernel, bias, scale, shift in zip(*(self.shapes[i:-2:4] for i in range(4)), strict=True):
            layers += [he_normal(rng, kernel), np.zeros(bias), np.ones(scale), np.zeros(shift)]
        layers += [glorot_normal(rng, self.shapes[-2]), np.zeros(self.shapes[-1])]
        return np.concatenate([layer.ravel() for layer in layers])
