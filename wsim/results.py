"""Result files: one HDF5 file a run, for h5py, xarray (`open_datatree`), netCDF4, MATLAB and HDFView.

    columns, never compound types; dimension scales in the own or a parent group; `units` and `long_name` on variables;
    text as variable-length UTF-8; facts about the execution (wall times, host, date) only under /provenance; what the channel
    is made of, in words, as attributes of /provenance/channel.

After the HDF5 part stands a line of text with its SHA-256, which HDF5 readers ignore. `read` checks it first, so that a
truncated or damaged file is refused with one clear line before any of it is interpreted.
"""

from __future__ import annotations

import hashlib
import io
import json
import typing
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wsim.atomic import check_target, write_atomically
from wsim.errors import FormatError, ResultError
from wsim.heaps import heaps_end
from wsim.record import LOSS_CAUSES, RunRecord
from wsim.result_checks import check_values
from wsim.result_columns import COLUMNS, DIMENSIONS, ON_REQUEST, PAIRS, Column

FORMAT = "wsim result"
FORMAT_VERSION = 2
CHANNEL = "/provenance/channel"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SEAL = b"\nwsim-result-sha256 "
_SEAL_BYTES = len(_SEAL) + 64 + 1
MOST_COMPRESSED = 2000  # bytes that one byte of a file may stand for; deflate reaches 1032
_COMPRESS_BYTES = 1 << 16  # smaller datasets stay contiguous
_TYPES = typing.get_type_hints(RunRecord)


def write(record: RunRecord, path: str | Path, force: bool = False) -> None:
    """Write one run. Equal records give equal bytes; the file appears whole or not at all.

    force: overwrite an existing file
    Raises ResultError where the file cannot be written, ValueError where arrays of the record do not fit together.
    """
    check_target(path, force)
    content = _encode(record)
    write_atomically(path, content + _seal(content), force)


def read(path: str | Path) -> RunRecord:
    """Read one run back; every field equals the one that was written. Nothing in the file is executed.

    Raises ResultError for anything that is not a complete result file of this version.
    """
    content = _unsealed(Path(path))
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            version = file.attrs["format_version"]
            if file.attrs["format"] != FORMAT or version != FORMAT_VERSION:
                raise FormatError(f"{path}: has format version {version}, not {FORMAT_VERSION}; run the scenario again")
            record = _decode(file, MOST_COMPRESSED * len(content))
        _check_shapes(record)
        check_values(record)
        return record
    except ResultError:
        raise
    except Exception as error:  # whatever a foreign file provokes in the parsers, the answer is the same
        raise ResultError(
            f"{path}: is not a result of this version of wsim ({error}); run the scenario again"
        ) from error


def content_digest(path: str | Path) -> str:
    """SHA-256 over every dataset and attribute outside /provenance: equal for equal seeds. Raises ResultError."""
    content = _unsealed(Path(path))
    digest = hashlib.sha256()

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if name.split("/")[0] == "provenance":
            return
        _update(digest, "item", name)
        for key in sorted(item.attrs):
            if key == "DIMENSION_LIST":  # references: their targets count, not their addresses
                _update(digest, "scales", *(scale.name for dim in item.dims for scale in dim.values()))
            elif key != "REFERENCE_LIST":  # the same references, seen from the scale
                _update(digest, key, item.attrs[key])
        if isinstance(item, h5py.Dataset):
            value = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
            _update(digest, str(item.dtype), item.shape, value)

    with h5py.File(io.BytesIO(content), "r") as file:
        visit("", file)
        file.visititems(visit)
    return digest.hexdigest()


def _update(digest: Any, *parts: Any) -> None:
    """Length before content, so that no two sequences of parts look alike."""
    for part in parts:
        text_or_scalar = isinstance(part, str | tuple) or np.asarray(part).dtype == object
        content = (
            repr(np.asarray(part, dtype=object).tolist()).encode() if text_or_scalar else np.asarray(part).tobytes()
        )
        digest.update(len(content).to_bytes(8, "little") + content)


def _seal(content: bytes) -> bytes:
    return _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _unsealed(path: Path) -> bytes:
    """The HDF5 part of a file whose seal holds."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ResultError(f"{path}: cannot be read ({reason}); is this the result you meant?") from error
    if not data.startswith(_HDF5_SIGNATURE):
        raise ResultError(f"{path}: is not an HDF5 file, or damaged; name a result that `wsim run` wrote")
    content, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if seal != _seal(content) or not heaps_end(content):
        raise ResultError(f"{path}: is truncated, damaged, or not written by wsim; run the scenario again")
    return content


def _encode(record: RunRecord) -> bytes:
    sizes = _check_shapes(record)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v108", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = np.int64(FORMAT_VERSION)
        file.attrs["title"] = f"{record.name}, {record.learner}, seed {record.seed}"
        for name, size in sizes.items():
            if size or name not in ON_REQUEST:
                _write_dimension(file, name, size)
        for column in COLUMNS:
            if is_there(column, record):
                _write_column(file, column, _plain(column, getattr(record, column.field)))
        _describe_groups(file["/device_group"], record.group_names)
        for columns, values in _pairs(record):
            for column, value in zip(columns, values, strict=True):
                _write_column(file, column, value)
        if record.channel_provenance:
            attributes = file.create_group(CHANNEL).attrs
            for name, fact in record.channel_provenance.items():
                attributes[name] = fact if isinstance(fact, str) else _integer(fact)
    return buffer.getvalue()


def is_there(column: Column, record: RunRecord) -> bool:
    """Whether a file of this record holds the column."""
    value = getattr(record, column.field)
    if column.dims[:1] in {(name,) for name in ON_REQUEST}:
        return len(value) > 0
    return column.usual is None or not np.array_equal(value, column.usual(vars(record)))


def _plain(column: Column, value: Any) -> Any:
    """A record's field as a dataset holds it: text, list of text, scalar or array."""
    if column.field == "messages_lost":
        if unknown := set(value) - set(LOSS_CAUSES):
            raise ValueError(f"messages_lost has unknown causes {sorted(unknown)}; LOSS_CAUSES are {LOSS_CAUSES}")
        return np.array([value.get(cause, 0) for cause in LOSS_CAUSES], dtype=np.int64)
    if column.field == "resolved":
        return json.dumps(value, sort_keys=True)
    if column.field == "group" and np.max(value, initial=0) <= 255:
        return np.asarray(value, dtype=np.uint8)
    if column.field == "similarity_features":
        return np.asarray(value, dtype=np.float32)
    kind = _TYPES[column.field]
    if kind is bool:
        return np.uint8(value)
    if kind is int:
        return _integer(value)
    if kind is float:
        return np.float64(value)
    if kind is np.ndarray:
        return np.asarray(value, dtype=np.int64 if value.dtype.kind in "iu" else np.float64)
    return value


def _integer(value: int) -> np.integer[Any]:
    return np.int64(value) if -(2**63) <= value < 2**63 else np.uint64(value)


def _pairs(record: RunRecord) -> list[tuple[tuple[Column, Column], tuple[Any, Any]]]:
    """The fields of two columns each; mappings by sorted name."""
    pairs: list[tuple[tuple[Column, Column], tuple[Any, Any]]] = []
    for field, columns in PAIRS.items():
        value = getattr(record, field)
        if field == "edges":
            edges = np.asarray(value, dtype=np.int64)
            pairs.append((columns, (edges[:, 0], edges[:, 1])))
        else:
            names = sorted(value)
            texts = [
                json.dumps(value[name], sort_keys=True) if field == "provenance" else value[name] for name in names
            ]
            pairs.append((columns, (names, texts)))
    return pairs


def _write_dimension(file: h5py.File, name: str, size: int) -> None:
    dimension = DIMENSIONS[name]
    scale = file.create_dataset(
        dimension.path, data=np.arange(size, dtype=np.uint8 if dimension.meanings else np.int64)
    )
    scale.attrs["long_name"] = dimension.long_name
    scale.attrs["units"] = "1"
    if dimension.meanings:
        _describe_flags(scale, dimension.meanings)
    scale.make_scale(name)


def _write_column(file: h5py.File, column: Column, value: Any) -> None:
    if column.units is None:
        array = np.asarray(value, dtype=object)
        dataset = file.create_dataset(column.path, array.shape, dtype=h5py.string_dtype())
        dataset[...] = array
    else:
        array = np.asarray(value)
        options = {"compression": "gzip", "shuffle": True} if array.nbytes >= _COMPRESS_BYTES else {}
        dataset = file.create_dataset(column.path, data=array, **options)
        dataset.attrs["units"] = column.units
        if _TYPES[column.field] is bool:
            _describe_flags(dataset, ("false", "true"))
    dataset.attrs["long_name"] = column.long_name
    for axis, name in enumerate(column.dims):
        dataset.dims[axis].attach_scale(file[DIMENSIONS[name].path])


def _describe_flags(dataset: h5py.Dataset, meanings: tuple[str, ...]) -> None:
    dataset.attrs["flag_values"] = np.arange(len(meanings), dtype=dataset.dtype)
    dataset.attrs["flag_meanings"] = " ".join(meanings)


def _describe_groups(dataset: h5py.Dataset, names: list[str]) -> None:
    """Flag meanings are words apart by blanks: what is blank in a group's name becomes an underscore."""
    _describe_flags(dataset, tuple("_".join(name.split()) or "unnamed" for name in names))


def _decode(file: h5py.File, most_bytes: int) -> RunRecord:
    """most_bytes: no array can be larger, so that a damaged shape does not take all memory."""

    def value(column: Column) -> Any:
        dataset = file[column.path]
        if dataset.nbytes > most_bytes:
            raise ValueError(f"{column.path} is larger than the file can hold")
        return _value(column, dataset)

    for name, dimension in DIMENSIONS.items():
        if dimension.meanings and file[dimension.path].attrs["flag_meanings"] != " ".join(dimension.meanings):
            raise ValueError(f"other categories of {name}")
    absent = {name for name in ON_REQUEST if DIMENSIONS[name].path not in file}
    fields: dict[str, Any] = {
        column.field: value(column)
        for column in COLUMNS
        if absent.isdisjoint(column.dims) and (column.usual is None or column.path in file)
    }
    for column in COLUMNS:
        if column.usual is not None:
            fields.setdefault(column.field, column.usual(fields))
    for field, columns in PAIRS.items():
        first, second = (value(column) for column in columns)
        if field == "edges":
            fields[field] = np.stack([first, second], axis=1)
        else:
            texts = [json.loads(text) for text in second] if field == "provenance" else second
            fields[field] = dict(zip(first, texts, strict=True))
    if CHANNEL in file:
        facts = file[CHANNEL].attrs
        fields["channel_provenance"] = {
            name: fact if isinstance(fact, str) else int(fact) for name, fact in facts.items()
        }
    return RunRecord(**fields)


def _value(column: Column, dataset: h5py.Dataset) -> Any:
    if column.units is None:
        text = dataset.asstr()[()]
        if column.dims:
            return list(text)
        return json.loads(text) if column.field == "resolved" else text
    value = dataset[()]
    kind = _TYPES[column.field]
    if column.field == "messages_lost":
        return dict(zip(LOSS_CAUSES, value.tolist(), strict=True))
    if kind is np.ndarray:
        return value.astype(np.float64 if value.dtype.kind == "f" else np.int64)
    return kind(value)


def _check_shapes(record: RunRecord) -> dict[str, int]:
    """The size of every dimension; ValueError where a field's shape is another."""
    sizes = {name: len(dimension.meanings) for name, dimension in DIMENSIONS.items() if dimension.meanings}
    sizes |= {
        "device": record.num_devices,
        "node": len(record.node_names),
        "group": len(record.group_names),
        "note": len(record.notes),
        "evaluation": len(record.eval_time_s),
        "series": len(record.series_report),
        "level": len(record.levels),
        "target": len(record.targets),
        "program": len(record.program_node),
        "snapshot": len(record.snapshot_time_s),
        "edge": len(record.edge_snapshot),
        "override": len(record.overrides),
        "referenced_file": len(record.referenced_files),
        "radio_property": len(record.radio_provenance),
        "package": len(record.versions),
        "item": len(record.provenance),
        "sinr_step": len(record.sinr_time_s),
        "handover": len(record.handover_time_s),
        "wait": len(record.wait_s),
        "measure": len(record.measure_name),
        "similarity_sample": len(record.similarity_label),
        "similarity_component": record.similarity_features.shape[-1],
    }
    for column in COLUMNS:
        value = getattr(record, column.field)
        shape = tuple(sizes[name] for name in column.dims)
        if isinstance(value, np.ndarray) and is_there(column, record) and value.shape != shape:
            raise ValueError(f"{column.field} has shape {value.shape}, not {shape} = {column.dims}")
    if record.edges.shape != (sizes["edge"], 2):
        raise ValueError(f"edges has shape {record.edges.shape}, not {(sizes['edge'], 2)}")
    return sizes
