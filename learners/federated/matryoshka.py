"""Two models and a projector as one: the fused representation and its two nested views.

    r = [r_G, r_F] W^T + b          r_G [B, d1]: shared model's representation, r_F [B, d2]: private model's, W [d2, d1 + d2]
    z_G = G_hd(r[:, :d1])           the shared model's last layer sees the first d1 numbers ("coarse")
    z_F = F_hd(r)                   the private one sees all d2 ("fine")

Parameters, in this order: the shared model's, the private one's, W and b. Source: see `learners.federated.fedmrl`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.models.flat import Model, Shapes, glorot_normal
from learners.task import weighted_cross_entropy


class Matryoshka:
    """A `flat.Model`, whose answer is z_F; the other heads are methods beside `forward`."""

    def __init__(self, shared: Model, private: Model) -> None:
        d1, d2 = shared.feature_dim, private.feature_dim
        if d1 > d2:
            raise ValueError(f"a shared representation of {d1} numbers: at most those of the private one, {d2}")
        self.shared, self.private = shared, private
        self.input_shape = private.input_shape
        self.num_classes = private.num_classes
        self.feature_dim = d2
        self.has_convolution = shared.has_convolution or private.has_convolution
        self.projector_shapes: Shapes = ((d2, d1 + d2), (d2,))
        self.shapes: Shapes = (*shared.shapes, *private.shapes, *self.projector_shapes)

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """r, the fused representation [B, d2]."""
        of_shared, of_private, (weight, bias) = self._parts(parameters)
        coarse = self.shared.representation(of_shared, inputs.reshape(-1, *self.shared.input_shape))
        fine = self.private.representation(of_private, inputs)
        return F.linear(torch.cat((coarse, fine), -1), weight, bias)

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        """z_F of r."""
        return self.private.head(self._parts(parameters)[1], z)

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """z_F ("mix-large")."""
        return self.head(parameters, self.representation(parameters, inputs))

    def both(self, parameters: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """z_G and z_F."""
        r = self.representation(parameters, inputs)
        coarse = self.shared.head(self._parts(parameters)[0], r[:, : self.shared.feature_dim])
        return coarse, self.head(parameters, r)

    def mix_small(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """z_G."""
        return self.both(parameters, inputs)[0]

    def single_small(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """The shared model alone, G_hd(r_G)."""
        return self.shared.forward(self._parts(parameters)[0], inputs.reshape(-1, *self.shared.input_shape))

    def single_large(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """The private model alone, F_hd(r_F)."""
        return self.private.forward(self._parts(parameters)[1], inputs)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([self.shared.initial(rng), self.private.initial(rng), self.initial_projector(rng)])

    def initial_projector(self, rng: np.random.Generator) -> np.ndarray:
        """W Glorot normal, b zero, flat float64."""
        weight, bias = self.projector_shapes
        return np.concatenate([glorot_normal(rng, weight).ravel(), np.zeros(bias)])

    def _parts(self, parameters: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        n = len(self.shared.shapes)
        return parameters[:n], parameters[n:-2], parameters[-2:]


def matryoshka_loss(
    model: Matryoshka,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    coarse_weight: float,
    fine_weight: float,
) -> Tensor:
    """coarse_weight * CE(z_G, y) + fine_weight * CE(z_F, y), both weighted means over the batch."""
    coarse, fine = model.both(parameters, inputs)
    loss = coarse_weight * weighted_cross_entropy(coarse, labels, weights)
    return loss + fine_weight * weighted_cross_entropy(fine, labels, weights)
