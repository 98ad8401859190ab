"""Narrower copies of a model, nested in it: of every hidden layer the first units, and of every weight the columns that belong to them.

    ceil(r n) of the n units or maps of a hidden layer, r: the ratio; inputs and classes are all there

What remains of each tensor is its leading corner, also behind a flattening of maps, whose pixels lie together. Widths below are nested:
those of a smaller ratio are among those of a larger one. For models that say so (`LinearHead.narrows`).

The units may also roll: in turn t those of a layer of n units are -t, 1 - t, 2 - t, ... modulo n, so that over n turns every unit is among
the first as often as every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, prod

import numpy as np
import torch
from torch import Tensor

from learners.models.flat import Model, Shapes

ROUNDING_DIGITS = 9
"""0.07 of 100 units are 7 units, and a little more in floating point."""


class Narrow:
    """A model with a ratio, in (0, 1], of the hidden units of `model`. scaled: hidden layers' outputs, before their activation, are divided
    by the ratio (as a dropout that leaves units out would; weights and biases are, which is the same)."""

    def __init__(self, model: Model, ratio: float, *, scaled: bool = True) -> None:
        check_narrows(model)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio = {ratio!r}: above 0, at most 1")
        self._model = model
        self._divisor = ratio if scaled else 1.0
        self.input_shape = model.input_shape
        self.num_classes = model.num_classes
        self.has_convolution = model.has_convolution
        self.shapes: Shapes = narrowed(model.shapes, ratio)
        self.feature_dim = self.shapes[-2][1]

    def indices(self, turn: int = 0) -> Tensor:
        """int64 [num_params]: where its parameters are in the flat row of `model`."""
        return kept_places(self._model.shapes, self.shapes, turn)

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        if self._divisor != 1:
            hidden = (tensor / self._divisor for tensor in parameters[:-2])
            parameters = (*hidden, *parameters[-2:])
        return self._model.representation(parameters, inputs)

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        return self._model.head(parameters, z)

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.head(parameters, self.representation(parameters, inputs))

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return self._model.initial(rng)[self.indices().numpy()]


def check_narrows(model: Model) -> None:
    """Raise ValueError unless there are narrower copies of the model."""
    if not getattr(model, "narrows", False):
        raise ValueError(
            f"{type(model).__name__} cannot be cut into narrower networks: mlp, lenet, lenet5, small_cnn and mrl_cnn can"
        )
    if len(model.shapes) < 4:
        raise ValueError(f"{type(model).__name__} has no hidden layer that could be narrower")


def narrowed(shapes: Shapes, ratio: float) -> Shapes:
    """Of weights [out, in, ...] and biases [out] in turn, the last pair of which is the output layer. A weight's `in` is the `out` before
    it, or a multiple of that (the pixels of a map)."""
    found: list[tuple[int, ...]] = []
    before, kept = 1, 1
    for weight, bias in zip(shapes[::2], shapes[1::2], strict=True):
        last = len(found) == len(shapes) - 2
        out = bias[0] if last else max(1, ceil(round(ratio * bias[0], ROUNDING_DIGITS)))
        found += [(out, weight[1] // before * kept, *weight[2:]), (out,)]
        before, kept = bias[0], out
    return tuple(found)


def rolled(num_units: int, num_kept: int, turn: int) -> np.ndarray:
    """int64 [num_kept]: the units that are kept of a layer in a turn, in order."""
    return (np.arange(num_kept) - turn) % num_units


@lru_cache(maxsize=32)  # all devices of a width ask for the same in a round
def kept_places(shapes: Shapes, kept: Shapes, turn: int) -> Tensor:
    """int64: where the parameters of `narrowed` shapes lie in the flat row, in order."""
    places, start = [], 0
    before, num_before = np.zeros(1, dtype=np.int64), 1  # units below that are kept
    for layer, (weight, bias) in enumerate(zip(shapes[::2], shapes[1::2], strict=True)):
        last = 2 * layer == len(shapes) - 2
        rows = rolled(bias[0], kept[2 * layer][0], 0 if last else turn)
        pixels = weight[1] // num_before
        columns = (before[:, None] * pixels + np.arange(pixels)).ravel()
        numbers = np.arange(start, start + prod(weight)).reshape(weight)
        places += [numbers[rows][:, columns].ravel(), start + prod(weight) + rows]
        start += prod(weight) + bias[0]
        before, num_before = rows, bias[0]
    return torch.from_numpy(np.concatenate(places))
