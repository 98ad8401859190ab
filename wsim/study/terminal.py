"""A comparison for the terminal: quantities down, arms across; then the differences from the baseline. And as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from wsim.study import names
from wsim.study.comparison import ACCURACY_END, END, Comparison, Measure, Row, rounds_to_target, to_target
from wsim.study.statistics import Difference
from wsim.study.table import DIFFERENCE_HEAD, OUTDATED, amount, difference_rows, equal_time, with_count

_GAP = 2


def comparison_table(comparison: Comparison, width: int) -> RenderableType:
    """width: characters of the terminal; as many arms stand side by side as fit."""
    parts: list[RenderableType] = []
    short = names.short_keys(comparison.axes)
    label_width = max(map(len, _labels(comparison)))
    for point, rows in comparison.points():
        if point:
            parts += [Text(names.words(point, short), style="bold")]
        lines = [_column(comparison, row) for row in rows]
        room = max((width - label_width - _GAP) // (max(len(cell) for column in lines for cell in column) + _GAP), 1)
        for first in range(0, len(rows), room):
            parts += [_side_by_side(comparison, lines[first : first + room]), Text("")]
        differences = [cells for row in rows for cells in difference_rows(comparison, row)]
        if differences:
            parts += [Text(f"difference from {comparison.baseline}, the same seeds paired"), _of(differences), Text("")]
    parts.append(Text(f"accuracy of: {_measured(comparison)}"))
    if comparison.diverged is not None:
        parts.append(Text(f"models diverged: {comparison.diverged}", style="yellow"))
    if comparison.outdated is not None:
        parts.append(Text(f"{OUTDATED}: {comparison.outdated}", style="yellow"))
    return Group(*parts)


def _measured(comparison: Comparison) -> str:
    """ "FedAvg: server, global_test; gossip: device (mean), global_test", without names where all are measured alike."""
    arms: dict[str, list[str]] = {}
    for row in comparison.rows:
        arms.setdefault(row.measured, []).append(row.arm)
    if len(arms) == 1:
        return next(iter(arms))
    return "; ".join(f"{', '.join(dict.fromkeys(names))}: {measured}" for measured, names in arms.items())


def _of(differences: Sequence[Sequence[str]]) -> Table:
    """One line a measure below its arm; columns in which no line has a number are left out, as with a single seed."""
    columns = [i for i in range(2, len(DIFFERENCE_HEAD)) if any(cells[i] != "–" for cells in differences)]
    table = _table("arm")
    for i in columns:
        heading = DIFFERENCE_HEAD[i]
        table.add_column(heading, justify="right", no_wrap=heading == "difference")
    above = None
    for cells in differences:
        arm, measure = cells[:2]
        if arm != above:
            table.add_row(Text(arm, style="bold"))
        table.add_row(Padding(Text(measure), (0, 0, 0, 2)), *(Text(cells[i]) for i in columns))
        above = arm
    return table


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """For --json: every mean with its interval and its values by seed; null where there is no number, intervals of a mean
    over some of the seeds among them."""
    of_targets = [(rounds_to_target(target), *to_target(target)) for target in comparison.targets]
    measures = [*comparison.measures, *(measure for of_target in of_targets for measure in of_target)]
    return {
        "name": comparison.name,
        "baseline": comparison.baseline,
        "confidence": 0.95,
        "rows": [
            {
                "arm": row.arm,
                "point": dict(row.point),
                "measured": row.measured,
                "seeds": [run.seed for run in row.runs],
                "results": [str(run.file) for run in row.runs],
                "diverged": [run.seed for run in row.runs if run.diverged],
                "equal_time_s": row.equal_time_s,
                **{measure.key: _estimate_dict(row, measure) for measure in measures},
            }
            for row in comparison.rows
        ],
        "differences": [
            {"arm": row.arm, "point": dict(row.point), "of": measure.key, **_difference_dict(found)}
            for row in comparison.rows
            for measure in measures
            if (found := comparison.difference(row, measure)) is not None
        ],
    }


def _side_by_side(comparison: Comparison, columns: Sequence[Sequence[str]]) -> Table:
    table = _table("")
    for column in columns:
        table.add_column(Text(column[0]), justify="right", no_wrap=True)
    for number, label in enumerate(_labels(comparison), start=1):
        table.add_row(label, *(Text(column[number]) for column in columns))
    return table


def _measures(comparison: Comparison) -> list[Measure]:
    """Without what says the same twice."""
    twice = (ACCURACY_END, END) if comparison.ends_at_once else ()
    return [measure for measure in comparison.measures if measure not in twice]


def _labels(comparison: Comparison) -> list[str]:
    labels = ["seeds", "equal time", *(measure.label for measure in _measures(comparison))]
    for target in comparison.targets:
        labels += [f"reached {target:g}", *(measure.label for measure in to_target(target))]
    return labels


def _column(comparison: Comparison, row: Row) -> list[str]:
    """The arm and its numbers, in the order of the labels."""
    cells = [row.arm, f"{len(row.runs)} of {comparison.num_seeds}", equal_time(row)]
    cells += [with_count(row.estimate(measure), measure.unit) for measure in _measures(comparison)]
    for target in comparison.targets:
        found = [(row.estimate(measure), measure.unit) for measure in to_target(target)]
        cells.append(f"{found[0][0].num} of {len(row.runs)}")
        cells += [amount(estimate, unit) for estimate, unit in found]
    return cells


def _table(*left: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="cyan")
    for heading in left:
        table.add_column(heading, overflow="fold", style="cyan" if not heading else None)
    return table


def _estimate_dict(row: Row, measure: Measure) -> dict[str, Any]:
    found = row.estimate(measure)
    return {
        "mean": _number(found.mean),
        "half_width": _number(found.half_width),
        "num": found.num,
        "num_without": found.num_without,
        "values": [_number(measure.of(run, row.equal_time_s)) for run in row.runs],
    }


def _difference_dict(found: Difference) -> dict[str, Any]:
    return {
        "mean": _number(found.mean),
        "half_width": _number(found.half_width),
        "paired_se": _number(found.paired_se),
        "unpaired_se": _number(found.unpaired_se),
        "ratio": _number(found.ratio),
        "num": found.num,
        "num_without": found.num_without,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
