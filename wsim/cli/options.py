"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScenarioFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A scenario (.toml), the name of one that comes with wsim (wsim list scenarios), or a result (.h5), whose scenario "
        "is taken again.",
        show_default=False,
    ),
]
ResultFile = Annotated[
    Path, typer.Argument(metavar="RESULT", help="A result (.h5) that wsim run has written.", show_default=False)
]
PlotFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Result (.h5), or scenario (.toml, or the name of one that comes with wsim).",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one key of the scenario, such as stop.rounds=10 or devices.0.count=5. Repeatable.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Replace the scenario's seed.", show_default=False)]
Arm = Annotated[
    str | None,
    typer.Option(
        "--arm", metavar="NAME", help="One arm of the scenario's study instead of its base.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
