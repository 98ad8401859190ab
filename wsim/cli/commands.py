"""The list of commands. Each group of them is a file of its own; what is heavy is imported inside the command that needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from wsim.cli import catalog, results, running, study

app = typer.Typer(
    name="wsim",
    help="Simulate machine learning over wireless networks: accuracy after how many seconds, bits and joules.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

COMMANDS: dict[str, Callable[..., Any]] = {  # in the order of `wsim --help`
    "run": running.run,
    "estimate": running.estimate,
    "sweep": study.sweep,
    "compare": study.compare,
    "show": results.show,
    "plot": results.plot,
    "list": catalog.list_items,
    "schema": catalog.schema,
}


@app.callback(invoke_without_command=True)
def _wsim(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from wsim import __version__

        typer.echo(f"wsim {__version__}")
        raise typer.Exit


for name, command in COMMANDS.items():
    app.command(name)(command)
