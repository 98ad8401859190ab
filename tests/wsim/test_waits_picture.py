"""The picture of who waited for whom, and the table of devices."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.wsim.records import make_record
from wsim import waits_picture
from wsim.devices_report import device_dicts, device_table
from wsim.errors import ResultError
from wsim.record import ANYONE, RunRecord
from wsim.waits_picture import draw_waits, plot_waits

NONE: dict[str, Any] = {
    name: getattr(make_record(), name)[:0]
    for name in ("wait_node", "wait_awaited", "wait_s", "wait_count", "wait_deadline_count")
}


def waited(rows: list[tuple[int, int, float]], **how: Any) -> RunRecord:
    """Who waited, for whom, seconds; one wait each."""
    node, awaited, seconds = zip(*rows, strict=True)
    ones = np.ones(len(rows), dtype=np.int64)
    pairs = {"wait_node": np.array(node), "wait_awaited": np.array(awaited), "wait_s": np.array(seconds)}
    return make_record(**{**pairs, "wait_count": ones, "wait_deadline_count": 0 * ones, **how})


def drawn(record: RunRecord) -> tuple[np.ndarray, list[float], list[float], list[list[str]]]:
    """The matrix (0 where nothing is drawn), the bars above and beside it, names at the axes."""
    middle, above, beside = draw_waits(record).axes[:3]
    names = [[label.get_text() for label in axis.get_ticklabels()] for axis in (middle.yaxis, middle.xaxis)]
    by_all = [bar.get_height() for bar in above.patches]
    return middle.images[0].get_array().filled(0.0), by_all, [bar.get_width() for bar in beside.patches], names


def test_rows_wait_columns_are_waited_for_and_bars_are_their_sums() -> None:
    record = waited([(0, 1, 2.0), (0, 4, 3.0), (1, 4, 5.0), (4, 0, 7.0)], num_devices=4)
    matrix, by_all, for_all, names = drawn(record)
    assert matrix.tolist() == [[0, 2, 3], [0, 0, 5], [7, 0, 0]]
    assert by_all == [7, 2, 8]
    assert for_all == [5, 5, 7]
    name = record.node_names
    assert names == [[name[0], name[1], name[4]], [name[0], name[1], name[4]]]


def test_anyone_stands_beside_the_others_and_in_the_matrix_where_there_are_none() -> None:
    matrix, by_all, for_all, names = drawn(waited([(0, ANYONE, 9.0), (0, 1, 2.0), (1, ANYONE, 3.0)], num_devices=3))
    assert matrix.tolist() == [[2], [0]]
    assert by_all == [2]
    assert for_all == [2, 0, 9, 3]  # by name, then for anyone
    matrix, by_all, for_all, names = drawn(waited([(0, ANYONE, 9.0)], num_devices=3))
    assert (matrix.tolist(), by_all, names[1]) == ([[9]], [9], ["anyone"])


def test_of_many_nodes_those_with_the_longest_sums_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_picture, "MOST_NODES", 30)
    n = 40
    record = waited([(i, (i + 1) % n, float(i + 1)) for i in range(n)], num_devices=n, server=False)
    record.node_names = [str(i) for i in range(n)]
    matrix, by_all, for_all, names = drawn(record)
    assert matrix.shape == (30, 30)
    assert for_all == list(range(11, n + 1))
    assert names[0][:2] == ["10", "12"]
    assert draw_waits(record).axes[0].get_ylabel() == "who waited (the 30 with the longest sums, of 40)"


def test_a_result_without_waits_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="quickstart: holds no waits") as error:
        plot_waits(make_record(**NONE), tmp_path / "waits.png")
    assert "\n" not in str(error.value)


def table(record: RunRecord) -> str:
    file = io.StringIO()
    Console(width=100, file=file).print(device_table(record))
    return file.getvalue()


def test_the_table_of_devices_says_how_long_each_waited_and_for_whom() -> None:
    record = waited([(0, ANYONE, 9.0), (0, 1, 2.0), (0, 4, 3.0), (4, 1, 7.0)], num_devices=4)
    rows = device_dicts(record)
    name = record.node_names
    assert [row["waited_s"] for row in rows] == [5, 0, 0, 0, 7]
    assert [row["longest_for"] for row in rows] == [name[4], None, None, None, name[1]]
    assert [row["waited_for_anyone_s"] for row in rows] == [9, 0, 0, 0, 0]
    assert [row["accuracy"] for row in rows] == [*record.accuracy_by_device[-1], None]
    lines = table(record).splitlines()
    assert "5.0 s" in lines[1]
    assert f"{name[4]} (3.0 s)" in lines[1]
    assert len(lines) == 1 + 5
    assert "longest for" not in table(make_record(**NONE))
    assert "accuracy" not in table(make_record(estimated=True))
