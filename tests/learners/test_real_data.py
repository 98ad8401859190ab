"""The public sets themselves, against published counts, means and checksums. Skipped where WSIM_DATA names no folder with them.

Class counts, means and standard deviations (of pixel / 255, to four places) are those that are usually quoted for these sets;
the checksums are of the official files, or of the members of an archive packed anew.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from learners import registry
from learners.data import cifar, mnist
from learners.data.dataset import Dataset
from learners.data.places import locate

FOLDER = os.environ.get("WSIM_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="WSIM_DATA names no folder with the public image sets")

MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
STATISTICS = {  # name: train counts, test counts, train mean and std, test mean and std
    "mnist": (MNIST_TRAIN, MNIST_TEST, ([0.1307], [0.3081]), ([0.1325], [0.3105])),
    "fashion_mnist": ([6000] * 10, [1000] * 10, ([0.2860], [0.3530]), ([0.2868], [0.3524])),
    "cifar10": (
        [5000] * 10,
        [1000] * 10,
        ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
        ([0.4942, 0.4851, 0.4504], [0.2467, 0.2429, 0.2616]),
    ),
    "cifar100_subset": (
        [40] * 100,
        [15] * 100,
        ([0.5083, 0.4888, 0.4444], [0.2689, 0.2570, 0.2769]),
        ([0.5059, 0.4853, 0.4407], [0.2675, 0.2564, 0.2754]),
    ),
}
CIFAR10_SHA256 = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
SUBSET_SHA256 = {
    "train.bin": "add319140a571edfc1c8179d2aca80f9dfcb41c12a653f30ac64f75f40b7861c",
    "test.bin": "2fc7d1cac7829eedc0d0b2eda34b5a820240651898045a8a743c10da5ba079c8",
}


def files_of(name: str) -> list[Path]:
    """The set's files in the folder of WSIM_DATA; skips where it holds none."""
    sets = {"mnist": mnist.MNIST, "fashion_mnist": mnist.FASHION_MNIST, "cifar10": cifar.CIFAR10}
    chosen = (sets | {"cifar100_subset": cifar.CIFAR100_SUBSET})[name]
    try:
        return locate(name, FOLDER, chosen.layouts, ())  # type: ignore[attr-defined]
    except ValueError as error:
        pytest.skip(str(error))


def moments(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixel / 255 by channel, rounded to four places."""
    counts = [np.bincount(pixels[:, channel].ravel(), minlength=256) for channel in range(pixels.shape[1])]
    shares = np.array(counts) / np.sum(counts, axis=1, keepdims=True)
    values = np.arange(256) / 255
    means = shares @ values
    return means.round(4).tolist(), np.sqrt(shares @ values**2 - means**2).round(4).tolist()


@pytest.mark.parametrize("name", STATISTICS)
def test_counts_and_moments_are_the_published_ones(name: str) -> None:
    files_of(name)
    data: Dataset = registry.load("dataset", name)(np.random.default_rng(1))
    train_counts, test_counts, train_moments, test_moments = STATISTICS[name]
    assert np.bincount(data.train_labels).tolist() == train_counts
    assert np.bincount(data.test_labels).tolist() == test_counts
    assert (data.mean.round(4).tolist(), data.std.round(4).tolist()) == train_moments  # type: ignore[union-attr]
    assert moments(data.train_inputs[:1000]) != train_moments, "a part has others"
    assert moments(data.test_inputs) == test_moments


@pytest.mark.parametrize("chosen", [mnist.MNIST, mnist.FASHION_MNIST], ids=lambda chosen: chosen.name)
def test_idx_files_are_the_official_ones(chosen: mnist.IdxSet) -> None:
    for path, download in zip(files_of(chosen.name), chosen.downloads, strict=True):
        if path.suffix == ".gz":
            data = path.read_bytes()
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == download.checksum
            assert len(data) == download.num_bytes


def records(labels: list[np.ndarray], pixels: np.ndarray) -> bytes:
    """What a file of these records holds."""
    return np.column_stack([*labels, pixels.reshape(len(pixels), -1)]).astype(np.uint8).tobytes()


def test_records_of_cifar10_are_the_official_ones_in_their_order() -> None:
    files_of("cifar10")
    data: Dataset = registry.load("dataset", "cifar10")(np.random.default_rng(1))
    batches = [
        records([data.train_labels[i : i + 10_000]], data.train_inputs[i : i + 10_000])
        for i in range(0, 50_000, 10_000)
    ]
    contents = [*batches, records([data.test_labels], data.test_inputs)]
    assert [hashlib.sha256(content).hexdigest() for content in contents] == list(CIFAR10_SHA256.values())


def test_records_of_the_subset_are_the_described_ones_in_their_order() -> None:
    files_of("cifar100_subset")
    load = registry.load("dataset", "cifar100_subset")
    both = [load(np.random.default_rng(1), labels=labels) for labels in ("coarse", "fine")]
    train = records([data.train_labels for data in both], both[0].train_inputs)
    test = records([data.test_labels for data in both], both[0].test_inputs)
    assert [hashlib.sha256(content).hexdigest() for content in (train, test)] == list(SUBSET_SHA256.values())


def test_fine_classes_lie_in_one_coarse_class_each() -> None:
    """The 100 classes of CIFAR-100 are 20 groups of 5: both labels are read from their own places."""
    files_of("cifar100_subset")
    load = registry.load("dataset", "cifar100_subset")
    fine, coarse = (load(np.random.default_rng(1), labels=labels) for labels in ("fine", "coarse"))
    pairs = {*zip(fine.train_labels.tolist(), coarse.train_labels.tolist())}
    assert len(pairs) == 100
    assert np.bincount([group for _, group in pairs]).tolist() == [5] * 20
    assert np.array_equal(fine.train_inputs, coarse.train_inputs)
