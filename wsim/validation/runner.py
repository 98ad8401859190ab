"""All comparisons of the chosen subjects, and what is written of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from wsim.atomic import check_target, write_atomically
from wsim.errors import ResultError
from wsim.plotting import write_figure
from wsim.validation.comparison import Comparison
from wsim.validation.picture import draw
from wsim.validation.registry import SUBJECTS

TABLE_CSV, TABLE_MD, PICTURE = "validation.csv", "validation.md", "validation.png"
FULL_EFFORT = 16
HEAD = ("subject", "model", "quantity", "measured", "expected", "standard error", "tolerance", "verdict")


@dataclass(frozen=True)
class Row:
    subject: str
    comparison: Comparison

    @property
    def cells(self) -> tuple[str, ...]:
        """As people read it."""
        c = self.comparison
        values = (f"{c.measured:.4g}", f"{c.expected:.4g}", f"{c.standard_error:.2g}", f"{c.tolerance:.2g}")
        return self.subject, c.model, c.quantity, *values, c.verdict


def compare(subjects: Sequence[str] = (), full: bool = False, on_row: Callable[[Row], None] | None = None) -> list[Row]:
    """subjects: names of `registry.SUBJECTS`, all of them if none is given. full: FULL_EFFORT times the samples, a quarter of
    the standard errors. Raises ResultError for an unknown subject."""
    for name in subjects:
        if name not in SUBJECTS:
            near = get_close_matches(name, SUBJECTS, n=1)
            hint = f" ({near[0]}?)" if near else ""
            raise ResultError(f"--only {name}: unknown subject{hint}, known: {', '.join(SUBJECTS)}")
    rows = []
    for name in subjects or SUBJECTS:
        for comparison in SUBJECTS[name](FULL_EFFORT if full else 1):
            rows.append(Row(name, comparison))
            if on_row is not None:
                on_row(rows[-1])
    return rows


def check_folder(folder: Path) -> None:
    """Raises ResultError where the files could not be written, before the work."""
    for name in (TABLE_CSV, TABLE_MD, PICTURE):
        check_target(folder / name, force=True)


def write(rows: Sequence[Row], folder: Path) -> None:
    """Two tables and the picture. Raises ResultError."""
    write_atomically(folder / TABLE_CSV, csv_text(rows).encode(), force=True)
    write_atomically(folder / TABLE_MD, markdown_text(rows).encode(), force=True)
    write_figure(lambda: draw([row.comparison for row in rows]), folder / PICTURE, True)


def csv_text(rows: Sequence[Row]) -> str:
    """Every digit."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([head.replace(" ", "_") for head in HEAD])
    for row in rows:
        c = row.comparison
        numbers = (c.measured, c.expected, c.standard_error, c.tolerance)
        writer.writerow([row.subject, c.model, c.quantity, *map(repr, numbers), c.verdict])
    return buffer.getvalue()


def markdown_text(rows: Sequence[Row]) -> str:
    table = [HEAD, ("---",) * len(HEAD), *(row.cells for row in rows)]
    lines = ["# Models beside theory", "", summary(rows), "", *("| " + " | ".join(cells) + " |" for cells in table)]
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row]) -> str:
    failed = [row for row in rows if not row.comparison.passed]
    return f"{len(rows) - len(failed)} of {len(rows)} comparisons pass, {len(failed)} do not."
