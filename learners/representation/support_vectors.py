"""A linear support vector machine of each class against the rest on frozen features.

    w_k = argmin  1/2 |w|^2 + C sum_b max(0, 1 - s_b w' (z_b, 1))^2            s_b: 1 for samples of class k, else -1; C = 1

and the class with the largest w_k' (z, 1) wins. The problem is strictly convex, so that its solution depends on no seed; Newton's method with
halved steps finds it (the finite Newton method of Keerthi and DeCoste, "A modified finite Newton method for fast solution of large scale
linear SVMs", JMLR 2005). The squared hinge, C and the penalized intercept are those of LIBLINEAR (Fan et al., JMLR 2008), with which
the public code of maximal coding rate reduction (Yu et al., NeurIPS 2020) judges features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learners.representation.training_features import TrainingFeatures

COST = 1.0
"""C."""
MOST_STEPS = 100
TOLERANCE = 1e-10
"""Of the gradient's largest number, over the number of samples."""


def machines(device: TrainingFeatures) -> Tensor:
    """w_k in columns, float64 [d + 1, num_classes]; 0 of classes that the device lacks, and of a model that has diverged."""
    n, d = device.z.shape
    found = torch.zeros(d + 1, len(device.counts), dtype=torch.float64)
    if device.is_finite:
        rows = torch.cat([device.z.to(torch.float64), torch.ones(n, 1, dtype=torch.float64)], dim=1)
        for k in device.held.nonzero().flatten().tolist():
            found[:, k] = machine(rows, torch.where(device.labels == k, 1.0, -1.0).to(torch.float64))
    return found


def machine(rows: Tensor, signs: Tensor) -> Tensor:
    """w [p] of rows [n, p] with signs [n], float64."""
    w = torch.zeros(rows.shape[1], dtype=torch.float64)
    value = _value(rows, signs, w)
    for _ in range(MOST_STEPS):
        slack = (1 - signs * (rows @ w)).clamp(min=0)
        gradient = w - 2 * COST * rows.mT @ (signs * slack)
        if float(gradient.abs().max()) <= TOLERANCE * len(rows):
            break
        active = rows[slack > 0]
        hessian = torch.eye(len(w), dtype=torch.float64) + 2 * COST * active.mT @ active
        step = torch.linalg.solve(hessian, gradient)
        length, decrease = 1.0, float(gradient @ step)
        while (shorter := _value(rows, signs, w - length * step)) > value - 1e-4 * length * decrease and length > 1e-6:
            length /= 2
        w, value = w - length * step, shorter
    return w


def _value(rows: Tensor, signs: Tensor, w: Tensor) -> float:
    return float(w @ w / 2 + COST * (1 - signs * (rows @ w)).clamp(min=0).square().sum())
