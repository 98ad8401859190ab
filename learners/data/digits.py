"""The handwritten digits that ship inside scikit-learn: the default data set, no download.

1,797 gray images of 8 x 8 pixels in 10 classes: the test part of Alpaydin and Kaynak, "Optical recognition of
handwritten digits", UCI Machine Learning Repository, 1998 (doi 10.24432/C50P49). Pixels 0 .. 16 are scaled to [0, 1].
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from learners.data.dataset import Dataset, split


@lru_cache(maxsize=1)
def _images() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, read once a process."""
    from sklearn.datasets import load_digits  # takes a second: only runs that use it pay

    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 1, 8, 8) / 16.0, labels.astype(np.int64)


def digits(rng: np.random.Generator, test_fraction: float = 0.2) -> Dataset:
    """Samples of shape (1, 8, 8) in [0, 1], split by class with `rng`."""
    images, labels = _images()
    return split("digits", images, labels, 10, test_fraction, rng)
