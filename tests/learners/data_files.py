"""Small files in the formats of the public image sets, with pixels and labels drawn at random."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from learners.data import cifar, mnist

NUM_TRAIN, NUM_TEST = 40, 20
MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set is as large as these files, and cannot be fetched."""
    for module, names in ((mnist, ("MNIST", "FASHION_MNIST")), (cifar, ("CIFAR10", "CIFAR100", "CIFAR100_SUBSET"))):
        for name in names:
            sizes = {"num_train": NUM_TRAIN, "num_test": NUM_TEST}
            sources = {"mirrors": ()} if module is mnist else {"downloads": ()}
            monkeypatch.setattr(module, name, replace(getattr(module, name), **sizes, **sources))


def pixels_and_labels(
    seed: int, count: int, shape: tuple[int, ...], num_classes: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.permutation(np.arange(count) % num_classes)


def idx(array: np.ndarray) -> bytes:
    """An idx file."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist_files(seed: int = 1) -> dict[str, bytes]:
    """The four files, unpacked, by name."""
    train, test = pixels_and_labels(seed, NUM_TRAIN, (28, 28)), pixels_and_labels(seed + 1, NUM_TEST, (28, 28))
    return dict(zip(MNIST_FILES, map(idx, (*train, *test)), strict=True))


def cifar10_files(seed: int = 1) -> dict[str, bytes]:
    """The six files by name; records are in the order of `pixels_and_labels`."""
    parts = np.split(_records(seed, NUM_TRAIN, (10,)), 5)
    files = {f"data_batch_{i}.bin": part.tobytes() for i, part in enumerate(parts, 1)}
    return files | {"test_batch.bin": _records(seed + 1, NUM_TEST, (10,)).tobytes()}


def cifar100_files(seed: int = 1) -> dict[str, bytes]:
    """The two files by name; the coarse label is the fine one divided by 5."""
    train, test = (_records(seed + i, count, (20, 100)) for i, count in enumerate((NUM_TRAIN, NUM_TEST)))
    return {"train.bin": train.tobytes(), "test.bin": test.tobytes()}


def _records(seed: int, count: int, num_classes: tuple[int, ...]) -> np.ndarray:
    pixels, labels = pixels_and_labels(seed, count, (3, 32, 32), num_classes[-1])
    columns = [labels] if len(num_classes) == 1 else [labels // 5, labels]
    return np.column_stack([*columns, pixels.reshape(count, -1)]).astype(np.uint8)


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    """An archive of these members. mode: "w", "w:gz" or "w:xz"."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def put(folder: Path, files: dict[str, bytes], *, zipped: bool = False) -> Path:
    """Write the files, gzipped under name + ".gz" if asked for, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(data) if zipped else data)
    return folder


@dataclass(frozen=True)
class Case:
    """A stored set: what it is called, and its files below the data folder."""

    name: str
    files: dict[str, bytes]


def cases() -> dict[str, Case]:
    """Every set in several of the layouts that are understood."""
    digits, ten, hundred = mnist_files(), cifar10_files(), cifar100_files()
    zipped = {f"{name}.gz": gzip.compress(data) for name, data in digits.items()}
    in_ten = {f"cifar-10-batches-bin/{name}": data for name, data in ten.items()}
    in_hundred = {f"cifar-100-binary/{name}": data for name, data in hundred.items()}
    in_subset = {f"cifar-100-binary-subset/{name}": data for name, data in hundred.items()}
    return {
        "mnist-gz": Case("mnist", {f"mnist/{name}": data for name, data in zipped.items()}),
        "mnist-raw": Case("mnist", {f"MNIST/raw/{name}": data for name, data in digits.items()}),
        "mnist-plain": Case("mnist", zipped),
        "fashion-gz": Case("fashion_mnist", {f"fashion-mnist/{name}": data for name, data in zipped.items()}),
        "fashion-raw": Case("fashion_mnist", {f"FashionMNIST/raw/{name}": data for name, data in zipped.items()}),
        "cifar10-folder": Case("cifar10", in_ten),
        "cifar10-plain": Case("cifar10", ten),
        "cifar10-tar": Case("cifar10", {"cifar-10-binary.tar": tar(in_ten)}),
        "cifar10-gz": Case("cifar10", {"cifar10/cifar-10-binary.tar.gz": tar(in_ten, "w:gz")}),
        "cifar10-xz": Case("cifar10", {"cifar-10-binary.tar.xz": tar(in_ten, "w:xz")}),
        "cifar100-gz": Case("cifar100", {"cifar-100-binary.tar.gz": tar(in_hundred, "w:gz")}),
        "cifar100-folder": Case("cifar100", in_hundred),
        "subset-xz": Case("cifar100_subset", {"cifar-100-binary-subset.tar.xz": tar(in_subset, "w:xz")}),
    }


def write(folder: Path, case: Case) -> Path:
    """Write a case's files and return the folder."""
    for name, data in case.files.items():
        put((folder / name).parent, {Path(name).name: data})
    return folder
