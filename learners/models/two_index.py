"""Network for a matrix of gains whose rows and columns could be permuted each on their own; it decides for the entries of the diagonal.

    X_ij = H_ij,   X <- relu(two_index(X; U_l, V_l, P_l, Q_l, b_l)),   score_k = X_kk of a last layer without activation

The layer (`permutation_layers`) is made for two kinds of objects, users and antennas say, and knows rows and columns only by their means.
Here both are links: permuting the links permutes the scores, but which entries are the other links' own gains the network cannot know,
as `edge_equivariant` does.

After the later networks of Guo and Yang, whose public code has ReLU, no Q and this start: truncated normal (within 2 standard deviations)
of standard deviation 0.1, b = 0. Reading a diagonal is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from learners.models.controller import Controller, checked_widths, truncated_normal
from learners.models.flat import Shapes
from learners.models.permutation_layers import two_index
from learners.quantities import Width

INITIAL_DEVIATION = 0.1


class TwoIndex(Controller):
    """input_shape: (K_max, K_max + 1). hidden: numbers an entry in the hidden layers.

    hidden = [16, 16, 16] makes 2,225 parameters, whatever K_max.
    """

    controls = "matrix"

    def __init__(self, input_shape: Sequence[int], num_classes: int, hidden: Sequence[Width] = (16, 16, 16)) -> None:
        super().__init__(input_shape, num_classes)
        widths = (1, *checked_widths("hidden", hidden), 1)
        self._layers = [(after, before) for before, after in zip(widths, widths[1:], strict=False)]
        self.shapes: Shapes = tuple(shape for o, i in self._layers for shape in (*[(o, i)] * 4, (o,)))

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        X, presence = inputs[..., :-1].unsqueeze(-1), inputs[..., -1]
        for l in range(len(self._layers)):
            X = two_index(torch.relu(X) if l else X, presence, presence, *parameters[5 * l : 5 * l + 5])
        return X.squeeze(-1).diagonal(dim1=-2, dim2=-1)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        parts = [
            np.zeros(shape) if len(shape) == 1 else INITIAL_DEVIATION * truncated_normal(rng, shape)
            for shape in self.shapes
        ]
        return np.concatenate([part.ravel() for part in parts])
