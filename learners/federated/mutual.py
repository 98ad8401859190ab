"""Two models that learn from each other: a shared and a private one, side by side, and the distance between what they say.

    KL(p || q) = sum_c p_c log(p_c / q_c),   p, q: softmax of logits, mean over the batch

The side that teaches, p, is detached: each loss moves only the model that learns (Zhang et al., "Deep mutual learning", CVPR 2018).
So the losses of both are minimized in one backward pass of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from learners.models.flat import Model, Shapes
from learners.task import weighted_cross_entropy, weighted_mean


class Pair:
    """A `flat.Model` of a shared model's parameters and, behind them, a private one's; the private one answers."""

    def __init__(self, shared: Model, private: Model) -> None:
        self.shared, self.private = shared, private
        self.input_shape = private.input_shape
        self.num_classes = private.num_classes
        self.feature_dim = private.feature_dim
        self.has_convolution = shared.has_convolution or private.has_convolution
        self.shapes: Shapes = (*shared.shapes, *private.shapes)

    def representation(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.private.representation(self.of_private(parameters), inputs)

    def head(self, parameters: Sequence[Tensor], z: Tensor) -> Tensor:
        return self.private.head(self.of_private(parameters), z)

    def forward(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.private.forward(self.of_private(parameters), inputs)

    def shared_alone(self, parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        """Logits of the shared model."""
        return self.shared.forward(self.of_shared(parameters), inputs.reshape(-1, *self.shared.input_shape))

    def both(self, parameters: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the shared and of the private model."""
        return self.shared_alone(parameters, inputs), self.forward(parameters, inputs)

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([self.shared.initial(rng), self.private.initial(rng)])

    def of_shared(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        return parameters[: len(self.shared.shapes)]

    def of_private(self, parameters: Sequence[Tensor]) -> Sequence[Tensor]:
        """The private model's tensors; what a pair may have behind them is not among these."""
        start = len(self.shared.shapes)
        return parameters[start : start + len(self.private.shapes)]


def divergence(teacher: Tensor, student: Tensor, weights: Tensor) -> Tensor:
    """KL(p || q), p of the teacher's logits [B, num_classes], detached, q of the student's; weighted mean over the batch."""
    p_log, q_log = teacher.detach().log_softmax(-1), student.log_softmax(-1)
    return weighted_mean((p_log.exp() * (p_log - q_log)).sum(-1), weights)


def mutual_loss(
    model: Pair,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    private_part: float,
    shared_part: float,
) -> Tensor:
    """alpha CE(z_F) + (1 - alpha) KL(p_G || p_F)  +  beta CE(z_G) + (1 - beta) KL(p_F || p_G), F private and G shared.

    private_part: alpha; shared_part: beta"""
    shared, private = model.both(parameters, inputs)
    of_private = private_part * weighted_cross_entropy(private, labels, weights)
    of_shared = shared_part * weighted_cross_entropy(shared, labels, weights)
    of_private = of_private + (1 - private_part) * divergence(shared, private, weights)
    return of_private + of_shared + (1 - shared_part) * divergence(private, shared, weights)


def ensemble_loss(
    model: Pair,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    labels: Tensor,
    weights: Tensor,
    private_share: Tensor,
) -> Tensor:
    """CE(z_F) + KL(p_G || p_F)  +  CE(z_G) + KL(p_F || p_G)  +  CE(z_E), z_E = lambda z_F + (1 - lambda) z_G.

    private_share: lambda, a scalar. The gradient is that of both models' losses, each with CE(z_E) and the other's logits in it
    detached."""
    shared, private = model.both(parameters, inputs)
    ensemble = private_share * private + (1 - private_share) * shared
    losses = [weighted_cross_entropy(logits, labels, weights) for logits in (private, shared, ensemble)]
    return sum(losses, divergence(shared, private, weights) + divergence(private, shared, weights))
