"""Your own data: arrays in a file as numpy.savez or savez_compressed writes it.

    numpy.savez("my.npz", train_inputs=..., train_labels=..., test_inputs=..., test_labels=...)
    numpy.savez("my.npz", inputs=..., labels=...)          and the key test_fraction, which is held out of every class

    inputs: [num_samples, ...], at least one number a sample; images are [num_samples, channels, height, width] or
        [num_samples, height, width]. Bytes (uint8) are normalized as images are; all other numbers are taken as they are.
    labels: whole numbers [num_samples], classes 0 .. num_classes - 1

The file is a zip archive of arrays. It holds no objects: they would have to be unpickled, which runs code. Nothing is unpacked
to disk, and no array is read whose header does not fit the size of its member.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np

from learners.data.dataset import Dataset, stratified_split
from learners.data.images import Images, Normalize, NumSamples, chosen, image_dataset
from learners.data.places import Stamp, stamp
from learners.data.shape import DataShape, described_by
from learners.quantities import FilePath, Fraction

SPLIT = ("train_inputs", "train_labels", "test_inputs", "test_labels")
WHOLE = ("inputs", "labels")
MAX_BYTES = 8 << 30
"""All arrays together, unpacked."""
MAX_CLASSES = 10_000
MAX_NUMBER = float(np.finfo(np.float32).max)
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
)
"""What zipfile and numpy raise for damaged files."""

Arrays = dict[str, np.ndarray]


def read_arrays(
    path: Path, choices: Sequence[tuple[str, ...]] = (SPLIT, WHOLE), optional: tuple[str, ...] = ()
) -> Arrays:
    """The arrays of a file: those of the first of `choices` that it holds completely, in this order, and what it has of `optional`. Raises
    ValueError, one line, for a file that holds none of the choices or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [[name for name in names if name not in members] for names in choices]
            if all(missing):
                there = ", ".join(sorted(members)[:8]) or "nothing"
                needed = ", or ".join((", " if len(names) > 2 else " and ").join(names) for names in choices)
                raise _Refused(f"has no array {min(missing, key=len)[0]}: needs {needed}; it has {there}")
            wanted = (*choices[missing.index([])], *(name for name in optional if name in members))
            if sum(members[name].file_size for name in wanted) > MAX_BYTES:
                raise _Refused(f"larger than {MAX_BYTES >> 30} GiB unpacked")
            return {name: _array(archive, members[name], name) for name in wanted}
    except _Refused as error:
        raise ValueError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise ValueError(f"{path}: damaged, or no .npz file ({error})") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> np.ndarray:
    if info.compress_type not in PACKINGS:
        raise _Refused(f"array {name} is packed in a way that numpy does not use")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
        num_header = member.tell()
    if dtype.hasobject or dtype.kind not in "biuf":
        raise _Refused(f"array {name} holds {'objects' if dtype.hasobject else dtype}, not numbers")
    if prod(shape) * dtype.itemsize != info.file_size - num_header:
        raise _Refused(f"array {name}: its header says {shape} {dtype}, its size is another")
    with archive.open(info) as member:
        array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
        member.read()  # to the checksum at the end
    return array


class _Refused(ValueError):
    """A complaint that is complete but for the file's name."""


def check_inputs(path: Path, name: str, inputs: np.ndarray) -> np.ndarray:
    """Inputs as a data set holds them: uint8 as it is, images with a channel axis; every other type as float."""
    if inputs.ndim < 2 or 0 in inputs.shape:
        raise ValueError(
            f"{path}: array {name} has the shape {inputs.shape}, inputs are [num_samples, ...], none of it 0"
        )
    if inputs.dtype.kind != "f" and inputs.dtype != np.uint8:
        inputs = inputs.astype(np.float64)
    if inputs.dtype.kind == "f":
        wrong = ~(np.abs(inputs) <= MAX_NUMBER)
        if wrong.any():
            place = np.unravel_index(int(wrong.argmax()), inputs.shape)
            raise ValueError(
                f"{path}: array {name} holds {inputs[place]} in sample {place[0]}, numbers have to be finite"
            )
    return inputs[:, None] if inputs.ndim == 3 else inputs


def check_labels(path: Path, name: str, labels: np.ndarray, num_samples: int) -> np.ndarray:
    """Labels as int64 [num_samples]."""
    if labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: array {name} holds {labels.dtype}, labels are whole numbers")
    if labels.shape != (num_samples,):
        raise ValueError(
            f"{path}: array {name} has the shape {labels.shape}, for {num_samples} inputs it is ({num_samples},)"
        )
    for label in (labels.min(), labels.max()):
        if not 0 <= int(label) < MAX_CLASSES:
            raise ValueError(f"{path}: array {name} holds label {label}, labels are 0 to {MAX_CLASSES - 1} at most")
    return labels.astype(np.int64)


@lru_cache(maxsize=1)
def _read(file: Stamp) -> Arrays:
    """Checked arrays; the latest file's are kept for the next run in this process."""
    path, arrays = file.path, read_arrays(file.path)
    names = list(arrays)
    for inputs, labels in zip(names[::2], names[1::2], strict=True):
        arrays[inputs] = check_inputs(path, inputs, arrays[inputs])
        arrays[labels] = check_labels(path, labels, arrays[labels], len(arrays[inputs]))
    shapes = {arrays[name].shape[1:] for name in names[::2]}
    types = {arrays[name].dtype for name in names[::2]}
    if len(shapes) > 1 or (np.dtype(np.uint8) in types and len(types) > 1):
        first, second = (f"{arrays[name].shape} {arrays[name].dtype}" for name in names[::2])
        raise ValueError(f"{path}: training inputs are {first}, test inputs {second}; samples have to be alike")
    return arrays


def _shape(
    file: str,
    test_fraction: float | None,
    train_samples: int | None,
    test_samples: int | None,
    normalize: str | None,
) -> DataShape | None:
    return None  # the file says


@described_by(_shape)
def npz(
    rng: np.random.Generator,
    file: FilePath,
    test_fraction: Fraction | None = None,
    train_samples: NumSamples | None = None,
    test_samples: NumSamples | None = None,
    normalize: Normalize | None = None,
) -> Dataset:
    """Arrays of your own, in a file as numpy.savez writes it.

    file: with the arrays train_inputs, train_labels, test_inputs and test_labels, or inputs and labels. test_fraction: held out
    of every class where the file has no test arrays, and only there. train_samples, test_samples: so many, drawn at random;
    none: all. normalize: of inputs that are bytes (uint8), by mean and deviation of each channel (none, too) or to 0 .. 1.
    """
    path = Path(file)
    arrays = _read(stamp([path])[0])
    if len(arrays) == len(SPLIT):
        if test_fraction is not None:
            raise ValueError(f"test_fraction = {test_fraction}: {path} has test arrays of its own")
        whole = Images(*(arrays[name] for name in SPLIT))
    else:
        if test_fraction is None:
            raise ValueError(f"{path}: has no test arrays; test_fraction says how much to hold out, such as 0.2")
        inputs, labels = arrays["inputs"], arrays["labels"]
        train, test = stratified_split(labels, test_fraction, rng)
        whole = Images(inputs[train], labels[train], inputs[test], labels[test])
    num_classes = int(max(whole.train_labels.max(), whole.test_labels.max())) + 1
    if whole.train_pixels.dtype == np.uint8:
        return image_dataset(path.name, whole, num_classes, rng, train_samples, test_samples, normalize or "channel")
    if normalize is not None:
        raise ValueError(f'normalize = "{normalize}": the inputs of {path} are numbers already; it is for uint8')
    used = chosen("train_samples", train_samples, len(whole.train_labels), path.name, rng)
    tested = chosen("test_samples", test_samples, len(whole.test_labels), path.name, rng)
    return Dataset(
        path.name,
        whole.train_pixels[used],
        whole.train_labels[used],
        whole.test_pixels[tested],
        whole.test_labels[tested],
        num_classes,
    )
