"""`wsim show` and `wsim plot`: what a result file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsim.cli.options import Json, ResultFile
from wsim.cli.output import PLAIN, print_record, stderr, working
from wsim.errors import ResultError


def show(result: ResultFile, json: Json = False) -> None:
    """Print the table of a result again."""
    from wsim.results import read

    print_record(read(result), json)


def plot(
    result: ResultFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Picture, .png, .pdf or .svg (default: beside the result).", show_default=False),
    ] = None,
) -> None:
    """Draw the picture of a result again, as PNG, PDF or SVG."""
    from wsim.plotting import plot_run
    from wsim.results import read

    record = read(result)
    picture = out or result.with_suffix(".png")
    if picture.exists() and picture.samefile(result):
        raise ResultError(f"{picture}: is the result itself; choose another name for the picture")
    with working("drawing the picture"):
        plot_run(record, picture)
    stderr().print(f"{picture} written", **PLAIN)
