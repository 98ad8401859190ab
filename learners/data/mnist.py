"""MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28 gray pixels in 10 classes, from the official files.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", Proceedings of the IEEE, 1998.
Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", arXiv
1708.07747, 2017: the same format and the same file names, so that a folder of the one can be taken for the other. The test
labels tell them apart.

Looked for in `folder`, else in the folder that the environment variable WSIM_DATA names, in any of these places, gzipped or not:

    mnist/  MNIST/raw/  MNIST/  the folder itself           fashion-mnist/  fashion_mnist/  FashionMNIST/raw/  ...
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from learners.data.dataset import Dataset
from learners.data.fetching import Download
from learners.data.idx import read_idx
from learners.data.images import Images, Normalize, NumSamples, image_dataset, image_shape
from learners.data.places import Layout, Stamp, locate, stamp
from learners.data.shape import DataShape, described_by
from learners.quantities import FilePath

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SIDE = 28
NUM_CLASSES = 10


@dataclass(frozen=True)
class IdxSet:
    """One of the two sets. folders: where its files may lie. sha256: of the gzipped files. test_labels_sha256: of the bytes of
    the test labels."""

    name: str
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: tuple[str, str, str, str]
    num_bytes: tuple[int, int, int, int]
    test_labels_sha256: str
    num_train: int = 60_000
    num_test: int = 10_000

    @property
    def layouts(self) -> list[Layout]:
        return [Layout((*self.folders, ""), FILES)]

    @property
    def downloads(self) -> list[Download]:
        return [
            Download(f"{file}.gz", f"sha256:{checksum}", size, self.mirrors)
            for file, checksum, size in zip(FILES, self.sha256, self.num_bytes, strict=True)
        ]


MNIST = IdxSet(
    "mnist",
    ("mnist", "MNIST/raw", "MNIST"),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    (9_912_422, 28_881, 1_648_877, 4_542),
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
)
FASHION_MNIST = IdxSet(
    "fashion_mnist",
    ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "FashionMNIST"),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    (26_421_880, 29_515, 4_422_102, 5_148),
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
)


def read(chosen: IdxSet, folder: str | None) -> Images:
    """The whole set; it is kept for the next run in this process."""
    return _read(chosen, stamp(locate(chosen.name, folder, chosen.layouts, chosen.downloads)))


@lru_cache(maxsize=2)
def _read(chosen: IdxSet, files: tuple[Stamp, ...]) -> Images:
    train_images, train_labels, test_images, test_labels = (file.path for file in files)
    test = labels(test_labels, chosen.num_test)
    other = FASHION_MNIST if chosen.name == MNIST.name else MNIST
    if hashlib.sha256(test.astype(np.uint8).tobytes()).hexdigest() == other.test_labels_sha256:
        raise ValueError(f"{test_labels}: this is {other.name}, not {chosen.name}")
    return Images(
        read_idx(train_images, (chosen.num_train, SIDE, SIDE))[:, None],
        labels(train_labels, chosen.num_train),
        read_idx(test_images, (chosen.num_test, SIDE, SIDE))[:, None],
        test,
    )


def labels(path: Path, count: int) -> np.ndarray:
    """int64 [count]. Raises ValueError for a label that is no digit."""
    found = read_idx(path, (count,))
    if found.max() >= NUM_CLASSES:
        raise ValueError(f"{path}: label {found.max()} of sample {found.argmax()}, labels are 0 to {NUM_CLASSES - 1}")
    return found.astype(np.int64)


def _mnist_shape(folder: str | None, train_samples: int | None, test_samples: int | None, normalize: str) -> DataShape:
    return _shape(MNIST, train_samples, test_samples)


def _fashion_mnist_shape(
    folder: str | None, train_samples: int | None, test_samples: int | None, normalize: str
) -> DataShape:
    return _shape(FASHION_MNIST, train_samples, test_samples)


def _shape(chosen: IdxSet, train_samples: int | None, test_samples: int | None) -> DataShape:
    sizes = chosen.num_train, chosen.num_test, NUM_CLASSES, (1, SIDE, SIDE)
    return image_shape(chosen.name, *sizes, train_samples, test_samples)


@described_by(_mnist_shape)
def mnist(
    rng: np.random.Generator,
    folder: FilePath | None = None,
    train_samples: NumSamples | None = None,
    test_samples: NumSamples | None = None,
    normalize: Normalize = "channel",
) -> Dataset:
    """60,000 + 10,000 handwritten digits of 28 x 28 pixels, 10 classes.

    folder: that holds the files; none: WSIM_DATA, else they are fetched. train_samples, test_samples: so many, drawn at
    random; none: all. normalize: by mean and deviation, or to 0 .. 1.
    """
    return image_dataset("mnist", read(MNIST, folder), NUM_CLASSES, rng, train_samples, test_samples, normalize)


@described_by(_fashion_mnist_shape)
def fashion_mnist(
    rng: np.random.Generator,
    folder: FilePath | None = None,
    train_samples: NumSamples | None = None,
    test_samples: NumSamples | None = None,
    normalize: Normalize = "channel",
) -> Dataset:
    """60,000 + 10,000 articles of clothing of 28 x 28 pixels, 10 classes.

    folder: that holds the files; none: WSIM_DATA, else they are fetched. train_samples, test_samples: so many, drawn at
    random; none: all. normalize: by mean and deviation, or to 0 .. 1.
    """
    images = read(FASHION_MNIST, folder)
    return image_dataset("fashion_mnist", images, NUM_CLASSES, rng, train_samples, test_samples, normalize)
