"""Network of two sub-matrices a layer for pairwise gains: decides for any number of links.

    h_k = (H_kk, 1),   h_k <- relu(U_l h_k + V_l [sum_j A_kj h_j, sum_j A_jk h_j] / s_k + b_l)

and a last layer without activation, one score a link. A: H with a diagonal of zeros; s_k: see `permutation_layers`, also for the
source, of K - 1 neighbors or of those with a gain to or from k. Permuting the links permutes the scores: p(Pi H Pi^T) = Pi p(H).
Start and heads: `sub_matrices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from learners.fields import check_choice, check_number
from learners.models.controller import Controller, checked_widths
from learners.models.permutation_layers import (
    Aggregation,
    aggregation_scale,
    both_ways,
    edge_layer,
    num_connected,
    num_others,
)
from learners.models.sub_matrices import Head, SubMatrices
from learners.quantities import Positive, Width

Neighborhood = Literal["all", "nonzero"]


class EdgeEquivariant(Controller):
    """input_shape: (K_max, K_max + 1). hidden: numbers a link in the hidden layers. aggregation: "mean", "sum" or "sqrt" of the neighbors.
    last_layer_scale: of the start of the last layer; powers that start saturated would never leave full power. neighborhood: what s
    counts, "all" other links or those of a "nonzero" gain. head: "equivariant" (a score for every link), "invariant" (one for all) or
    "ego" (only that of link 0 is a decision).

    hidden = [32, 32, 32] makes 6,529 parameters, whatever K_max.
    """

    controls = "matrix"

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[Width] = (32, 32, 32),
        aggregation: Aggregation = "mean",
        last_layer_scale: Positive = 0.1,
        neighborhood: Neighborhood = "all",
        head: Head = "equivariant",
    ) -> None:
        super().__init__(input_shape, num_classes)
        check_choice("aggregation", aggregation, get_args(Aggregation))
        check_choice("neighborhood", neighborhood, get_args(Neighborhood))
        self._aggregation: Aggregation = aggregation
        check_number("last_layer_scale", last_layer_scale)
        self._last_layer_scale = last_layer_scale
        self._neighborhood = neighborhood
        self._network = SubMatrices((2, *checked_widths("hidden", hidden)), 2, head)
        self.shapes = self._network.shapes

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        gains, presence = inputs[..., :-1], inputs[..., -1]
        own = gains.diagonal(dim1=-2, dim2=-1)
        gains = gains * (1 - torch.eye(gains.shape[-1], dtype=gains.dtype, device=gains.device))
        num_neighbors = num_others(presence) if self._neighborhood == "all" else num_connected(gains)
        neighbors = both_ways(gains, aggregation_scale(num_neighbors, self._aggregation))

        def layer(h: Tensor, U: Tensor, V: Tensor, b: Tensor) -> Tensor:
            return edge_layer(h, presence, U, V, b, neighbors)

        return self._network.scores(layer, parameters, torch.stack((own, presence), -1), presence)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        divisor = max(1, self.max_objects - 1) if self._aggregation == "sum" else 1
        return self._network.initial(rng, divisor, self._last_layer_scale)
