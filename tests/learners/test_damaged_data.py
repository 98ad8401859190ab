"""Data files damaged at random: each is read as a data set or refused by one line, quickly and within little memory.

500 files of every format: bits flipped, pieces cut out, bytes put in, the damage seldom enough to get past the first check.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learners import registry
from learners.data.dataset import Dataset
from tests.learners import data_files
from tests.learners.data_files import Case, write

NUM_FILES = 500
MAX_BYTES = 32 << 20
"""The largest of the undamaged sets takes 3 MB while it is read, decompressors included; an archive may hold 4 MiB more."""
MAX_S = 20.0
"""Reading takes milliseconds; this is for a machine that does other things."""


def npz_cases(folder: Path) -> dict[str, Case]:
    rng = np.random.default_rng(1)
    train, test = rng.standard_normal((40, 4)), rng.integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
    np.savez(folder / "numbers.npz", inputs=train, labels=np.arange(40) % 4)
    splits = {
        "train_inputs": test,
        "train_labels": np.arange(20) % 4,
        "test_inputs": test,
        "test_labels": np.arange(20) % 2,
    }
    np.savez_compressed(folder / "pixels.npz", **splits)
    return {name: Case("npz", {f"{name}.npz": (folder / f"{name}.npz").read_bytes()}) for name in ("numbers", "pixels")}


Damage = tuple[str, float, bytes]
damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "drop", "insert", "overwrite"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=3,
)


def damaged(data: bytes, damage: list[Damage]) -> bytes:
    """where: as a fraction of the file; its ends, where headers and checksums lie, are hit as often as everything between."""
    for kind, where, new in damage:
        span = min(64, len(data))
        if where < 1 / 3:
            at = int(3 * where * span)
        elif where < 2 / 3:
            at = int((3 * where - 1) * len(data))
        else:
            at = len(data) - int((3 * where - 2) * span)
        at = max(0, min(at, len(data) - 1))
        if not data:
            return new
        if kind == "flip":
            data = data[:at] + bytes([data[at] ^ (1 << new[0] % 8)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + len(new) :]
        elif kind == "insert":
            data = data[:at] + new + data[at:]
        else:
            data = data[:at] + new + data[at + len(new) :]
    return data


def load(case: Case, folder: Path) -> Dataset:
    rng = np.random.default_rng(1)
    if case.name != "npz":
        loaded: Dataset = registry.load("dataset", case.name)(rng, folder=str(folder))
        return loaded
    file = next(iter(case.files))
    loaded = registry.load("dataset", "npz")(rng, str(folder / file), 0.25 if file == "numbers.npz" else None)
    return loaded


def test_damaged_files_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_files.shrink(monkeypatch)
    cases = data_files.cases() | npz_cases(tmp_path)
    outcomes: dict[str, list[bool]] = {name: [] for name in cases}
    for name, case in cases.items():
        assert isinstance(load(case, write(tmp_path / name, case)), Dataset), "whole, it can be read"
    names = sorted(cases)

    @settings(
        max_examples=NUM_FILES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(names), st.integers(0, 5), damages)
    def check(name: str, which: int, damage: list[Damage]) -> None:
        case = cases[name]
        files = list(case.files)
        file = files[which % len(files)]
        path = tmp_path / name / file
        path.write_bytes(damaged(case.files[file], damage))
        complaint, started = "", time.perf_counter()
        tracemalloc.start()
        try:
            assert isinstance(load(case, tmp_path / name), Dataset)
        except ValueError as error:
            complaint = str(error) or "nothing is said"
        finally:
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            path.write_bytes(case.files[file])
        assert len(complaint.splitlines()) == (1 if complaint else 0)
        assert not complaint or file in complaint or "one value" in complaint, "the file is named"
        assert time.perf_counter() - started < MAX_S
        assert peak_bytes < MAX_BYTES
        outcomes[name].append(not complaint)

    check()
    total = sum(map(len, outcomes.values()))
    refused = sum(not outcome for found in outcomes.values() for outcome in found)
    assert total >= NUM_FILES
    assert 0.5 * total < refused < total, "both ends are met"
    assert all(found.count(False) for found in outcomes.values()), "every format is refused at times"
