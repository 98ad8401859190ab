"""Data sets of images in bytes: what those of MNIST's and CIFAR's kind have in common.

    value = (pixel / 255 - mean_c) / std_c      normalize = "channel": with the mean and the standard deviation of channel c over
                                                all training images of the set, whatever part of them is used
    value = pixel / 255                         normalize = "unit"

`train_samples` and `test_samples` take the first of one permutation each, so that a smaller set is part of a larger one, and
neither changes the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np

from learners.data.dataset import Dataset
from learners.data.shape import DataShape
from learners.quantities import Bounds

NumSamples = Annotated[int, Bounds(1, 10**7, "samples are whole numbers")]
Normalize = Literal["channel", "unit"]

BLOCK = 1000
"""Images that are counted at a time."""


@dataclass(frozen=True)
class Images:
    """A whole set. train_pixels, test_pixels: uint8 [num_samples, *input_shape]; labels: int64 [num_samples]."""

    train_pixels: np.ndarray
    train_labels: np.ndarray
    test_pixels: np.ndarray
    test_labels: np.ndarray

    @cached_property
    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of pixel / 255 over the training images, [num_channels] each, from exact counts."""
        pixels = self.train_pixels
        by_channel = pixels if pixels.ndim == 4 else pixels.reshape(len(pixels), 1, -1)
        values = np.arange(256) / 255
        means, stds = [], []
        for channel in range(by_channel.shape[1]):
            counts = np.zeros(256, dtype=np.int64)
            for start in range(0, len(by_channel), BLOCK):
                counts += np.bincount(by_channel[start : start + BLOCK, channel].ravel(), minlength=256)
            shares = counts / counts.sum()
            means.append(shares @ values)
            stds.append(np.sqrt(shares @ (values - means[-1]) ** 2))
        return np.array(means), np.array(stds)


def image_dataset(
    name: str,
    images: Images,
    num_classes: int,
    rng: np.random.Generator,
    train_samples: int | None,
    test_samples: int | None,
    normalize: Normalize,
) -> Dataset:
    """The images, or so many of them as are asked for, as a `Dataset` of bytes. Raises ValueError for more than there are, or
    where a channel has one value only."""
    train = chosen("train_samples", train_samples, len(images.train_labels), name, rng)
    test = chosen("test_samples", test_samples, len(images.test_labels), name, rng)
    mean, std = images.statistics
    if normalize == "unit":
        mean, std = np.zeros_like(mean), np.ones_like(std)
    elif not std.all():
        raise ValueError(
            f'normalize = "channel": channel {std.argmin()} of {name} has one value only; "unit" does not divide'
        )
    return Dataset(
        name,
        images.train_pixels[train],
        images.train_labels[train],
        images.test_pixels[test],
        images.test_labels[test],
        num_classes,
        mean,
        std,
    )


def chosen(key: str, wanted: int | None, there: int, name: str, rng: np.random.Generator) -> np.ndarray | slice:
    """Ascending indices of the samples that are used; a slice of all, which copies nothing, if the key is None."""
    order = rng.permutation(there)  # also where all are used: what is drawn next does not depend on it
    if wanted is None:
        return slice(None)
    check_samples(key, wanted, there, name)
    return np.sort(order[:wanted])


def check_samples(key: str, wanted: int | None, there: int, name: str) -> None:
    """Raise ValueError unless so many samples can be taken."""
    if wanted is not None and not 1 <= wanted <= there:
        raise ValueError(f"{key} = {wanted}: {name} has {there:,} such samples; at least 1, or none for all")


def image_shape(
    name: str,
    num_train: int,
    num_test: int,
    num_classes: int,
    input_shape: tuple[int, ...],
    train_samples: int | None,
    test_samples: int | None,
) -> DataShape:
    """What `image_dataset` makes of a set of these sizes."""
    check_samples("train_samples", train_samples, num_train, name)
    check_samples("test_samples", test_samples, num_test, name)
    return DataShape(train_samples or num_train, test_samples or num_test, num_classes, input_shape)
