"""A labelled data set, split into training and test samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from learners.data.shape import DataShape


@dataclass(frozen=True)
class Dataset:
    """train_inputs, test_inputs: [num_samples, *input_shape], either float or, to keep large image sets small, uint8;
    train_labels, test_labels: int64 [num_samples], classes 0 .. num_classes - 1

    mean, std: [num_channels], given for uint8 inputs only, which stand for (input / 255 - mean) / std. Images are
    [num_channels, height, width]; samples of any other shape have one channel.
    """

    name: str
    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            inputs, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_labels")
            if labels.ndim != 1 or len(inputs) != len(labels) or len(labels) == 0:
                raise ValueError(
                    f"data set {self.name}: {part} inputs {inputs.shape} and labels {labels.shape} need the same "
                    "positive number of samples"
                )
            if labels.min() < 0 or labels.max() >= self.num_classes:
                raise ValueError(f"data set {self.name}: {part} labels must lie in 0 .. {self.num_classes - 1}")
        if self.train_inputs.shape[1:] != self.test_inputs.shape[1:]:
            raise ValueError(f"data set {self.name}: training and test samples differ in shape")
        self._check_types()

    def _check_types(self) -> None:
        if self.train_inputs.dtype != self.test_inputs.dtype:
            raise ValueError(f"data set {self.name}: training and test inputs differ in type")
        if self.train_inputs.dtype != np.uint8:
            if self.mean is not None or self.std is not None:
                raise ValueError(f"data set {self.name}: mean and std go with uint8 inputs only")
            return
        shape = (self.num_channels,)
        if self.mean is None or self.std is None or self.mean.shape != shape or self.std.shape != shape:
            raise ValueError(f"data set {self.name}: uint8 inputs need a mean and a std for {shape[0]} channels")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            raise ValueError(f"data set {self.name}: means must be finite, standard deviations finite and positive")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.train_inputs.shape[1:]

    @property
    def num_channels(self) -> int:
        """Of images; 1 for samples of any other shape."""
        return self.input_shape[0] if len(self.input_shape) == 3 else 1


def num_held_out(num_samples: int, test_fraction: float) -> int:
    """Test samples of a class with this many: the nearest number to the fraction, at least one, and at least one is left
    to train on."""
    return min(max(1, round(test_fraction * num_samples)), num_samples - 1)


def check_fraction(test_fraction: float) -> None:
    """Raise ValueError unless the fraction lies in (0, 1)."""
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction = {test_fraction}: between 0 and 1, both excluded")


def stratified_split(
    labels: np.ndarray, test_fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and test samples, ascending: of every class `num_held_out` are held out.

    labels: int [num_samples]. Raises ValueError for a fraction outside (0, 1) or a class with a single sample.
    """
    check_fraction(test_fraction)
    train, test = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise ValueError(f"class {label} has one sample: a split needs at least two")
        num_test = num_held_out(len(members), test_fraction)
        test.append(members[:num_test])
        train.append(members[num_test:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def split_shape(class_sizes: Sequence[int], input_shape: tuple[int, ...], test_fraction: float) -> DataShape:
    """What `stratified_split` makes of classes of these sizes."""
    check_fraction(test_fraction)
    num_test = sum(num_held_out(size, test_fraction) for size in class_sizes)
    return DataShape(sum(class_sizes) - num_test, num_test, len(class_sizes), input_shape)


def split(
    name: str, inputs: np.ndarray, labels: np.ndarray, num_classes: int, test_fraction: float, rng: np.random.Generator
) -> Dataset:
    """A `Dataset` of all the samples, split by `stratified_split`."""
    train, test = stratified_split(labels, test_fraction, rng)
    return Dataset(name, inputs[train], labels[train], inputs[test], labels[test], num_classes)
