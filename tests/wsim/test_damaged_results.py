"""Damaged result files: `wsim show` ends in exit code 0 or 2 and one line, whatever is in the file.

The seal finds all damage that happens by itself. Here the seal is made again, so that libhdf5 and the decoder get to see what
is broken. A process of its own shows the files; it may crash or hang without taking the test along, and then the test fails.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wsim.command_worker import CommandWorker, Ending, check_one_line
from tests.wsim.records import make_record
from wsim import results
from wsim.errors import ResultError
from wsim.heaps import heaps_end


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandWorker]:
    worker = CommandWorker(tmp_path_factory.mktemp("data"))
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A result file without its seal, with datasets of every kind, compressed ones among them."""
    path = tmp_path_factory.mktemp("whole") / "run.h5"
    results.write(make_record(num_devices=40, num_evals=30, by_group=True), path)
    return results._unsealed(path)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytearray], None]:
    """Bits flipped, bytes overwritten, zeroed or set, cut out or put in, blocks exchanged."""
    kind = draw(st.sampled_from(["flip", "byte", "zero", "ones", "cut", "insert", "exchange", "number"]))
    where = [draw(st.floats(0, 1, exclude_max=True)) for _ in range(draw(st.integers(1, 20)) if kind == "flip" else 2)]
    length, value = draw(st.integers(1, 600)), draw(st.integers(0, 255))
    number = draw(st.sampled_from([float("nan"), float("inf"), -1.0, 1e300, 5e-324]))

    def damage(content: bytearray) -> None:
        first, *others = (int(share * len(content)) for share in where)
        if kind == "flip":
            for place in (first, *others):
                content[place] ^= 1 << (value % 8)
        elif kind == "byte":
            content[first] = value
        elif kind in ("zero", "ones"):
            block = content[first : first + length]
            content[first : first + length] = bytes([255 * (kind == "ones")]) * len(block)
        elif kind == "cut":
            del content[first : first + length]
        elif kind == "insert":
            content[first:first] = bytes([value]) * length
        elif kind == "number":
            content[first // 8 * 8 : first // 8 * 8 + 8] = struct.pack("<d", number)
        else:
            second = max(others)
            block, other = content[first : first + length], content[second : second + length]
            content[first : first + len(other)], content[second : second + len(block)] = other, block

    return damage


@pytest.mark.parametrize("num_files", [60, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sealed", [True, False])
def test_damaged_files_are_shown_or_refused_in_one_line(
    num_files: int, sealed: bool, worker: CommandWorker, whole: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "run.h5"
    codes: list[int] = []

    @settings(
        max_examples=num_files, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(parts=st.lists(damages(), min_size=1, max_size=3))
    def check(parts: list[Callable[[bytearray], None]]) -> None:
        content = bytearray(whole)
        for damage in parts:
            damage(content)
        path.write_bytes(content + results._seal(content if sealed else whole))
        code, error = worker.run("show", path)
        check_one_line(Ending(code, error))
        codes.append(code)
        if not sealed:
            assert (code == 0) == (content == whole)

    check()
    assert len(codes) >= num_files
    assert 0 in codes or not sealed  # some damage does no harm, which only the seal can tell


# What is known to be dangerous.


def test_a_heap_that_libhdf5_walks_for_ever_is_refused(whole: bytes, worker: CommandWorker, tmp_path: Path) -> None:
    """A free object of size 0 in a collection of texts: libhdf5 2.0 does not come back, and no signal handler gets a turn."""
    assert heaps_end(whole)
    start = whole.index(b"GCOL\x01\x00\x00\x00")
    content = bytearray(whole)
    content[start + 16 : start + 32] = bytes(16)
    assert not heaps_end(bytes(content))
    path = tmp_path / "run.h5"
    path.write_bytes(content + results._seal(content))
    code, error = worker.run("show", path)
    assert code == 2
    assert "is truncated, damaged, or not written by wsim" in error


@pytest.mark.parametrize(
    ("place", "value"),
    [(8, 15), (8, 2**63), (24, 2**40), (24, 2**64 - 1)],
    ids=["no room", "beyond the file", "object too long", "object that wraps"],
)
def test_heaps_that_do_not_add_up_are_found(whole: bytes, place: int, value: int) -> None:
    start = whole.index(b"GCOL\x01\x00\x00\x00")
    content = bytearray(whole)
    content[start + place : start + place + 8] = struct.pack("<Q", value)
    assert not heaps_end(bytes(content))


def test_a_heap_in_a_text_is_no_heap(tmp_path: Path) -> None:
    """A collection's texts are stepped over, whatever they say."""
    text = "GCOL\x01" + "\0" * 60
    results.write(make_record(num_evals=2, notes=["x" * 70_000, text.replace("\0", " ")]), tmp_path / "run.h5")
    assert results.read(tmp_path / "run.h5").notes[1].startswith("GCOL")


def test_a_shape_beyond_all_memory_is_refused_before_it_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    results.write(make_record(num_evals=2), path)
    content = bytearray(results._unsealed(path))
    (tmp_path / "huge.h5").write_bytes(content)
    with h5py.File(tmp_path / "huge.h5", "r+") as file:
        del file["/metrics/accuracy"]
        file.create_dataset("/metrics/accuracy", (2**40,), dtype=np.float64, chunks=(1024,), compression="gzip")
    content = bytearray((tmp_path / "huge.h5").read_bytes())
    path.write_bytes(content + results._seal(content))
    with pytest.raises(ResultError, match="/metrics/accuracy is larger than the file can hold"):
        results.read(path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("simulated_s", np.nan, "simulated_s holds a number that is negative or not finite"),
        ("packets_lost", -1, "packets_lost holds a number"),
        ("accuracy", np.full(60, np.inf), "accuracy is infinite"),
        ("positions_m", np.full((2, 21, 3), np.nan), "positions_m is not finite"),
        ("group", np.full(20, 2), "group points to something that is not there"),
        ("edges", np.full((40, 2), -1), "edges points to"),
        ("wait_awaited", np.full(42, -2), "wait_awaited points to"),
        ("wait_s", np.full(42, -0.1), "wait_s holds a number"),
        ("series_subject", ["server", "device", "nobody"], "series_subject is empty or holds another word"),
        ("target_data", "validation", "unknown series"),
    ],
)
def test_numbers_that_no_run_leaves_are_refused(field: str, value: object, words: str, tmp_path: Path) -> None:
    results.write(make_record(**{field: value}), tmp_path / "run.h5")
    with pytest.raises(ResultError, match=words) as error:
        results.read(tmp_path / "run.h5")
    assert "\n" not in str(error.value)
