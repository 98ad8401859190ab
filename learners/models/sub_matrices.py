"""Networks of layers of two sub-matrices: their shapes, their start, and what they make of the objects' states.

    h^(l) = relu(layer(h^(l-1); U_l, V_l, b_l))       l = 1 .. L - 1

and the head, one score an object:

    "equivariant"   layer L, without activation
    "invariant"     w mean_k h_k + b, the same score for all objects
    "ego"           layer L, of which object 0, the client, keeps its score; those of its neighbors are 0 and no decisions

Start: U and V normal of variance 1 / i for layers of i numbers an object, b = 0; the last layer times `last_scale`; V divided by the largest
number of neighbors where these are summed, since states would grow with every layer. These are choices of this reconstruction, after
measurements; Guo and Yang's are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from learners.fields import check_choice
from learners.models.flat import Shapes
from learners.models.permutation_layers import ego_head, invariant_head

Head = Literal["equivariant", "invariant", "ego"]

Layer = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(h [..., K, i], U, V, b) -> [..., K, o]."""


class SubMatrices:
    """widths: numbers an object in every layer, from the input to the last hidden one. num_sums: how many sums over neighbors V takes,
    [o, num_sums i]. Raises ValueError for a head that is not known."""

    def __init__(self, widths: Sequence[int], num_sums: int, head: Head) -> None:
        check_choice("head", head, get_args(Head))
        self.head = head
        self._num_sums = num_sums
        self._layers = [(after, before) for before, after in zip(widths, widths[1:], strict=False)]
        if head != "invariant":
            self._layers.append((1, widths[-1]))
        shapes: list[tuple[int, ...]] = []
        for o, i in self._layers:
            shapes += [(o, i), (o, num_sums * i), (o,)]
        if head == "invariant":
            shapes += [(1, widths[-1]), (1,)]
        self.shapes: Shapes = tuple(shapes)

    def initial(self, rng: np.random.Generator, neighbor_divisor: float = 1.0, last_scale: float = 1.0) -> np.ndarray:
        """Flat start, float64 [num_params]. neighbor_divisor: of V; last_scale: of the last U and V, or the head's w."""
        last = len(self.shapes) - (2 if self.head == "invariant" else 3)
        parts = []
        for place, shape in enumerate(self.shapes):
            if len(shape) == 1:
                parts.append(np.zeros(shape))
                continue
            neighbors = place % 3 == 1
            width = shape[1] // self._num_sums if neighbors else shape[1]
            values = rng.standard_normal(shape) / sqrt(width)
            parts.append(values / (neighbor_divisor if neighbors else 1.0) * (last_scale if place >= last else 1.0))
        return np.concatenate([part.ravel() for part in parts])

    def scores(self, layer: Layer, parameters: Sequence[Tensor], h: Tensor, presence: Tensor) -> Tensor:
        """[..., K], 0 for padding. parameters: of `shapes`; h: the objects' input states [..., K, i]; presence: [..., K]."""
        num_hidden = len(self._layers) - (self.head != "invariant")
        for l in range(num_hidden):
            h = torch.relu(layer(h, *parameters[3 * l : 3 * l + 3]))
        if self.head == "invariant":
            return invariant_head(h, presence, *parameters[-2:]) * presence
        scores = layer(h, *parameters[-3:]).squeeze(-1)
        return ego_head(scores) if self.head == "ego" else scores
