"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 colored pixels in 10 or 100 classes.

Krizhevsky, "Learning multiple layers of features from tiny images", technical report, University of Toronto, 2009. Read are the
official binary versions: records of one label (CIFAR-10) or a coarse and a fine label (CIFAR-100), then 1,024 red, 1,024 green
and 1,024 blue bytes, each color row by row.

Looked for in `folder`, else in the folder that the environment variable WSIM_DATA names, unpacked or as an archive:

    cifar-10-batches-bin/  cifar-10-binary/  cifar10/  cifar-10/  the folder itself: data_batch_1.bin ... test_batch.bin
    cifar-10-binary.tar.gz, .tar.xz or .tar, in cifar10/, cifar-10/ or the folder itself; for CIFAR-100 the like

An unpacked folder is read at once, an archive takes seconds. `cifar100_subset` is 4,000 + 1,500 images of CIFAR-100 in the same
layout (40 and 15 a class, files under cifar-100-binary-subset): no results on it compare with those on CIFAR-100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from learners.data.dataset import Dataset
from learners.data.fetching import Download
from learners.data.images import Images, Normalize, NumSamples, image_dataset, image_shape
from learners.data.members import read_members
from learners.data.packed import content
from learners.data.places import Layout, Stamp, locate, stamp
from learners.data.shape import DataShape, described_by
from learners.quantities import FilePath

INPUT_SHAPE = (3, 32, 32)
NUM_PIXELS = 3 * 32 * 32
Labels = Literal["coarse", "fine"]
LABELS = ("coarse", "fine")
"""Of CIFAR-100, as they stand in a record."""

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)


@dataclass(frozen=True)
class BinarySet:
    """archive: its name without .tar.gz; inside, the files lie in `member_folder`. folders: where they may lie unpacked.
    num_classes: of each label of a record, in their order."""

    name: str
    archive: str
    member_folder: str
    folders: tuple[str, ...]
    train_files: tuple[str, ...]
    test_file: str
    num_train: int
    num_test: int
    num_classes: tuple[int, ...]
    downloads: tuple[Download, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train_files, self.test_file)

    @property
    def layouts(self) -> list[Layout]:
        archives = [
            Layout((*self.folders, ""), (f"{self.archive}{suffix}",)) for suffix in (".tar.gz", ".tar.xz", ".tar")
        ]
        return [Layout((self.member_folder, *self.folders, ""), self.files), *archives]

    @property
    def record_bytes(self) -> int:
        return len(self.num_classes) + NUM_PIXELS

    def num_bytes(self, file: str) -> int:
        records = self.num_test if file == self.test_file else self.num_train // len(self.train_files)
        return records * self.record_bytes


CIFAR10 = BinarySet(
    "cifar10",
    "cifar-10-binary",
    "cifar-10-batches-bin",
    ("cifar10", "cifar-10", "cifar10/cifar-10-batches-bin"),
    tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test_batch.bin",
    50_000,
    10_000,
    (10,),
    (Download("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530", 200_000_000, MIRRORS),),
)
CIFAR100 = BinarySet(
    "cifar100",
    "cifar-100-binary",
    "cifar-100-binary",
    ("cifar100", "cifar-100", "cifar100/cifar-100-binary"),
    ("train.bin",),
    "test.bin",
    50_000,
    10_000,
    (20, 100),
    (Download("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8", 200_000_000, MIRRORS),),
)
CIFAR100_SUBSET = BinarySet(
    "cifar100_subset",
    "cifar-100-binary-subset",
    "cifar-100-binary-subset",
    ("cifar100_subset", "cifar-100-subset"),
    ("train.bin",),
    "test.bin",
    4_000,
    1_500,
    (20, 100),
)


def read(chosen: BinarySet, folder: str | None, label: int = 0) -> Images:
    """The whole set; it is kept for the next run in this process. label: which of a record's is the class."""
    return _read(chosen, stamp(locate(chosen.name, folder, chosen.layouts, chosen.downloads)), label)


@lru_cache(maxsize=2)
def _read(chosen: BinarySet, files: tuple[Stamp, ...], label: int) -> Images:
    paths = [file.path for file in files]
    if len(paths) == 1:  # an archive
        members = {f"{chosen.member_folder}/{file}": chosen.num_bytes(file) for file in chosen.files}
        found = read_members(paths[0], members)
        data = [(f"{paths[0]}: {member}", found[member]) for member in members]
    else:
        data = [
            (str(path), _whole(path, chosen.num_bytes(file))) for path, file in zip(paths, chosen.files, strict=True)
        ]
    train_pixels, train_labels = records(data[:-1], chosen.num_train, chosen.num_classes)
    test_pixels, test_labels = records(data[-1:], chosen.num_test, chosen.num_classes)
    return Images(train_pixels, train_labels[label], test_pixels, test_labels[label])


def _whole(path: Path, num_bytes: int) -> bytes:
    data = content(path, num_bytes)
    if len(data) != num_bytes:
        count = f"more than {num_bytes:,}" if len(data) > num_bytes else f"{len(data):,}"
        raise ValueError(f"{path}: {count} bytes, not {num_bytes:,}")
    return data


def records(
    data: Sequence[tuple[str, bytes]], count: int, num_classes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, uint8 [count, 3, 32, 32], and labels, int64 [len(num_classes), count], of the records in several files.

    data: (name for messages, content), equally long. Raises ValueError for a label out of range.
    """
    num_labels = len(num_classes)
    pixels = np.empty((count, *INPUT_SHAPE), dtype=np.uint8)
    labels = np.empty((num_labels, count), dtype=np.int64)
    start = 0
    for name, whole in data:
        table = np.frombuffer(whole, dtype=np.uint8).reshape(-1, num_labels + NUM_PIXELS)
        for column, bound in zip(table.T[:num_labels], num_classes, strict=True):
            if column.max() >= bound:
                raise ValueError(
                    f"{name}: label {column.max()} in record {column.argmax()}, labels are 0 to {bound - 1}"
                )
        stop = start + len(table)
        pixels[start:stop] = table[:, num_labels:].reshape(-1, *INPUT_SHAPE)
        labels[:, start:stop] = table[:, :num_labels].T
        start = stop
    return pixels, labels


def _shape(chosen: BinarySet, label: int, train_samples: int | None, test_samples: int | None) -> DataShape:
    sizes = chosen.num_train, chosen.num_test, chosen.num_classes[label], INPUT_SHAPE
    return image_shape(chosen.name, *sizes, train_samples, test_samples)


def _cifar10_shape(
    folder: str | None, train_samples: int | None, test_samples: int | None, normalize: str
) -> DataShape:
    return _shape(CIFAR10, 0, train_samples, test_samples)


def _cifar100_shape(
    folder: str | None, labels: Labels, train_samples: int | None, test_samples: int | None, normalize: str
) -> DataShape:
    return _shape(CIFAR100, LABELS.index(labels), train_samples, test_samples)


def _subset_shape(
    folder: str | None, labels: Labels, train_samples: int | None, test_samples: int | None, normalize: str
) -> DataShape:
    return _shape(CIFAR100_SUBSET, LABELS.index(labels), train_samples, test_samples)


@described_by(_cifar10_shape)
def cifar10(
    rng: np.random.Generator,
    folder: FilePath | None = None,
    train_samples: NumSamples | None = None,
    test_samples: NumSamples | None = None,
    normalize: Normalize = "channel",
) -> Dataset:
    """50,000 + 10,000 photographs of 3 x 32 x 32 pixels, 10 classes.

    folder: that holds the files; none: WSIM_DATA, else they are fetched. train_samples, test_samples: so many, drawn at
    random; none: all. normalize: by mean and deviation of each channel, or to 0 .. 1.
    """
    return image_dataset("cifar10", read(CIFAR10, folder), 10, rng, train_samples, test_samples, normalize)


@described_by(_cifar100_shape)
def cifar100(
    rng: np.random.Generator,
    folder: FilePath | None = None,
    labels: Labels = "fine",
    train_samples: NumSamples | None = None,
    test_samples: NumSamples | None = None,
    normalize: Normalize = "channel",
) -> Dataset:
    """50,000 + 10,000 photographs of 3 x 32 x 32 pixels, 100 fine or 20 coarse classes.

    folder: that holds the files; none: WSIM_DATA, else they are fetched. labels: 100 fine classes or 20 coarse ones.
    train_samples, test_samples: so many, drawn at random; none: all. normalize: by mean and deviation of each channel, or
    to 0 .. 1.
    """
    return _hundred(CIFAR100, labels, rng, folder, train_samples, test_samples, normalize)


@described_by(_subset_shape)
def cifar100_subset(
    rng: np.random.Generator,
    folder: FilePath | None = None,
    labels: Labels = "fine",
    train_samples: NumSamples | None = None,
    test_samples: NumSamples | None = None,
    normalize: Normalize = "channel",
) -> Dataset:
    """4,000 + 1,500 photographs of CIFAR-100: results do not compare with those on the whole set.

    folder: that holds the files; none: WSIM_DATA. labels: 100 fine classes or 20 coarse ones. train_samples, test_samples:
    so many, drawn at random; none: all. normalize: by mean and deviation of each channel, or to 0 .. 1.
    """
    return _hundred(CIFAR100_SUBSET, labels, rng, folder, train_samples, test_samples, normalize)


def _hundred(
    chosen: BinarySet,
    labels: Labels,
    rng: np.random.Generator,
    folder: str | None,
    train_samples: int | None,
    test_samples: int | None,
    normalize: Normalize,
) -> Dataset:
    label = LABELS.index(labels)
    images = read(chosen, folder, label)
    return image_dataset(chosen.name, images, chosen.num_classes[label], rng, train_samples, test_samples, normalize)
