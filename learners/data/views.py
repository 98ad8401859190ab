"""Views: every device sees a crop of its own of the same images.

Device i sees view i mod V, the crop of size x size pixels at the corner of that number, of all the samples that it is dealt. The
data set becomes V data sets one behind the other, sample v * num_samples + s being view v of sample s, in training and in test, so that
what a device holds stays a list of samples.

The quadrants of 18 x 18 pixels at (0, 0), (14, 0), (0, 14) and (14, 14) of CIFAR-10 are those of Tian and Bennis (arXiv 2511.08707).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from learners.data.dataset import Dataset

Corners = Sequence[tuple[int, int]]
"""(row, column) of the first pixel of each view."""


def view_shape(input_shape: tuple[int, ...], size: int, corners: Corners) -> tuple[int, ...]:
    """Shape of a sample as a view. Raises ValueError unless samples are images [num_channels, height, width] and hold all views."""
    if len(input_shape) != 3:
        raise ValueError(f"views: are crops of images, and samples have the shape {tuple(input_shape)}")
    channels, height, width = input_shape
    for row, column in corners:
        if row + size > height or column + size > width:
            raise ValueError(
                f"views: {size} x {size} pixels at [{row}, {column}] do not fit into images of {height} x {width}"
            )
    return channels, size, size


def stacked(dataset: Dataset, size: int, corners: Corners) -> Dataset:
    """All views of all samples. Raises ValueError as `view_shape`."""
    view_shape(dataset.input_shape, size, corners)

    def crops(inputs: np.ndarray) -> np.ndarray:
        return np.concatenate([inputs[:, :, row : row + size, column : column + size] for row, column in corners])

    return replace(
        dataset,
        train_inputs=crops(dataset.train_inputs),
        train_labels=np.tile(dataset.train_labels, len(corners)),
        test_inputs=crops(dataset.test_inputs),
        test_labels=np.tile(dataset.test_labels, len(corners)),
    )


def seen(parts: Sequence[np.ndarray], num_samples: int, num_views: int) -> list[np.ndarray]:
    """By device, its samples `parts` (indices of the set before it was stacked, of num_samples) in its own view."""
    return [part + device % num_views * num_samples for device, part in enumerate(parts)]
