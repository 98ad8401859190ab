"""Flat parameters: a model's tensors as one vector, and the interface of a model.

The vector concatenates the tensors of `shapes` in order, each in row-major order. A device's model is one row of
`[num_devices, num_params]`, so that many devices are one batched tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Shapes = tuple[tuple[int, ...], ...]


class Model(Protocol):
    """A model in functional form: forward = head of representation. `parameters` are always tensors of `shapes`, all of
    them.

    input_shape: of one sample as `representation` takes it. feature_dim: numbers in the representation of one sample,
    what the last layer sees. has_convolution: its ops run one device at a time, since a CPU has no fast convolution with
    per-device weights."""

    input_shape: tuple[int, ...]
    num_classes: int
    feature_dim: int
    shapes: Shapes
    has_convolution: bool

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """z [batch, feature_dim] of inputs [batch, *input_shape]."""

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        """Logits [batch, num_classes] of representations z [batch, feature_dim]: the last, linear layer."""

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """Logits [batch, num_classes] of inputs [batch, *input_shape]."""

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """Initial flat parameters, float64 [num_params]."""


def num_params(shapes: Shapes) -> int:
    """Length of the flat vector."""
    return sum(prod(shape) for shape in shapes)


def unflatten(vector: Tensor, shapes: Shapes) -> tuple[Tensor, ...]:
    """Views of `vector` [num_params] in the given shapes."""
    pieces = vector.split([prod(shape) for shape in shapes])
    return tuple(piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """The inverse of `unflatten`, as a new vector [num_params]."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights before a ReLU: normal of variance 2 / fan_in. shape: [out, in, ...].

    Source: He et al., "Delving deep into rectifiers", ICCV 2015, eq. 10.
    """
    return rng.standard_normal(shape) * np.sqrt(2 / prod(shape[1:]))


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a linear output layer: normal of variance 2 / (fan_in + fan_out). shape: [out, in].

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
    2010.
    """
    return rng.standard_normal(shape) * np.sqrt(2 / (shape[0] + shape[1]))


def initial_layers(rng: np.random.Generator, shapes: Shapes) -> np.ndarray:
    """Flat start of alternating weights and biases: He normal in hidden layers, Glorot normal in the last, biases zero.
    Returns float64 [num_params]."""
    last_weight = len(shapes) - 2
    layers = [
        np.zeros(shape) if len(shape) == 1 else (glorot_normal if i == last_weight else he_normal)(rng, shape)
        for i, shape in enumerate(shapes)
    ]
    return np.concatenate([layer.ravel() for layer in layers])


def uniform_layers(rng: np.random.Generator, shapes: Shapes) -> np.ndarray:
    """Flat start of alternating weights and biases, all of a layer uniform in +- 1 / sqrt(fan_in), the default of torch.nn.Linear
    and its convolutions. Returns float64 [num_params]."""
    layers = []
    for weight, bias in zip(shapes[::2], shapes[1::2], strict=True):
        bound = prod(weight[1:]) ** -0.5
        layers += [rng.uniform(-bound, bound, weight), rng.uniform(-bound, bound, bias)]
    return np.concatenate([layer.ravel() for layer in layers])
