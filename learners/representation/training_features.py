"""What a device's model makes of the device's own training samples: features and their second moments by class.

    S^k = sum_b z_b z_b',   t^k = sum_b z_b,   V^k = S^k / n^k           over the n^k samples of class k

Moments are float64 whatever the features are. A model that has diverged has no moments: all are 0, and `is_finite` says so.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

SMALLEST_EIGENVALUE = 1e-6
"""Of the largest: directions below it are rounding, and none of the class's."""


class TrainingFeatures:
    """z: [n, d] unit vectors; labels: [n]; counts, float64 [num_classes]; sums: S^k, float64 [num_classes, d, d]; totals: t^k,
    float64 [num_classes, d]."""

    def __init__(self, z: Tensor, labels: Tensor, num_classes: int) -> None:
        d = z.shape[1]
        self.z = z
        self.labels = labels
        self.is_finite = bool(z.isfinite().all())
        self.counts = torch.bincount(labels, minlength=num_classes).to(torch.float64)
        self.sums = torch.zeros(num_classes, d, d, dtype=torch.float64)
        self.totals = torch.zeros(num_classes, d, dtype=torch.float64)
        if not self.is_finite:
            return
        by_class = z[labels.argsort(stable=True)].to(torch.float64)
        for k, of_class in enumerate(by_class.split(self.counts.to(torch.int64).tolist())):
            self.sums[k] = of_class.mT @ of_class
            self.totals[k] = of_class.sum(0)

    @property
    def held(self) -> Tensor:
        """Bool [num_classes], of which the device has training samples."""
        return self.counts > 0

    @property
    def candidates(self) -> Tensor:
        """As `held`; none of a model that has diverged."""
        return self.held & self.is_finite

    @cached_property
    def second_moments(self) -> Tensor:
        """V^k, float64 [num_classes, d, d]; 0 of classes that are not held."""
        return moments(self.sums, self.counts)

    @cached_property
    def means(self) -> Tensor:
        """m^k = t^k / n^k, float64 [num_classes, d]; 0 of classes that are not held."""
        return self.totals / self.counts.clamp(min=1).unsqueeze(1)

    @cached_property
    def centered_eigen(self) -> tuple[Tensor, Tensor]:
        """As `eigen`, of V^k - m^k m^k'."""
        return eigen(self.second_moments - self.means.unsqueeze(2) * self.means.unsqueeze(1))

    @cached_property
    def eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues [num_classes, d], rising, and eigenvectors [num_classes, d, d] in columns, of V^k."""
        return eigen(self.second_moments)


def moments(sums: Tensor, counts: Tensor) -> Tensor:
    """Sums [num_classes, d, d] over counts [num_classes]; 0 where there is no sample."""
    return sums / counts.clamp(min=1)[:, None, None]


def eigen(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Of symmetric positive semi-definite [..., d, d]: eigenvalues [..., d], rising, none negative, and eigenvectors in columns."""
    values, vectors = torch.linalg.eigh(matrices)
    return values.clamp(min=0), vectors
