"""Data of one's own in .npz files."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learners.data import npz as npz_module
from learners.data.dataset import Dataset
from learners.data.npz import npz


def arrays(**changes: Any) -> dict[str, Any]:
    """A complete file's arrays; None leaves one out."""
    rng = np.random.default_rng(1)
    whole = {
        "train_inputs": rng.standard_normal((12, 5)),
        "train_labels": np.arange(12) % 3,
        "test_inputs": rng.standard_normal((6, 5)),
        "test_labels": np.arange(6) % 3,
    }
    return {name: array for name, array in (whole | changes).items() if array is not None}


NO_SPLIT = dict.fromkeys(arrays())


def load(path: Path, **keys: Any) -> Dataset:
    return npz(np.random.default_rng(1), str(path), **keys)


def save(path: Path, **contents: Any) -> Path:
    np.savez(path, **contents)
    return path


@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int16", "bool", ">f8"])
def test_numbers_are_taken_as_they_are(save_as: Any, dtype: str, tmp_path: Path) -> None:
    contents = arrays(train_inputs=np.arange(60).reshape(12, 5).astype(dtype), test_inputs=np.ones((6, 5), dtype))
    save_as(tmp_path / "my.npz", **contents, notes=np.array(["x"]))
    data = load(tmp_path / "my.npz")
    assert np.array_equal(data.train_inputs, contents["train_inputs"])
    assert data.train_inputs.dtype.kind == "f"
    assert (data.name, data.num_classes, data.mean) == ("my.npz", 3, None)
    assert data.test_labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_bytes_are_normalized_as_images_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for shape in ((3, 4, 4), (4, 4), (7,)):
        pixels = rng.integers(0, 256, (12, *shape), dtype=np.uint8)
        path = save(tmp_path / "pixels.npz", **arrays(train_inputs=pixels, test_inputs=pixels[:6]))
        data = load(path)
        assert data.train_inputs.dtype == np.uint8
        assert data.input_shape == ((1, *shape) if len(shape) == 2 else shape)
        channels = pixels.reshape(12, 3, -1) if len(shape) == 3 else pixels.reshape(12, 1, -1)
        assert data.mean == pytest.approx(channels.mean((0, 2)) / 255, rel=1e-12)
        assert data.std == pytest.approx(channels.std((0, 2)) / 255, rel=1e-12)
        assert set(load(path, normalize="unit").std.tolist()) == {1.0}  # type: ignore[union-attr]


def test_one_set_of_arrays_is_split_by_class(tmp_path: Path) -> None:
    inputs, labels = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    data = load(save(tmp_path / "my.npz", inputs=inputs, labels=labels), test_fraction=0.3)
    assert (len(data.train_labels), np.bincount(data.test_labels).tolist()) == (14, [3, 3])
    assert sorted([*data.train_inputs[:, 0], *data.test_inputs[:, 0]]) == inputs[:, 0].tolist()
    assert all(label == row[0] / 2 % 2 for row, label in zip(data.train_inputs, data.train_labels))


def test_fewer_samples(tmp_path: Path) -> None:
    path = save(tmp_path / "my.npz", **arrays())
    data = load(path, train_samples=4, test_samples=2)
    assert (len(data.train_labels), len(data.test_labels)) == (4, 2)
    everything = {row.tobytes(): label for row, label in zip(arrays()["train_inputs"], arrays()["train_labels"])}
    assert [everything[row.tobytes()] for row in data.train_inputs] == data.train_labels.tolist()


@pytest.mark.parametrize(
    ("contents", "keys", "message"),
    [
        (arrays(test_labels=None), {}, "has no array test_labels: needs train_inputs, train_labels, test_inputs, test_labels"),
        ({"labels": np.zeros(3, int)}, {}, "has no array inputs: needs .*, or inputs and labels; it has labels"),
        ({"arr_0": np.zeros(3)}, {}, "has no array .*; it has arr_0"),
        ({"inputs": np.zeros((4, 2)), "labels": np.array([0, 1] * 2)}, {}, "has no test arrays; test_fraction says"),
        (arrays(), {"test_fraction": 0.2}, "test_fraction = 0.2: .*my.npz has test arrays of its own"),
        (arrays(), {"normalize": "unit"}, 'normalize = "unit": the inputs of .* are numbers already'),
        (arrays(), {"train_samples": 13}, "train_samples = 13: my.npz has 12 such samples"),
        (arrays(train_labels=np.arange(11) % 3), {}, r"train_labels has the shape \(11,\), for 12 inputs it is \(12,\)"),
        (arrays(train_labels=np.eye(12, dtype=int)), {}, r"train_labels has the shape \(12, 12\)"),
        (arrays(train_labels=np.arange(12) / 1.0), {}, "train_labels holds float64, labels are whole numbers"),
        (arrays(train_labels=np.arange(12) - 1), {}, "train_labels holds label -1, labels are 0 to 9999 at most"),
        (arrays(test_labels=np.full(6, 2**63, np.uint64)), {}, "test_labels holds label 9223372036854775808"),
        (arrays(train_inputs=np.zeros(12)), {}, r"train_inputs has the shape \(12,\), inputs are \[num_samples, ...\]"),
        (arrays(test_inputs=np.zeros((0, 5)), test_labels=np.zeros(0, int)), {}, r"test_inputs has the shape \(0, 5\)"),
        (arrays(train_inputs=np.zeros((12, 0))), {}, r"train_inputs has the shape \(12, 0\)"),
        (arrays(train_inputs=np.float64(3)), {}, r"train_inputs has the shape \(\)"),
        (arrays(test_inputs=np.zeros((6, 4))), {}, "test inputs .6, 4. float64; samples have to be alike"),
        (arrays(test_inputs=np.zeros((6, 5), np.uint8)), {}, "test inputs .6, 5. uint8; samples have to be alike"),
        (arrays(train_inputs=np.full((12, 5), "x")), {}, "train_inputs holds <U1, not numbers"),
        (arrays(train_inputs=np.zeros((12, 5), complex)), {}, "train_inputs holds complex128, not numbers"),
        (arrays(train_inputs=np.zeros(12, "f8,i4")), {}, "train_inputs holds .*, not numbers"),
        (arrays(test_inputs=np.array([[1.0] * 5] * 5 + [[1, 2, np.nan, 4, 5]])), {}, "test_inputs holds nan in sample 5"),
        (arrays(test_inputs=np.array([[np.inf] * 5] * 6)), {}, "test_inputs holds inf in sample 0"),
        (arrays(test_inputs=np.array([[1e300] * 5] * 6)), {}, "test_inputs holds 1e.300 in sample 0"),
        (arrays(train_inputs=np.zeros((12, 5), np.uint8), test_inputs=np.ones((6, 5), np.uint8)), {}, "one value only"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused(contents: Any, keys: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(save(tmp_path / "my.npz", **contents), **keys)
    assert "my.npz" in str(caught.value)


class Payload:
    """Pickled, it would make a file."""

    path = ""

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    Payload.path = str(tmp_path / "unpickled")
    objects = np.array([[Payload()] * 5] * 12, dtype=object)
    save(tmp_path / "my.npz", **arrays(train_inputs=objects))
    with pytest.raises(ValueError, match="array train_inputs holds objects, not numbers"):
        load(tmp_path / "my.npz")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="damaged, or no .npz file"):
        load(tmp_path / "pickle.npz")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "no members"])
def test_a_file_that_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "my.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"my.npz: (damaged, or no .npz file|has no array inputs: .*; it has nothing)"):
        load(tmp_path / "my.npz")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"my.npz: cannot be read: No such file"):
        load(tmp_path / "my.npz")
    with pytest.raises(ValueError, match=r"cannot be read: Is a directory"):
        load(tmp_path)


def test_an_array_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "my.npz", **arrays())
    data = bytearray(path.read_bytes())
    place = data.find(arrays()["test_inputs"].tobytes())
    data[place + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged, or no .npz file \(Bad CRC-32"):
        load(path)


def npy(header: str, data: bytes) -> bytes:
    """An array file with any header."""
    padded = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode() + data


def test_a_header_that_claims_more_than_there_is_is_refused_without_the_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays(train_inputs=None).items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue())
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 5)}"
        archive.writestr("train_inputs.npy", npy(header, bytes(480)))
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match=r"train_inputs: its header says \(1000000000, 5\) float64, its size is another"
        ):
            load(tmp_path / "my.npz")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_by_the_size_that_it_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_module, "MAX_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "my.npz", **arrays(train_inputs=np.zeros((12, 100_000))))
    with pytest.raises(ValueError, match="larger than .* GiB unpacked"):
        load(tmp_path / "my.npz")


def test_a_header_is_data_not_code(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.npz", "w") as archive:
        for name in arrays():
            archive.writestr(
                f"{name}.npy", npy("{'descr': open('x'), 'fortran_order': False, 'shape': (1, 5)}", bytes(40))
            )
    with pytest.raises(ValueError, match="damaged, or no .npz file"):
        load(tmp_path / "my.npz")
