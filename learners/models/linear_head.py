"""What models have in common whose last layer is linear: logits = W z + b of the representation z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Shapes, initial_layers


class LinearHead:
    """A base of models (`flat.Model`). W and b are the last two of the parameters; `shapes` and `representation` are the
    model's own, and so is `initial` where not all other layers are weights with biases."""

    narrows: ClassVar[bool] = False
    """There are narrower copies of it (`models.narrow`): a chain of weights and biases with ReLU and max pooling between them, all
    widths of which follow from the parameters that it is called with."""

    shapes: Shapes

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        raise NotImplementedError

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        return F.linear(z, parameters[-2], parameters[-1])

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.head(parameters, self.representation(parameters, inputs))

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return initial_layers(rng, self.shapes)
