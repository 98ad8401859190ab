"""The picture of who waited for whom: a matrix of seconds, one row a node that waited and one column a node it waited for; beside
it what each has waited in all, above it what all have waited for each.

Waits for nobody in particular stand beside the matrix only, where there are others: services wait for requests all the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim.errors import ResultError
from wsim.plotting import BLUE, GRAY, TIGHT, scaled, write_figure
from wsim.record import ANYONE, RunRecord
from wsim.waits import by_name_s, for_anyone_s

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NODES = 200
"""Rows and columns of the matrix: of more, those with the longest sums."""

_MOST_NAMES = 20  # at an axis; of more nodes every so many has its name


def plot_waits(record: RunRecord, path: str | Path, force: bool = True) -> None:
    """Draw who waited for whom in a run into a PNG, PDF or SVG file.

    Raises ResultError where nobody has waited, or as `wsim.plotting.plot_run`.
    """
    if not len(record.wait_s):
        raise ResultError(
            f"{record.name}: holds no waits: nobody waited for a message in this run, or its file is of an older version of "
            "wsim; run it again if so"
        )
    write_figure(lambda: draw_waits(record), path, force)


def draw_waits(record: RunRecord) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    waited, awaited = sums_s(record.wait_node, record), sums_s(record.wait_awaited, record)
    names_some = awaited.keys() != {ANYONE}
    if names_some:
        awaited.pop(ANYONE, None)
    rows, columns = most(waited), most(awaited)
    seconds = matrix_s(record, rows, columns)
    figure = Figure(
        figsize=(8.4, 8.4), layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.02)
    )
    figure.suptitle(f"{record.name}: who waited for whom, {record.learner}, seed {record.seed}", fontsize=14)
    grid: Any = figure.add_gridspec(3, 2, width_ratios=[3.6, 1], height_ratios=[1, 3.6, 0.12])
    middle = figure.add_subplot(grid[1, 0])
    above, beside = figure.add_subplot(grid[0, 0], sharex=middle), figure.add_subplot(grid[1, 1], sharey=middle)
    factor, unit = scaled(float(seconds.max()), "s")
    shown = np.ma.masked_equal(seconds / factor, 0.0)
    image = middle.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis_r", vmin=0.0)
    middle.set_facecolor("white")
    middle.set_xlabel(f"waited for{_of_how_many(columns, awaited)}")
    middle.set_ylabel(f"who waited{_of_how_many(rows, waited)}")
    _name(middle, "x", [record.node_names[node] for node in columns] if names_some else ["anyone"])
    _name(middle, "y", [record.node_names[node] for node in rows])
    factor, sums_unit = scaled(max(*awaited.values(), *waited.values()), "s")
    above.bar(range(len(columns)), [awaited[node] / factor for node in columns], color=BLUE, width=0.8)
    above.set_ylabel(f"by all [{sums_unit}]")
    above.tick_params(axis="x", labelbottom=False, length=0)
    by_name, anyone = by_name_s(record)[rows] / factor, for_anyone_s(record)[rows] / factor
    beside.barh(range(len(rows)), by_name, color=BLUE, height=0.8, label="for one by name")
    if anyone.any():
        beside.barh(range(len(rows)), anyone, left=by_name, color=GRAY, height=0.8, label="for anyone")
        beside.legend(loc="lower left", bbox_to_anchor=(0, 1), **TIGHT).set_in_layout(
            False
        )  # there is room in the corner
    beside.set_xlabel(f"for all [{sums_unit}]")
    beside.tick_params(axis="y", labelleft=False, length=0)
    figure.colorbar(image, cax=figure.add_subplot(grid[2, 0]), orientation="horizontal", label=f"waited [{unit}]")
    return figure


def sums_s(nodes: np.ndarray, record: RunRecord) -> dict[int, float]:
    """Seconds by node; nodes: wait_node or wait_awaited of the record."""
    different, place = np.unique(nodes, return_inverse=True)
    return dict(zip(different.tolist(), np.bincount(place, record.wait_s).tolist(), strict=True))


def most(seconds: dict[int, float]) -> list[int]:
    """The MOST_NODES with the largest sums, by number."""
    return sorted(sorted(seconds, key=lambda node: -seconds[node])[:MOST_NODES])


def matrix_s(record: RunRecord, rows: list[int], columns: list[int]) -> np.ndarray:
    """[len(rows), len(columns)] seconds that a node waited for another."""
    row_of, column_of = {node: i for i, node in enumerate(rows)}, {node: i for i, node in enumerate(columns)}
    seconds = np.zeros((len(rows), len(columns)))
    pairs = zip(record.wait_node.tolist(), record.wait_awaited.tolist(), record.wait_s.tolist(), strict=True)
    for node, awaited, wait_s in pairs:
        if node in row_of and awaited in column_of:
            seconds[row_of[node], column_of[awaited]] = wait_s
    return seconds


def _of_how_many(shown: list[int], seconds: dict[int, float]) -> str:
    return "" if len(shown) == len(seconds) else f" (the {len(shown)} with the longest sums, of {len(seconds):,})"


def _name(axis: Axes, direction: str, names: list[str]) -> None:
    """The names of nodes at an axis, of many nodes every so many; those that are no numbers always."""
    every = -(-len(names) // _MOST_NAMES)
    words = [i for i, name in enumerate(names) if not name.isdigit()][:_MOST_NAMES]
    numbers = [i for i in range(0, len(names), every) if all(abs(i - j) > every / 2 for j in words)]
    ticks = sorted({*numbers, *words})
    long = max(len(names[i]) for i in ticks) > 3
    setter: Any = axis.set_xticks if direction == "x" else axis.set_yticks
    turned = {"rotation": 90} if direction == "x" and long and len(ticks) > 8 else {}
    setter(ticks, [names[i] for i in ticks], fontsize=10, **turned)
