"""The list of commands. Each group of them is a file of its own; what is heavy is imported inside the command that needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from wsim.cli import catalog, results, running, study, validation

app = typer.Typer(
    name="wsim",
    help="Simulate machine learning over wireless networks: how accurate, after how many seconds, bits and joules.",
    epilog="Begin with: wsim run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

COMMANDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {  # in the order of `wsim --help`, with examples
    "run": (
        running.run,
        (
            "wsim run quickstart",
            "wsim run mine.toml --set stop.rounds=10 --set algorithm.learning_rate=0.05 --seed 2 --out outputs/slow.h5",
            "wsim run first_study --arm gossip",
            "wsim run outputs/quickstart-s1.h5 --out again.h5",
        ),
    ),
    "estimate": (running.estimate, ("wsim estimate quickstart --json", "wsim estimate first_study --all-arms")),
    "sweep": (
        study.sweep,
        ("wsim sweep first_study --jobs 2", "wsim sweep mine.toml --set study.seeds=1..5 --out outputs/five_seeds"),
    ),
    "compare": (
        study.compare,
        (
            "wsim compare outputs/first_study --baseline gossip",
            "wsim compare outputs/quickstart-s1.h5 outputs/slow.h5 --force --out both.pdf",
        ),
    ),
    "show": (results.show, ("wsim show outputs/quickstart-s1.h5",)),
    "plot": (results.plot, ("wsim plot outputs/quickstart-s1.h5 --out quickstart.pdf",)),
    "validate": (
        validation.validate,
        ("wsim validate", "wsim validate --full --only doppler --out outputs/validation_full"),
    ),
    "list": (catalog.list_items, ("wsim list", "wsim list learners --json")),
    "schema": (catalog.schema, ("wsim schema > wsim.schema.json",)),
}


@app.callback(invoke_without_command=True)
def _wsim(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from wsim import __version__

        typer.echo(f"wsim {__version__}")
        raise typer.Exit


for name, (command, examples) in COMMANDS.items():
    app.command(name, epilog="\n\n".join(["Examples:", *examples]))(command)
