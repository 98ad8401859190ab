"""`wsim validate`: the models beside closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsim.cli.options import Json
from wsim.cli.output import PLAIN, print_json, stderr
from wsim.cli.running import prepare
from wsim.errors import ValidationFailed

if TYPE_CHECKING:
    from wsim.validation.runner import Row


def validate(
    full: Annotated[
        bool, typer.Option("--full", help="16 times the samples, a quarter of the standard errors; some minutes.")
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


def _print(rows: Sequence[Row]) -> None:
    """A heading a model, then a line a comparison."""
    from rich.console import Console

    console = Console()
    width = max(len(row.comparison.quantity) for row in rows)
    heads = f"  {'':{width}} {'measured':>10} {'expected':>10} {'error':>9} {'tolerance':>9} verdict"
    console.print(heads, **PLAIN)
    model = ""
    for row in rows:
        if row.comparison.model != model:
            model = row.comparison.model
            console.print(model, style="bold", **PLAIN)
        _, _, quantity, measured, expected, error, tolerance, verdict = row.cells
        line = f"  {quantity:{width}} {measured:>10} {expected:>10} {error:>9} {tolerance:>9} {verdict}"
        console.print(line, style=None if row.comparison.passed else "bold red", **PLAIN)
