"""What the convolutional encoders have in common: a list of layers, from which tensors, running statistics and the start follow.

Behind the maps of the larger ones stands a projection of the n averaged maps h:

    e = B relu(norm(A h)) + c              A: [n, n], B: [feature_dim, n], c: [feature_dim]

Start: He normal weights, but Glorot normal in the layer that makes the representation and in the head; scales 1, biases and shifts 0;
running means 0, running variances 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.batch_norm import Normalization, initial_statistics
from learners.models.encoder import Encoder
from learners.models.flat import Shapes, glorot_normal, he_normal


class Layer(NamedTuple):
    """A weight [out, in, ...], biases [out] if it has them, then scales and shifts [out] if its outputs are normalized."""

    weight: tuple[int, ...]
    bias: bool = False
    norm: bool = True

    @property
    def shapes(self) -> Shapes:
        return (self.weight, *[self.weight[:1]] * (self.bias + 2 * self.norm))


class ImageEncoder(Encoder):
    """sides: of the images, the smallest and the largest (None: any)."""

    has_convolution = True
    sides: ClassVar[tuple[int, int | None]] = (4, None)

    def __init__(
        self, input_shape: Sequence[int], num_classes: int, feature_dim: int, maps: int, layers: Sequence[Layer]
    ) -> None:
        for key, number in (("num_classes", num_classes), ("feature_dim", feature_dim), ("maps", maps)):
            if number < 1:
                raise ValueError(f"{key} = {number}: at least 1")
        self.input_shape: tuple[int, ...] = tuple(input_shape)
        self.num_classes = num_classes
        self.feature_dim = feature_dim
        self._layers = tuple(layers)
        statistics = [layer.weight[:1] for layer in layers if layer.norm for _ in ("mean", "var")]
        self.num_buffers = len(statistics)
        tensors = [shape for layer in layers for shape in layer.shapes]
        self.shapes: Shapes = (*statistics, *tensors, (num_classes, feature_dim), (num_classes,))

    @classmethod
    def channels(cls, input_shape: Sequence[int]) -> int:
        """Of the images. Raises ValueError for what are none of these sides."""
        least, most = cls.sides
        shape = tuple(input_shape)
        if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < least or (most is not None and max(shape[1:]) > most):
            sides = f"of at least {least}" if most is None else f"of {least} to {most}"
            raise ValueError(f"input_shape = {shape}: needs images with sides {sides} pixels")
        return shape[0]

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        tensors = initial_statistics(self.shapes[: self.num_buffers])
        for layer in self._layers:
            out, *inner = layer.weight
            last = layer is self._layers[-1]
            tensors.append(glorot_normal(rng, (out, prod(inner))) if last else he_normal(rng, layer.weight))
            tensors += [np.zeros(out)] * layer.bias + [np.ones(out), np.zeros(out)] * layer.norm
        tensors += [glorot_normal(rng, self.shapes[-2]), np.zeros(self.shapes[-1])]
        return np.concatenate([tensor.ravel() for tensor in tensors])


def projection(width: int, feature_dim: int) -> tuple[Layer, Layer]:
    """The last two layers, of `projected`."""
    return Layer((width, width)), Layer((feature_dim, width), bias=True, norm=False)


def projected(layers: Iterator[Tensor], norm: Normalization, h: Tensor) -> Tensor:
    """e [batch, feature_dim] of the last maps h [batch, width, height, width], averaged over their pixels."""
    hidden = torch.relu(norm(F.linear(h.mean((-2, -1)), next(layers)), next(layers), next(layers)))
    return F.linear(hidden, next(layers), next(layers))
