"""Network of two sub-matrices a layer: decides for any number of objects, each with one number.

    h_k = x_k,   h_k <- relu(U_l h_k + V_l sum_(j != k) h_j / s + b_l),   score_k = U_L h_k + V_L sum_(j != k) h_j / s + b_L

s = K - 1 ("mean"), 1 ("sum") or sqrt(K - 1) ("sqrt"): see `permutation_layers`, also for the source; start and heads: `sub_matrices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from torch import Tensor

from learners.fields import check_choice
from learners.models.controller import Controller, checked_widths
from learners.models.permutation_layers import Aggregation, aggregation_scale, num_others, two_matrix
from learners.models.sub_matrices import Head, SubMatrices
from learners.quantities import Width


class Equivariant(Controller):
    """input_shape: (K_max, 2). hidden: numbers an object in the hidden layers. aggregation: "mean", "sum" or "sqrt" of the other objects.
    head: "equivariant" (a score for every object), "invariant" (one for all) or "ego" (only that of object 0 is a decision).

    hidden = [16, 16, 16] makes 1,137 parameters, whatever K_max.
    """

    controls = "vector"

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[Width] = (16, 16, 16),
        aggregation: Aggregation = "mean",
        head: Head = "equivariant",
    ) -> None:
        super().__init__(input_shape, num_classes)
        check_choice("aggregation", aggregation, get_args(Aggregation))
        self._aggregation: Aggregation = aggregation
        self._network = SubMatrices((1, *checked_widths("hidden", hidden)), 1, head)
        self.shapes = self._network.shapes

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        presence = inputs[..., -1]
        scale = aggregation_scale(num_others(presence), self._aggregation)

        def layer(h: Tensor, U: Tensor, V: Tensor, b: Tensor) -> Tensor:
            return two_matrix(h, presence, U, V, b, scale)

        return self._network.scores(layer, parameters, inputs[..., :1], presence)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return self._network.initial(rng, max(1, self.max_objects - 1) if self._aggregation == "sum" else 1)
