"""The result file: what goes in comes out, other programs read it, and nothing but a whole file bears its name."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wsim.records import make_record
from wsim import atomic, results
from wsim.errors import ResultError
from wsim.record import LOSS_CAUSES, RunRecord
from wsim.result_columns import COLUMNS, PAIRS

FIELDS = [field.name for field in dataclasses.fields(RunRecord)]

EMPTY: dict[str, Any] = dict(
    num_evals=0,
    targets=np.empty(0),
    target_time_s=np.empty(0),
    target_on_air_bits=np.empty(0),
    target_energy_j=np.empty(0),
    notes=[],
    overrides=[],
    edges=np.empty((0, 2), dtype=np.int64),
    edge_snapshot=np.empty(0, dtype=np.int64),
    snapshot_time_s=np.empty(0),
    spectral_gap=np.empty(0),
    positions_m=np.empty((0, 21, 3)),
    scenario_text="",
    event_digest="",
    resolved={},
    referenced_files={},
    radio_provenance={},
    channel_provenance={},
    versions={},
    provenance={},
)

CASES = {
    "server": {},
    "no server": {"server": False},
    "estimate": {"estimated": True},
    "one device": {"num_devices": 1, "num_evals": 1, "group": np.zeros(1, dtype=np.int64)},
    "compressed": {"num_devices": 300},
    "large seed": {"seed": 2**63 + 5},
    "empty": EMPTY,
}


@pytest.fixture(params=CASES)
def record(request: pytest.FixtureRequest) -> RunRecord:
    return make_record(**CASES[request.param])


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a whole result file."""
    path = tmp_path_factory.mktemp("whole") / "run.h5"
    results.write(make_record(num_evals=5), path)
    return path.read_bytes()


def assert_equal(left: RunRecord, right: RunRecord) -> None:
    for name in FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert type(a) is type(b), name
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            assert a == b, name


def refusal(path: Path) -> str:
    """The one line that names the file and a remedy."""
    with pytest.raises(ResultError) as error:
        results.read(path)
    line = str(error.value)
    assert "\n" not in line
    assert path.name in line
    assert any(word in line for word in ("again", "name a result", "did you mean", "is this the result you meant"))
    with pytest.raises(ResultError):
        results.content_digest(path)
    return line


WRITTEN = tuple(column for column in COLUMNS if column.usual is None)
"""What every file holds."""

# What goes in comes out.


def test_every_field_has_its_place_once() -> None:
    assert sorted([column.field for column in COLUMNS] + list(PAIRS) + ["channel_provenance"]) == sorted(FIELDS)


def test_devices_that_are_gone_take_columns_and_are_left_out_where_nobody_is(tmp_path: Path) -> None:
    for number, (present, failed) in enumerate([([4, 4, 4], [0, 0, 0]), ([4, 3, 1], [0, 0, 2])]):
        counts = {"eval_devices_present": np.array(present), "eval_devices_failed": np.array(failed)}
        record = make_record(num_devices=4, num_evals=3, **counts)
        path = tmp_path / f"{number}.h5"
        results.write(record, path)
        assert_equal(results.read(path), record)
        with h5py.File(path) as file:
            assert ("metrics/devices_present" in file) == ("metrics/devices_failed" in file) == (number == 1)


def test_round_trip_restores_every_field(record: RunRecord, tmp_path: Path) -> None:
    results.write(record, tmp_path / "run.h5")
    assert_equal(results.read(tmp_path / "run.h5"), record)


def test_equal_records_give_equal_bytes(record: RunRecord, tmp_path: Path) -> None:
    results.write(record, tmp_path / "a.h5")
    results.write(record, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="accuracy_p10 has shape"):
        results.write(make_record(accuracy_p10=np.zeros(3)), tmp_path / "run.h5")
    with pytest.raises(ValueError, match="edges has shape"):
        results.write(make_record(edges=np.zeros((3, 2), dtype=np.int64)), tmp_path / "run.h5")
    with pytest.raises(ValueError, match="unknown causes"):
        results.write(make_record(messages_lost={"bad luck": 1}), tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_a_cause_that_was_not_counted_reads_as_none_lost(tmp_path: Path) -> None:
    results.write(make_record(messages_lost={"queue": 3}), tmp_path / "run.h5")
    assert results.read(tmp_path / "run.h5").messages_lost == dict.fromkeys(LOSS_CAUSES, 0) | {"queue": 3}


# The digest: equal for equal content, whatever the execution was like.


def changed(record: RunRecord, name: str) -> RunRecord:
    value = getattr(record, name)
    if name == "num_devices":
        return make_record(num_devices=record.num_devices + 1, num_evals=5)
    if isinstance(value, np.ndarray):
        other: Any = value.copy()
        flat = other.reshape(-1)
        flat[np.flatnonzero(~np.isnan(flat))[0]] += 1
    elif isinstance(value, bool):
        other = not value
    elif isinstance(value, int | float):
        other = value + 1
    elif isinstance(value, str):
        other = value + "."
    elif isinstance(value, list):
        other = [*value[:-1], value[-1] + "."]
    else:
        key = next(iter(value))
        other = value | {key: value[key] + 1 if isinstance(value[key], int) else "another"}
    return dataclasses.replace(record, **{name: other})


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a record as it is."""
    path = tmp_path_factory.mktemp("digest") / "a.h5"
    results.write(make_record(num_evals=5), path)
    return results.content_digest(path)


@pytest.mark.parametrize("name", FIELDS)
def test_digest_sees_every_field_but_provenance(name: str, digest: str, tmp_path: Path) -> None:
    results.write(changed(make_record(num_evals=5), name), tmp_path / "b.h5")
    assert (results.content_digest(tmp_path / "b.h5") == digest) == (name in ("provenance", "channel_provenance"))


def test_digest_ignores_how_much_provenance_there_is(tmp_path: Path) -> None:
    results.write(make_record(num_devices=300, provenance={}), tmp_path / "a.h5")
    results.write(
        make_record(num_devices=300, provenance={f"fact {i}": "x" * i for i in range(400)}), tmp_path / "b.h5"
    )
    assert results.content_digest(tmp_path / "a.h5") == results.content_digest(tmp_path / "b.h5")


def test_digest_ignores_the_order_of_keys(tmp_path: Path) -> None:
    record = make_record(num_evals=5)
    turned = dataclasses.replace(
        record,
        resolved=dict(reversed(record.resolved.items())),
        versions=dict(reversed(record.versions.items())),
    )
    results.write(record, tmp_path / "a.h5")
    results.write(turned, tmp_path / "b.h5")
    assert results.content_digest(tmp_path / "a.h5") == results.content_digest(tmp_path / "b.h5")


# Other programs.


@pytest.mark.parametrize("engine", [None, "netcdf4", "h5netcdf"])
@pytest.mark.parametrize("case", ["server", "compressed", "empty"])
def test_xarray_opens_the_tree_without_a_warning(engine: Any, case: str, tmp_path: Path) -> None:
    record = make_record(**CASES[case])
    results.write(record, tmp_path / "run.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xarray.open_datatree(tmp_path / "run.h5", engine=engine) as tree:
            tree.load()
    assert tree["/name"].item() == record.name
    assert tree["/scenario/text"].item() == record.scenario_text
    np.testing.assert_array_equal(tree["/metrics/accuracy_by_device"], record.accuracy_by_device)
    assert tree["/metrics/accuracy_by_device"].dims == ("evaluation", "device")
    assert tree["/energy/energy_j"].dims == ("node", "energy_use")
    assert tree["/energy/energy_j"].attrs["units"] == "J"


@pytest.mark.parametrize("case", ["server", "compressed", "empty"])
def test_netcdf4_reads_every_variable(case: str, tmp_path: Path) -> None:
    record = make_record(**CASES[case])
    results.write(record, tmp_path / "run.h5")
    with netCDF4.Dataset(tmp_path / "run.h5") as file:
        for column in WRITTEN + sum(PAIRS.values(), ()):
            variable = file[column.path]
            assert variable.dimensions == column.dims
            assert variable.long_name == column.long_name
            assert getattr(variable, "units", None) == column.units
            assert np.shape(variable[...]) == variable.shape
        assert file["/scenario/text"][...] == record.scenario_text
        np.testing.assert_array_equal(file["/metrics/accuracy"][...], record.accuracy)
        assert list(file["/node_name"][...]) == record.node_names


@pytest.mark.parametrize("case", ["server", "no server", "compressed", "empty"])
def test_all_three_libraries_read_the_same_values_with_the_same_units(case: str, tmp_path: Path) -> None:
    """h5py, netCDF4 and xarray, every variable, scales included; units and meanings as the table of columns says."""
    results.write(make_record(**CASES[case]), tmp_path / "run.h5")
    columns = {column.path: column for column in WRITTEN + sum(PAIRS.values(), ())}
    paths: list[str] = []
    with warnings.catch_warnings(), h5py.File(tmp_path / "run.h5") as file:
        warnings.simplefilter("error")
        file.visititems(lambda name, item: paths.append(f"/{name}") if isinstance(item, h5py.Dataset) else None)
        with netCDF4.Dataset(tmp_path / "run.h5") as nc, xarray.open_datatree(tmp_path / "run.h5") as tree:
            nc.set_auto_mask(False)
            for path in paths:
                column = columns.pop(path, None)
                units = column.units if column else "1"  # scales are indices
                long_name = column.long_name if column else file[path].attrs["long_name"]
                for attributes in (file[path].attrs, nc[path].__dict__, tree[path].attrs):
                    assert attributes.get("units") == units, path
                    assert attributes["long_name"] == long_name, path
                text = h5py.check_string_dtype(file[path].dtype) is not None
                value = file[path].asstr()[()] if text else file[path][()]
                for other in (nc[path][...], tree[path].to_numpy()):
                    assert np.shape(other) == np.shape(value), path
                    assert np.array_equal(np.asarray(other).tolist(), np.asarray(value).tolist(), equal_nan=not text), (
                        path
                    )
    assert not columns


def test_hdf5_is_made_of_columns_with_scales_units_and_flags(record: RunRecord, tmp_path: Path) -> None:
    results.write(record, tmp_path / "run.h5")
    datasets: list[h5py.Dataset] = []
    with h5py.File(tmp_path / "run.h5") as file:
        file.visititems(lambda name, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        for dataset in datasets:
            assert dataset.dtype.names is None  # no compound types
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            assert is_text == ("units" not in dataset.attrs), dataset.name
            assert dataset.attrs["long_name"]
            assert " since " not in dataset.attrs.get("units", "")
            if "flag_values" in dataset.attrs:
                assert dataset.dtype == np.uint8
                assert dataset.attrs["flag_values"].dtype == np.uint8
                assert len(dataset.attrs["flag_values"]) == len(dataset.attrs["flag_meanings"].split())
                assert np.isin(dataset[...], dataset.attrs["flag_values"]).all()
            if dataset.is_scale:
                continue
            for dimension in dataset.dims:
                (scale,) = dimension.values()
                assert dataset.parent.name.startswith(scale.parent.name)
        assert file["/ledger/loss_cause"].attrs["flag_meanings"].split() == list(LOSS_CAUSES)


# A whole file or none.


class Crash(Exception):
    """Something nobody foresaw."""


FAULTS = (
    (h5py.Group, "create_dataset"),
    (h5py.AttributeManager, "__setitem__"),
    (h5py.Dataset, "make_scale"),
    (os, "fsync"),
    (os, "replace"),
)


@pytest.mark.parametrize(
    "error", [Crash("gone"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
@pytest.mark.parametrize(("owner", "name"), FAULTS)
def test_a_fault_at_any_call_leaves_nothing(
    owner: Any, name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first, a middle and the last call: no file under the final name and no temporary one."""
    record = make_record(num_evals=2, num_devices=3)
    original = getattr(owner, name)
    calls = 0
    fail_at = 0

    def faulty(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, faulty)
    results.write(record, tmp_path / "counted.h5")
    (tmp_path / "counted.h5").unlink()
    assert calls > 0
    for number in sorted({1, (calls + 1) // 2, calls}):
        calls, fail_at = 0, number
        with pytest.raises((type(error), ResultError)):
            results.write(record, tmp_path / "run.h5")
        assert not list(tmp_path.iterdir())


def test_a_fault_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    results.write(make_record(seed=1), path)
    before = path.read_bytes()

    def no_replace(*args: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", no_replace)
    with pytest.raises(ResultError, match=r"run\.h5: cannot be written \(input/output error\)"):
        results.write(make_record(seed=2), path, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    """A real failure of write(2) half-way, by a limit on the size of files."""
    script = (
        "import resource, sys; from tests.wsim.records import make_record; from wsim import results\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: results.write(make_record(), sys.argv[1])\n"
        "except results.ResultError as error: sys.exit(str(error))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "run.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "run.h5: cannot be written (file too large)" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    results.write(make_record(seed=1), path)
    with pytest.raises(ResultError, match=r"run\.h5: exists already; .*--force"):
        results.write(make_record(seed=2), path)
    assert results.read(path).seed == 1
    results.write(make_record(seed=2), path, force=True)
    assert results.read(path).seed == 2


def test_a_file_that_appears_during_the_run_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    fsync = os.fsync

    def fsync_and_rival(descriptor: int) -> None:
        fsync(descriptor)
        path.write_text("a rival's result")

    monkeypatch.setattr(os, "fsync", fsync_and_rival)
    with pytest.raises(ResultError, match="exists already"):
        results.write(make_record(num_evals=2), path)
    assert path.read_text() == "a rival's result"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_directories_are_made(tmp_path: Path) -> None:
    results.write(make_record(num_evals=2), tmp_path / "some" / "where" / "run.h5")
    assert results.read(tmp_path / "some" / "where" / "run.h5").name == "quickstart"


def test_places_that_cannot_hold_a_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(num_evals=2)
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path, "is a directory"),
        (tmp_path / "file" / "run.h5", "is not a directory"),
        (tmp_path / "file" / "deeper" / "run.h5", "not a directory"),
        (tmp_path / ("x" * 300), "name too long"),
        (tmp_path / "nul\0.h5", "null"),
    ):
        with pytest.raises(ResultError, match=words):
            results.write(record, path, force=True)
    monkeypatch.setattr(atomic.os, "access", lambda *args: False)
    with pytest.raises(ResultError, match="no permission"):
        results.write(record, tmp_path / "run.h5")


# Files that are not results.


def test_every_truncation_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    lengths = {0, 1, 7, 8, 9, 100, 2048, len(content) // 2, len(content) - 90, len(content) - 20, len(content) - 1}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        refusal(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_is_refused(content: bytes, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed, blocks zeroed, bytes lost in the middle or appended: one clear line, or the file is as it was."""
    position = st.integers(0, len(content) - 1)
    damaged = bytearray(content)
    for place, value in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), max_size=8)):
        damaged[place] = value
    start, length = data.draw(position), data.draw(st.integers(0, 600))
    kind = data.draw(st.sampled_from(["none", "zeroed", "lost", "appended"]))
    if kind == "zeroed":
        damaged[start : start + length] = bytes(len(damaged[start : start + length]))
    elif kind == "lost":
        del damaged[start : start + length]
    elif kind == "appended":
        damaged += bytes(length)
    path = tmp_path / "run.h5"
    path.write_bytes(damaged)
    if bytes(damaged) == content:
        assert results.read(path).num_devices == 20
    else:
        refusal(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.h5"
    assert "no such file" in refusal(path)
    path.mkdir()
    assert "is a directory" in refusal(path)
    path.rmdir()
    path.write_text("time,accuracy\n")
    assert "not an HDF5 file" in refusal(path)
    with h5py.File(path, "w") as file:
        file["accuracy"] = [0.1, 0.9]
    assert "not written by wsim" in refusal(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.attrs.__setitem__("format_version", 99), "format version 99"),
        (lambda file: file.__delitem__("metrics/accuracy"), "not a result of this version"),
        (lambda file: file["ledger/loss_cause"].attrs.__setitem__("flag_meanings", "luck"), "other categories"),
        (lambda file: file.attrs.__delitem__("format"), "not a result of this version"),
        (lambda file: file["scenario/resolved"].__setitem__((), "{broken"), "not a result of this version"),
        (lambda file: file["scenario/resolved"].__setitem__((), "[" * 100_000), "not a result of this version"),
        (lambda file: file.move("metrics/accuracy_by_device", "metrics/round_2"), "not a result of this version"),
    ],
)
def test_a_whole_file_of_another_make_is_refused(content: bytes, change: Any, words: str, tmp_path: Path) -> None:
    """The seal holds, but what it seals is not what this version writes."""
    buffer = io.BytesIO(results._unsealed(_written(tmp_path / "whole.h5", content)))
    with h5py.File(buffer, "r+") as file:
        change(file)
    path = _written(tmp_path / "other.h5", buffer.getvalue() + results._seal(buffer.getvalue()))
    with pytest.raises(ResultError, match=words) as error:
        results.read(path)
    assert "\n" not in str(error.value)
    assert "other.h5" in str(error.value)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
