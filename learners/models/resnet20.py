"""ResNet-20 for small images, with group normalization or EvoNorm.

    conv 3 x 3, 16 -> 3 blocks of 16 maps -> 3 blocks of 32, the first with stride 2 -> 3 blocks of 64, likewise
    -> mean over the pixels -> classes

    block:  h <- relu(norm(conv(relu(norm(conv(h))))) + shortcut(h)),   convolutions 3 x 3 without biases

He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2. The shortcut is the identity, and a
normalized 1 x 1 convolution where the number of maps changes (their option B; they used zero-padded identities, option
A, for CIFAR-10). 272,474 parameters and 40.8 million multiplications a sample at 3 x 32 x 32 with 10 classes (269,722
with option A).

Group normalization (Wu and He, ECCV 2018) instead of batch normalization, see `normalization`. Two groups a layer, as Reddi et al.,
"Adaptive federated optimization", ICLR 2021.

With norm = "evonorm" (Aketi and Roy, WACV 2024, train it so) all normalizations are EvoNorm in 8 groups, and there is no ReLU: each is an
activation, too. Of the paper's code is known that no activation follows an EvoNorm; that none follows the sum with the
shortcut either is our reading.

Start: He normal convolutions, scales 1, shifts 0; the last layer Glorot normal, its biases 0.
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

STAGES = (16, 32, 64)
BLOCKS = 3
MIN_SIDE = 4


class ResNet20(Staged):
    """input_shape: (channels, height, width), sides of at least 4. groups: of norm = "group", a divisor of 16."""

    has_convolution = True
    feature_dim = STAGES[-1]

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, groups: Groups = 2, norm: NormKind = "group"
    ) -> None:
        shape = tuple(input_shape)
        if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < MIN_SIDE:
            raise ValueError(f"input_shape = {shape}: needs images with sides of at least {MIN_SIDE} pixels")
        self._norm, self._activation = norm_of(norm, groups, STAGES[0])
        if num_classes < 1:
            raise ValueError(f"num_classes = {num_classes}: at least 1")
        self.input_shape: tuple[int, ...] = shape
        self.num_classes = num_classes
        shapes: list[tuple[int, ...]] = _normalized(STAGES[0], shape[0], 3)
        stages = [Stage(3, self._first)]
        before = STAGES[0]
        for maps in STAGES:
            for _ in range(BLOCKS):
                shapes += _normalized(maps, before, 3) + _normalized(maps, maps, 3)
                stages.append(Stage(6, self._block) if maps == before else Stage(9, self._widening_block))
                if maps != before:
                    shapes += _normalized(maps, before, 1)
                before = maps
        self.stages = tuple(stages)
        self.shapes: Shapes = (*shapes, (num_classes, before), (num_classes,))

    def flattened(self, h: Tensor) -> Tensor:
        """The last maps, averaged over the pixels."""
        return h.mean((-2, -1))

    def _first(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        return self._activation(self._layer(parameters, h))

    def _block(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        inner = self._activation(self._layer(parameters[:3], h))
        return self._activation(self._layer(parameters[3:], inner) + h)

    def _widening_block(self, parameters: Sequence[Tensor], h: Tensor) -> Tensor:
        inner = self._activation(self._layer(parameters[:3], h, 2))
        return self._activation(self._layer(parameters[3:6], inner) + self._layer(parameters[6:], h, 2))

    def _layer(self, parameters: Sequence[Tensor], h: Tensor, stride: int = 1) -> Tensor:
        """A convolution and its normalization."""
        kernel, scale, shift = parameters
        h = F.conv2d(h, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return self._norm(h, scale, shift)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        layers = []
        for kernel, scale, shift in zip(*(self.shapes[i:-2:3] for i in range(3)), strict=True):
            layers += [he_normal(rng, kernel), np.ones(scale), np.zeros(shift)]
        layers += [glorot_normal(rng, self.shapes[-2]), np.zeros(self.shapes[-1])]
        return np.concatenate([layer.ravel() for layer in layers])


def _normalized(maps: int, before: int, kernel: int) -> list[tuple[int, ...]]:
    """Shapes of a convolution without biases and of its normalization's scales and shifts."""
    return [(maps, before, kernel, kernel), (maps,), (maps,)]
