"""A synthetic data set: one isotropic Gaussian a class.

    label c ~ uniform,   x = mu_c + z,   z ~ N(0, I),   mu_c = separation / sqrt(2) * u_c

with directions u_c uniform on the unit sphere: two classes with orthogonal directions lie `separation` standard
deviations apart, and the best classifier of that pair errs with probability Q(separation / 2).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np

from learners.data.dataset import Dataset, split, split_shape
from learners.data.shape import DataShape, described_by
from learners.quantities import Bounds, Count, Fraction, PositiveOrZero, Samples


def _shape(test_fraction: float, num_classes: int, num_features: int, num_samples: int, separation: float) -> DataShape:
    if num_classes < 2:
        raise ValueError(f"num_classes = {num_classes}: at least 2")
    if num_features < 1:
        raise ValueError(f"num_features = {num_features}: at least 1")
    if num_samples < 2 * num_classes:
        raise ValueError(
            f"num_samples = {num_samples}: num_classes = {num_classes} need at least {2 * num_classes} samples, for "
            "training and test"
        )
    if not (np.isfinite(separation) and separation >= 0):
        raise ValueError(f"separation = {separation}: a finite number of standard deviations, at least 0")
    sizes = [num_samples // num_classes + (c < num_samples % num_classes) for c in range(num_classes)]
    return split_shape(sizes, (num_features,), test_fraction)


@described_by(_shape)
def gaussian_mixture(
    rng: np.random.Generator,
    test_fraction: Fraction = 0.2,
    num_classes: Annotated[int, Bounds(2, 10_000, "classes are whole numbers")] = 10,
    num_features: Count = 32,
    num_samples: Samples = 5000,
    separation: PositiveOrZero = 5.0,
) -> Dataset:
    """Synthetic samples, one isotropic Gaussian a class, classes of equal size up to one sample.

    test_fraction: held out of every class for the test. num_features: numbers a sample.
    separation: distance of two classes with orthogonal means, in standard deviations of the noise.
    Raises ValueError for fewer than 2 classes, no feature, fewer than 2 samples a class or a separation that is not
    >= 0.
    """
    _shape(test_fraction, num_classes, num_features, num_samples, separation)
    directions = rng.standard_normal((num_classes, num_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    labels = rng.permutation(np.arange(num_samples) % num_classes)
    inputs = separation / np.sqrt(2) * directions[labels] + rng.standard_normal((num_samples, num_features))
    return split("gaussian_mixture", inputs, labels.astype(np.int64), num_classes, test_fraction, rng)
