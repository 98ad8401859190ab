"""A linear head by least squares on frozen features: no training, no hyper-parameter that matters much, always the same.

    W = argmin  sum_b |W' z_b + c - e_(y_b)|^2 + ridge n |W|^2            e_k: one-hot

in closed form from the second moments and sums of the classes; c is free. It stands for the trained heads of the sources; their linear
support vector machines are in `support_vectors`. Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd ed., section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from learners.representation.subspaces import chosen
from learners.representation.training_features import TrainingFeatures

RIDGE = 1e-4
"""Of features with unit norm, whose mean square is 1 / d in each of d directions."""


class Probes:
    """Linear heads of M devices. trained: what makes one of a device's features, W above c, float64 [d + 1, num_classes]."""

    def __init__(self, devices: Sequence[TrainingFeatures], trained: Callable[[TrainingFeatures], Tensor]) -> None:
        weights = torch.stack([trained(one) for one in devices])  # [M, d + 1, num_classes]
        self._weights = weights.to(devices[0].z.dtype)
        self._held = torch.stack([one.candidates for one in devices])

    def classify(self, z: Tensor) -> Tensor:
        """[n, M] the class of features z [n, d] by each head; -1 where there is none."""
        scores = torch.einsum("nd,mdk->nmk", z, self._weights[:, :-1]) + self._weights[:, -1]
        return chosen(scores, self._held)


def least_squares(device: TrainingFeatures) -> Tensor:
    """W above c, float64 [d + 1, num_classes]."""
    d = device.z.shape[1]
    n = device.counts.sum()
    gram = torch.zeros(d + 1, d + 1, dtype=torch.float64)
    gram[:d, :d] = device.sums.sum(0) + RIDGE * n * torch.eye(d, dtype=torch.float64)
    gram[:d, d] = gram[d, :d] = device.totals.sum(0)
    gram[d, d] = n
    targets = torch.cat([device.totals, device.counts.unsqueeze(1)], dim=1).mT
    return torch.linalg.solve(gram, targets)
