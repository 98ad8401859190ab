"""Encoders: models whose representations have length 1, with or without the linear head, and batch normalization.

    z = e / max(|e|, 1e-12),   e = encode(parameters, inputs)          logits = W z + b

Tensors of `shapes`, in order: the running statistics of batch normalizations (`num_buffers` of them, see `batch_norm`), the parameters of
the layers, W and b. The representation of the model itself takes the running statistics (evaluation mode), through which no gradient
flows; that of `training(weights)` takes the batch's (train mode) and leaves behind what the running statistics become.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from learners.models.batch_norm import BatchStatistics, Normalization, RunningStatistics
from learners.models.flat import Model, Shapes
from learners.models.linear_head import LinearHead

ENCODERS = ("bias_mlp", "conv_encoder", "resnet18", "resnet34", "vgg11_encoder", "vgg16_encoder")
"""By the names of scenarios."""


class Encoder(LinearHead):
    """A base of encoders, which say `encode` and, where they normalize batches, `num_buffers`.

    feature_dim: d, the length of the representation."""

    unit_norm: ClassVar[bool] = True
    num_buffers: int = 0
    num_classes: int
    feature_dim: int

    def encode(self, layers: Iterator[Tensor], norm: Normalization, inputs: Tensor) -> Tensor:
        """e [batch, feature_dim] of inputs [batch, *input_shape]. layers: the layers' parameters, taken one by one; norm: called once for
        every batch normalization, in order."""
        raise NotImplementedError

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self._encoded(parameters, inputs, RunningStatistics(parameters[: self.num_buffers]))

    def training(self, weights: Tensor) -> TrainMode:
        """The model in train mode for one batch. weights: [batch], 0 for rows that are padding."""
        return TrainMode(self, weights)

    def _encoded(self, parameters: Sequence[Tensor], inputs: Tensor, norm: Normalization) -> Tensor:
        return F.normalize(self.encode(iter(parameters[self.num_buffers :]), norm, inputs), dim=-1)


class TrainMode:
    """An encoder in train mode, for one pass over one batch.

    buffers: after the pass, the running statistics that follow from it, `num_buffers` tensors."""

    def __init__(self, encoder: Encoder, weights: Tensor) -> None:
        self._encoder = encoder
        self._weights = weights
        self.num_classes, self.feature_dim = encoder.num_classes, encoder.feature_dim
        self.buffers: tuple[Tensor, ...] = ()

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        norm = BatchStatistics(parameters[: self._encoder.num_buffers], self._weights)
        z = self._encoder._encoded(parameters, inputs, norm)
        self.buffers = tuple(norm.updated)
        return z

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        return self._encoder.head(parameters, z)

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.head(parameters, self.representation(parameters, inputs))


class Headless:
    """An encoder without its head, for objectives of the representation alone: neither `head` nor `forward`.

    Raises ValueError for a model whose representations have no unit norm, or fewer dimensions than there are classes."""

    unit_norm: ClassVar[bool] = True

    def __init__(self, model: Model) -> None:
        if not getattr(model, "unit_norm", False):
            raise ValueError(
                f"{type(model).__name__} gives representations of any length, whose coding rate has no bound: "
                f"{', '.join(ENCODERS)} give unit vectors"
            )
        if model.feature_dim < model.num_classes:
            raise ValueError(
                f"feature_dim = {model.feature_dim}: at least {model.num_classes}, a dimension for each of the classes"
            )
        self._model: Encoder = model  # type: ignore[assignment]  # what has unit norm is an encoder
        self.input_shape = model.input_shape
        self.num_classes = model.num_classes
        self.feature_dim = model.feature_dim
        self.has_convolution = model.has_convolution
        self.num_buffers = self._model.num_buffers
        self.shapes: Shapes = model.shapes[:-2]

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """z [batch, feature_dim] of inputs [batch, *input_shape], of length 1."""
        return self._model.representation(parameters, inputs)

    def training(self, weights: Tensor) -> TrainMode:
        """As `Encoder.training`; only its `representation` can be called."""
        return self._model.training(weights)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        """The model's own start without its head, so that both start from the same encoder."""
        return self._model.initial(rng)[: sum(prod(shape) for shape in self.shapes)]
