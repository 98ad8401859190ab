"""A synthetic data set: one isotropic Gaussian a class.

    label c ~ uniform,   x = mu_c + z,   z ~ N(0, I),   mu_c = separation / sqrt(2) * u_c

with directions u_c uniform on the unit sphere: two classes with orthogonal directions lie `separation` standard
deviations apart, and the best classifier of that pair errs with probability Q(separation / 2).
"""

from __future__ import annotations

import numpy as np

from learners.data.dataset import Dataset, split


def gaussian_mixture(
    rng: np.random.Generator,
    test_fraction: float = 0.2,
    num_classes: int = 10,
    num_features: int = 32,
    num_samples: int = 5000,
    separation: float = 5.0,
) -> Dataset:
    """Samples of shape (num_features,), classes of equal size up to one sample.

    separation: distance of two classes with orthogonal means, in standard deviations of the noise.
    Raises ValueError for fewer than 2 classes, no feature, fewer than 2 samples a class or a separation that is not
    >= 0.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes = {num_classes}: at least 2")
    if num_features < 1:
        raise ValueError(f"num_features = {num_features}: at least 1")
    if num_samples < 2 * num_classes:
        raise ValueError(f"num_samples = {num_samples}: at least 2 for each of the {num_classes} classes")
    if not (np.isfinite(separation) and separation >= 0):
        raise ValueError(f"separation = {separation}: a finite number of standard deviations, at least 0")
    directions = rng.standard_normal((num_classes, num_features))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    labels = rng.permutation(np.arange(num_samples) % num_classes)
    inputs = separation / np.sqrt(2) * directions[labels] + rng.standard_normal((num_samples, num_features))
    return split("gaussian_mixture", inputs, labels.astype(np.int64), num_classes, test_fraction, rng)
