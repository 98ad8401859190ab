"""`wsim estimate --all-arms`: seconds, bits and joules of every arm at every point of a study, without training anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wsim.record import RunRecord
from wsim.report import bits, joules, num_rounds, seconds, summary_dict
from wsim.study import names
from wsim.study.plan import Cell, Plan


def estimates(plan: Plan, simulate: Callable[[Cell], RunRecord]) -> Iterator[tuple[Cell, RunRecord]]:
    """Every cell with its estimate, by the base's seed; cells that share their runs share it. simulate: the estimate of one."""
    known: dict[str, RunRecord] = {}
    for cell in plan.cells:
        which = cell.runs[0].digest
        if which not in known:
            known[which] = simulate(cell)
        yield cell, known[which]


def estimates_dict(plan: Plan, found: list[tuple[Cell, RunRecord]]) -> dict[str, Any]:
    """For --json: what `wsim estimate --json` says of one run, of all. `round_s`: a round's mean duration, null without one."""
    return {
        "name": plan.name,
        "arms": [
            {**summary_dict(record), "name": cell.arm, "point": dict(cell.point), "round_s": _round_s(record)}
            for cell, record in found
        ],
    }


def estimates_table(found: list[tuple[Cell, RunRecord]]) -> RenderableType:
    """One line an arm, one table a point."""
    points: dict[str, tuple[Cell, Table]] = {}
    for cell, record in found:
        _, table = points.setdefault(repr(cell.point), (cell, _table()))
        round_s, lost = _round_s(record), sum(record.messages_lost.values())
        cells = [cell.arm, f"{num_rounds(record):,}", "–" if round_s is None else seconds(round_s)]
        cells += [seconds(record.simulated_s), bits(record.on_air_bits), joules(record.total_energy_j)]
        table.add_row(*map(Text, [*cells, f"{record.messages_sent:,}", f"{lost:,}"]))
    parts: list[RenderableType] = []
    for cell, table in points.values():
        title = names.words(cell.point, names.short_keys(list(cell.point)))
        parts += [Text(title, style="bold"), table, Text("")] if title else [table, Text("")]
    return Group(*parts[:-1])


def _table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="cyan")
    table.add_column("arm", overflow="fold")
    for heading in ("rounds", "a round", "in all", "on the air", "energy", "messages", "lost"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _round_s(record: RunRecord) -> float | None:
    rounds = num_rounds(record)
    return record.simulated_s / rounds if rounds else None
