"""`wsim validate`: the models beside closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsim.cli.options import Json
from wsim.cli.output import PLAIN, print_json, stderr
from wsim.cli.running import prepare
from wsim.errors import ValidationFailed


def validate(
    full: Annotated[
        bool, typer.Option("--full", help="16 times the samples: a quarter of the standard errors.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="SUBJECT", help="Compare this subject only. Repeatable.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for validation.csv, validation.md and validation.png.")
    ] = Path("outputs/validation"),
    json: Json = False,
) -> None:
    """Compare the models with theory: measured, expected, standard error, verdict. Exit code 1 where one fails."""
    prepare()
    from wsim.validation import runner

    runner.check_folder(out)
    console = stderr()
    with console.status("comparing") as status:
        rows = runner.compare(only or (), full, lambda row: status.update(f"{row.subject}: {row.comparison.model}"))
    runner.write(rows, out)
    if json:
        keys = [head.replace(" ", "_") for head in runner.HEAD]
        found = []
        for row in rows:
            c = row.comparison
            numbers = (c.measured, c.expected, c.standard_error, c.tolerance)
            found.append(dict(zip(keys, (row.subject, c.model, c.quantity, *numbers, c.verdict), strict=True)))
        print_json(found)
    else:
        _print(rows)
    console.print(f"{out / runner.TABLE_CSV}, {runner.TABLE_MD} and {runner.PICTURE} written", **PLAIN)
    if not all(row.comparison.passed for row in rows):
        raise ValidationFailed(runner.summary(rows))
    console.print(runner.summary(rows), **PLAIN)


def _print(rows) -> None:  # type: ignore[no-untyped-def]
    from rich.console import Console
    from rich.table import Table

    from wsim.validation.runner import HEAD

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in HEAD[1:]:
        table.add_column(name, justify="left" if name in ("model", "quantity", "verdict") else "right")
    for row in rows:
        table.add_row(*row.cells[1:], style=None if row.comparison.passed else "bold red")
    Console().print(table)
