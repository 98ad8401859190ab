"""Fully connected network on a sample padded to its largest scale: what the networks of sub-matrices are compared with.

    x = the K_max x K_max gains in a row (or K_max numbers), zeros for padding,   h_l = relu(norm(W_l h_(l-1) + b_l)),   scores = W_L h + b_L

It knows one order of the objects and no more than K_max of them. Zero padding is the only way to average such networks of different
scale. norm: nothing, or batch normalization over samples (`batch_norm`), of what then has scale and shift beside W and b; without it
powers of a sum-rate loss tend to stick at full power.

Sun, Chen, Shi, Hong, Fu and Sidiropoulos, "Learning to optimize: training deep neural networks for interference management", IEEE Trans.
Signal Process. 2018: hidden layers of 200, 80 and 80 units; start as in their public code, weights truncated normal (within 2 standard
deviations) over the root of the inputs, biases 0.1. The last layer without activation is ours, as is the batch normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.batch_norm import BatchStatistics, Normalization, RunningStatistics, initial_statistics
from learners.models.controller import Controller, checked_objects, checked_widths, truncated_normal
from learners.models.flat import Shapes
from learners.quantities import Width

INITIAL_BIAS = 0.1


class PaddedMlp(Controller):
    """input_shape: (K_max, K_max + 1) or (K_max, 2). hidden: widths of the hidden layers. batch_norm: normalize the hidden layers' batches;
    running statistics are the first `num_buffers` tensors.

    controls: of an instance, which of the two its samples are. hidden = [200, 80, 80] makes 43,570 parameters at 10 links, 104,380 at 20.
    """

    controls = "matrix"
    kinds = ("matrix", "vector")

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[Width] = (200, 80, 80),
        batch_norm: bool = False,
    ) -> None:
        shape = tuple(input_shape)
        self.max_objects = self.largest_scale = checked_objects(
            type(self).__name__, shape, num_classes, ("matrix", "vector")
        )
        self.input_shape = shape
        self.feature_dim = self.max_objects
        if shape[1] != self.max_objects + 1:
            self.controls = "vector"
        self._num_inputs = self.max_objects * (shape[1] - 1)
        self._widths = (self._num_inputs, *checked_widths("hidden", hidden), self.max_objects)
        self._batch_norm = batch_norm
        self.num_buffers = 2 * len(hidden) if batch_norm else 0
        shapes: list[tuple[int, ...]] = [(width,) for width in hidden for _ in range(2)] if batch_norm else []
        for before, after in zip(self._widths, self._widths[1:-1], strict=False):
            shapes += [(after, before), (after,), *([(after,)] * 2 if batch_norm else [])]
        self.shapes: Shapes = (*shapes, (self._widths[-1], self._widths[-2]), (self._widths[-1],))

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.scores(parameters, inputs, RunningStatistics(parameters[: self.num_buffers]))

    def training(self, weights: Tensor) -> PaddedTrainMode:
        """The model in train mode for one batch. weights: [batch], 0 for rows that are padding."""
        return PaddedTrainMode(self, weights)

    def scores(self, parameters: Sequence[Tensor], inputs: Tensor, norm: Normalization) -> Tensor:
        """As `forward`. norm: called once for every hidden layer, in order, where there is batch normalization. Raises ValueError for more
        than K_max objects."""
        num_objects = inputs.shape[-2]
        missing = self.max_objects - num_objects
        if missing < 0:
            raise ValueError(f"PaddedMlp: samples of {num_objects} objects, it has inputs for {self.max_objects}")
        columns = 0 if self.controls == "vector" else missing
        h = F.pad(inputs[..., :-1], (0, columns, 0, missing)).flatten(-2)
        layers = iter(parameters[self.num_buffers :])
        for _ in self._widths[1:-1]:
            h = F.linear(h, next(layers), next(layers))
            if self._batch_norm:
                h = norm(h, next(layers), next(layers))
            h = torch.relu(h)
        return F.linear(h, next(layers), next(layers))[..., :num_objects]

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        layers = initial_statistics(self.shapes[: self.num_buffers])
        for place, (before, after) in enumerate(zip(self._widths, self._widths[1:], strict=False)):
            layers += [truncated_normal(rng, (after, before)) / sqrt(before), np.full(after, INITIAL_BIAS)]
            if self._batch_norm and place < len(self._widths) - 2:
                layers += [np.ones(after), np.zeros(after)]
        return np.concatenate([layer.ravel() for layer in layers])


class PaddedTrainMode:
    """A `PaddedMlp` in train mode, for one pass over one batch.

    buffers: after the pass, the running statistics that follow from it."""

    num_classes = 1

    def __init__(self, model: PaddedMlp, weights: Tensor) -> None:
        self._model = model
        self._weights = weights
        self.feature_dim = model.feature_dim
        self.buffers: tuple[Tensor, ...] = ()

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """Scores [batch, K] of inputs [batch, K, width]."""
        norm = BatchStatistics(parameters[: self._model.num_buffers], self._weights)
        scores = self._model.scores(parameters, inputs, norm)
        self.buffers = tuple(norm.updated)
        return scores
