"""The public image sets: where their files are looked for, what is read from them, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from learners import registry
from learners.data import cifar, mnist, packed
from learners.data.dataset import Dataset
from tests.learners import data_files
from tests.learners.data_files import NUM_TEST, NUM_TRAIN, Case, mnist_files, pixels_and_labels, put, write

CASES = data_files.cases()


@pytest.fixture(autouse=True)
def _small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    data_files.shrink(monkeypatch)
    monkeypatch.delenv("WSIM_DATA", raising=False)


def load(name: str, folder: Path | str | None = None, **keys: object) -> Dataset:
    loaded: Dataset = registry.load("dataset", name)(
        np.random.default_rng(1), folder=None if folder is None else str(folder), **keys
    )
    return loaded


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_layout_gives_the_images_in_the_order_of_the_files(case: Case, tmp_path: Path) -> None:
    data = load(case.name, write(tmp_path, case))
    shape = (28, 28) if "mnist" in case.name else (3, 32, 32)
    num_classes = 100 if "100" in case.name else 10
    for seed, count, inputs, labels in (
        (1, NUM_TRAIN, data.train_inputs, data.train_labels),
        (2, NUM_TEST, data.test_inputs, data.test_labels),
    ):
        pixels, expected = pixels_and_labels(seed, count, shape, num_classes)
        assert np.array_equal(inputs.reshape(pixels.shape), pixels)
        assert labels.tolist() == expected.tolist()
        assert inputs.dtype == np.uint8
    assert data.input_shape == ((1, 28, 28) if len(shape) == 2 else shape)
    assert data.num_classes == num_classes


def test_coarse_labels_of_cifar100(tmp_path: Path) -> None:
    folder = write(tmp_path, CASES["cifar100-folder"])
    fine, coarse = load("cifar100", folder), load("cifar100", folder, labels="coarse")
    assert (fine.num_classes, coarse.num_classes) == (100, 20)
    assert np.array_equal(coarse.train_labels, fine.train_labels // 5)


def test_mean_and_deviation_are_those_of_the_training_images_by_channel(tmp_path: Path) -> None:
    folder = write(tmp_path, CASES["cifar10-plain"])
    data = load("cifar10", folder)
    values = pixels_and_labels(1, NUM_TRAIN, (3, 32, 32))[0] / 255
    assert data.mean == pytest.approx(values.mean((0, 2, 3)), rel=1e-12)
    assert data.std == pytest.approx(values.std((0, 2, 3)), rel=1e-12)
    part = load("cifar10", folder, train_samples=3)
    assert np.array_equal(part.mean, data.mean)
    unit = load("cifar10", folder, normalize="unit")
    assert (unit.mean.tolist(), unit.std.tolist()) == ([0, 0, 0], [1, 1, 1])  # type: ignore[union-attr]


def test_fewer_samples_are_part_of_more(tmp_path: Path) -> None:
    folder = write(tmp_path, CASES["mnist-gz"])
    few, more = (load("mnist", folder, train_samples=n, test_samples=5) for n in (7, 21))
    assert (len(few.train_labels), len(more.train_labels)) == (7, 21)
    there = {image.tobytes() for image in more.train_inputs}
    assert {image.tobytes() for image in few.train_inputs} < there
    assert np.array_equal(few.test_inputs, more.test_inputs)
    assert np.array_equal(few.test_inputs, load("mnist", folder, test_samples=5).test_inputs)
    labels = dict(
        zip(
            (image.tobytes() for image in load("mnist", folder).train_inputs),
            pixels_and_labels(1, NUM_TRAIN, (28, 28))[1],
        )
    )
    assert [labels[image.tobytes()] for image in few.train_inputs] == few.train_labels.tolist()
    with pytest.raises(ValueError, match="train_samples = 41: mnist has 40 such samples"):
        load("mnist", folder, train_samples=41)


def test_what_is_known_before_loading_is_what_is_loaded(tmp_path: Path) -> None:
    for case in ("mnist-gz", "fashion-gz", "cifar10-xz", "cifar100-folder", "subset-xz"):
        name, folder = CASES[case].name, str(write(tmp_path / case, CASES[case]))
        loader = registry.load("dataset", name)
        more = {"labels": "coarse"} if "100" in name else {}
        keys = dict(folder=folder, train_samples=11, test_samples=None, normalize="unit") | more
        shape, data = loader.describe(**keys), load(name, **keys)
        assert (shape.num_train, shape.num_test) == (len(data.train_labels), len(data.test_labels)) == (11, NUM_TEST)
        assert (shape.num_classes, shape.input_shape) == (data.num_classes, data.input_shape)
        with pytest.raises(ValueError, match=f"test_samples = 21: {name} has 20 such samples"):
            loader.describe(**(keys | dict(test_samples=21)))


def test_a_set_is_read_once_and_again_when_its_files_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    original = mnist.read_idx
    monkeypatch.setattr(mnist, "read_idx", lambda path, shape: reads.append(path) or original(path, shape))
    folder = put(tmp_path / "mnist", mnist_files())
    first, second = load("mnist", tmp_path), load("mnist", tmp_path, train_samples=3)
    assert len(reads) == 4
    assert np.shares_memory(first.train_inputs, load("mnist", tmp_path).train_inputs)
    assert len(second.train_inputs) == 3
    put(folder, mnist_files(seed=5))
    assert not np.array_equal(load("mnist", tmp_path).train_inputs, first.train_inputs)
    assert len(reads) == 8


# -- where it is looked for -------------------------------------------------------------------------------------------


def test_the_folder_of_the_variable_is_used_where_no_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "one" / "mnist", mnist_files(seed=1))
    put(tmp_path / "two" / "mnist", mnist_files(seed=3))
    monkeypatch.setenv("WSIM_DATA", str(tmp_path / "one"))
    first, named = load("mnist"), load("mnist", tmp_path / "two")
    assert np.array_equal(first.train_inputs[:, 0], pixels_and_labels(1, NUM_TRAIN, (28, 28))[0])
    assert np.array_equal(named.train_inputs[:, 0], pixels_and_labels(3, NUM_TRAIN, (28, 28))[0])


def test_a_folder_comes_before_an_archive(tmp_path: Path) -> None:
    write(tmp_path, CASES["cifar10-folder"])
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    assert len(load("cifar10", tmp_path).train_labels) == NUM_TRAIN


def test_a_named_folder_has_to_hold_the_set(tmp_path: Path) -> None:
    put(tmp_path / "fashion-mnist", mnist_files())
    message = (
        "folder = .*: train-images-idx3-ubyte ... of mnist are neither there nor in MNIST, MNIST/raw, mnist below it"
    )
    with pytest.raises(ValueError, match=message):
        load("mnist", tmp_path)
    with pytest.raises(ValueError, match="folder = '.*nowhere': there is no such folder"):
        load("mnist", tmp_path / "nowhere")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="folder = '.*file': no folder"):
        load("mnist", tmp_path / "file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "mnist", mnist_files(), zipped=True)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        ValueError, match="mnist: t10k-labels-idx1-ubyte of mnist is missing, train-images-idx3-ubyte.gz is there"
    ):
        load("mnist", tmp_path)


def test_a_set_that_is_nowhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "cifar100_subset"
    with pytest.raises(ValueError, match="cannot be downloaded: name the folder .* by the key folder or .* WSIM_DATA"):
        load(name)
    monkeypatch.setenv("WSIM_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="cifar100_subset is not in WSIM_DATA = '.*' and cannot be downloaded"):
        load(name)
    monkeypatch.setenv("WSIM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="WSIM_DATA = '.*nowhere': there is no such folder"):
        load(name)


def test_files_of_the_other_set_of_the_same_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = pixels_and_labels(2, NUM_TEST, (28, 28))[1].astype(np.uint8)
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    put(tmp_path, mnist_files())
    assert len(load("fashion_mnist", tmp_path).test_labels) == NUM_TEST
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, test_labels_sha256=digest))
    mnist._read.cache_clear()
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte: this is mnist, not fashion_mnist"):
        load("fashion_mnist", tmp_path)
    assert len(load("mnist", tmp_path).test_labels) == NUM_TEST


# -- what is refused --------------------------------------------------------------------------------------------------

IMAGES, LABELS = data_files.MNIST_FILES[:2]


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


IDX_FAULTS = {
    "empty": (IMAGES, lambda data: b"", "0 bytes, an idx file of 3 dimensions has a header of 16"),
    "magic": (IMAGES, lambda data: changed(data, 0, struct.pack(">I", 2049)), r"begins with 2049, .* \(2051\)"),
    "text": (LABELS, lambda data: b"label,pixel\n5,0\n", "begins with 1818321509, no idx file"),
    "count": (IMAGES, lambda data: changed(data, 4, struct.pack(">I", 41)), "holds 41 x 28 x 28 bytes, and 40 x 28 x 28 are expected"),
    "side": (IMAGES, lambda data: changed(data, 8, struct.pack(">I", 27)), "holds 40 x 27 x 28 bytes"),
    "cut": (IMAGES, lambda data: data[:-1], "cut off, the header promises 40 x 28 x 28 bytes"),
    "more": (IMAGES, lambda data: data + b"\0", "bytes behind the last, the header promises"),
    "label": (LABELS, lambda data: changed(data, 11, b"\x0a"), "label 10 of sample 3, labels are 0 to 9"),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("fault", IDX_FAULTS)
def test_a_damaged_idx_file_is_refused_by_name(fault: str, zipped: bool, tmp_path: Path) -> None:
    file, damage, message = IDX_FAULTS[fault]
    files = mnist_files()
    put(tmp_path, files | {file: damage(files[file])}, zipped=zipped)
    with pytest.raises(ValueError, match=f"{file}.*: {message}"):
        load("mnist", tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-20], "damaged or cut off"),
        (lambda data: changed(data, 200, b"\xff\x00\xff\x00"), "damaged or cut off"),
        (
            lambda data: changed(data, len(data) - 8, b"\0\0\0\0"),
            r"damaged or cut off \(CRC check failed",
        ),
        (lambda data: b"PK" + data[2:], "damaged or cut off .*Not a gzipped file"),
        (lambda data: data + b"more", "damaged or cut off .*Not a gzipped file"),
    ],
    ids=["cut", "middle", "checksum", "magic", "trailing"],
)
def test_a_damaged_gzip_file_is_refused(damage: object, message: str, tmp_path: Path) -> None:
    files = {f"{name}.gz": gzip.compress(data) for name, data in mnist_files().items()}
    put(tmp_path, files | {f"{IMAGES}.gz": damage(files[f"{IMAGES}.gz"])})  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        load("mnist", tmp_path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, mnist_files())

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ValueError, match="ubyte: cannot be read: Permission denied"):
        load("mnist", tmp_path)


TEN = data_files.cifar10_files()
IN_TEN = {f"cifar-10-batches-bin/{name}": data for name, data in TEN.items()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "24,583 bytes, not 24,584"),
        (lambda data: data + b"\0", "more than 24,584 bytes, not 24,584"),
        (lambda data: changed(data, 3073, b"\x0a"), "label 10 in record 1, labels are 0 to 9"),
    ],
    ids=["short", "long", "label"],
)
def test_a_damaged_record_file_is_refused_by_name(damage: object, message: str, tmp_path: Path) -> None:
    put(tmp_path, TEN | {"data_batch_3.bin": damage(TEN["data_batch_3.bin"])})  # type: ignore[operator]
    with pytest.raises(ValueError, match=f"data_batch_3.bin: {message}"):
        load("cifar10", tmp_path)


def test_labels_of_cifar100_are_checked_both(tmp_path: Path) -> None:
    files = data_files.cifar100_files()
    for at, value, message in (
        (0, b"\x14", "label 20 in record 0, labels are 0 to 19"),
        (1, b"\x64", "label 100 in record 0"),
    ):
        put(tmp_path, files | {"test.bin": changed(files["test.bin"], at, value)})
        cifar._read.cache_clear()
        with pytest.raises(ValueError, match=f"test.bin: {message}"):
            load("cifar100", tmp_path)


def archive_with(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.name, info.size = name, len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def link(target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def device() -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = tarfile.CHRTYPE
    return info


FIRST = "cifar-10-batches-bin/data_batch_1.bin"


def test_members_that_nobody_asked_for_are_passed_over_and_nothing_is_extracted(tmp_path: Path) -> None:
    hostile = [("/etc/passwd", b"root"), ("../../evil", b"evil"), ("a\nb", b"x"), ("lnk", link("/")), ("dev", device())]
    members = [*hostile, *((f"./{name}", data) for name, data in IN_TEN.items())]
    put(tmp_path / "data", {"cifar-10-binary.tar": archive_with(*members)})
    before = sorted(tmp_path.rglob("*"))
    assert len(load("cifar10", tmp_path / "data").train_labels) == NUM_TRAIN
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({FIRST: link("/etc/passwd")}, f"member {FIRST} is no ordinary file"),
        ({FIRST: device()}, f"member {FIRST} is no ordinary file"),
        ({FIRST: b"short"}, f"member {FIRST} has 5 bytes, not 24,584"),
        ({FIRST: None}, f"has no member {FIRST}"),
        ({FIRST: changed(IN_TEN[FIRST], 0, b"\xff")}, f"{FIRST}: label 255 in record 0"),
    ],
    ids=["link", "device", "short", "missing", "label"],
)
def test_a_wrong_member_is_refused(members: dict[str, object], message: str, tmp_path: Path) -> None:
    every = [(name, data) for name, data in (IN_TEN | members).items() if data is not None]
    put(tmp_path, {"cifar-10-binary.tar": archive_with(*every)})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"cifar-10-binary.tar: {message}"):
        load("cifar10", tmp_path)


def test_a_member_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    put(tmp_path, {"cifar-10-binary.tar": archive_with(*IN_TEN.items(), (FIRST, IN_TEN[FIRST]))})
    with pytest.raises(ValueError, match=f"member {FIRST} occurs twice"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("cifar-10-binary.tar", b"", "no readable tar archive"),
        ("cifar-10-binary.tar", b"x" * 5000, "no readable tar archive"),
        ("cifar-10-binary.tar", data_files.tar(IN_TEN)[:-70_000], "no readable tar archive|cut off in member"),
        ("cifar-10-binary.tar.gz", data_files.tar(IN_TEN, "w:gz")[:-5000], "damaged or cut off"),
        ("cifar-10-binary.tar.gz", data_files.tar(IN_TEN, "w:gz")[:-1], "damaged or cut off"),
        ("cifar-10-binary.tar.xz", data_files.tar(IN_TEN, "w:xz")[:-5000], "damaged or cut off"),
        ("cifar-10-binary.tar.xz", data_files.tar(IN_TEN, "w:xz")[:-1], "damaged or cut off"),
        ("cifar-10-binary.tar.xz", data_files.tar(IN_TEN, "w:xz") + b"more", "damaged or cut off"),
        ("cifar-10-binary.tar.xz", data_files.tar(IN_TEN, "w:gz"), "damaged or cut off"),
    ],
)
def test_a_damaged_archive_is_refused(file: str, content: bytes, message: str, tmp_path: Path) -> None:
    put(tmp_path, {file: content})
    with pytest.raises(ValueError, match=f"{file}: ({message})"):
        load("cifar10", tmp_path)


# -- files that unpack to more than they should ---------------------------------------------------------------------------

BOMB_BYTES = 32 << 20


def peak_bytes(name: str, folder: Path, message: str) -> int:
    """Most memory taken while the set is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load(name, folder)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_read_to_the_expected_size_only(tmp_path: Path) -> None:
    files = mnist_files()
    put(tmp_path, files | {IMAGES: files[IMAGES] + bytes(BOMB_BYTES)}, zipped=True)
    assert peak_bytes("mnist", tmp_path, "bytes behind the last") < 2 << 20


@pytest.mark.parametrize("suffix", ["gz", "xz"])
@pytest.mark.parametrize("place", ["before", "behind", "inside"])
def test_an_archive_bomb_is_read_to_the_expected_size_only(suffix: str, place: str, tmp_path: Path) -> None:
    bomb = {"zeros": bytes(BOMB_BYTES)}
    files = {"before": bomb | IN_TEN, "behind": IN_TEN | bomb, "inside": IN_TEN | {FIRST: bytes(BOMB_BYTES)}}[place]
    put(tmp_path, {f"cifar-10-binary.tar.{suffix}": data_files.tar(files, f"w:{suffix}")})
    message = "unpacks to more than 4,378,684 bytes" if place != "inside" else "has 33,554,432 bytes, not 24,584"
    assert peak_bytes("cifar10", tmp_path, message) < 16 << 20


def test_an_xz_stream_may_not_claim_any_amount_of_memory(tmp_path: Path) -> None:
    """The size of the dictionary stands in the block header, behind the stream header of 12 bytes: 40 means 4 GiB."""
    data = bytearray(lzma.compress(b"x" * 1000, lzma.FORMAT_XZ))
    size = (data[12] + 1) * 4
    assert data[14:16] == b"\x21\x01", "filter LZMA2 with one byte of properties"
    data[16] = 40
    data[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(data[12 : 12 + size - 4]))
    path = tmp_path / "large.xz"
    path.write_bytes(data)
    assert len(lzma.decompress(bytes(data))) == 1000, "the header is valid"
    with pytest.raises(ValueError, match="damaged or cut off .*Memory usage limit exceeded"):
        packed.content(path, 1000)
