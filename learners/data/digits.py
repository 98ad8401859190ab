"""The handwritten digits that ship inside scikit-learn: the default data set, no download.

1,797 gray images of 8 x 8 pixels in 10 classes: the test part of Alpaydin and Kaynak, "Optical recognition of
handwritten digits", UCI Machine Learning Repository, 1998 (doi 10.24432/C50P49). Pixels 0 .. 16 are scaled to [0, 1].
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from learners.data.dataset import Dataset, split, split_shape
from learners.data.shape import DataShape, described_by
from learners.quantities import Fraction

CLASS_SIZES = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)


@lru_cache(maxsize=1)
def _images() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels, read once a process: from the package's file, since importing the package takes a second."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the digits are part of scikit-learn, which is not installed", name="sklearn")
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1].reshape(-1, 1, 8, 8) / 16.0, rows[:, -1].astype(np.int64)


def _shape(test_fraction: float, centered: bool = False) -> DataShape:
    return split_shape(CLASS_SIZES, (1, 8, 8), test_fraction)


@described_by(_shape)
def digits(rng: np.random.Generator, test_fraction: Fraction = 0.2, centered: bool = False) -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, 10 classes, part of scikit-learn.

    Samples have the shape (1, 8, 8) and lie in [0, 1]. test_fraction: held out of every class for the test. centered: less the mean
    of each pixel over the training samples.
    """
    images, labels = _images()
    dataset = split("digits", images, labels, 10, test_fraction, rng)
    if not centered:
        return dataset
    mean = dataset.train_inputs.mean(0)
    return replace(dataset, train_inputs=dataset.train_inputs - mean, test_inputs=dataset.test_inputs - mean)
