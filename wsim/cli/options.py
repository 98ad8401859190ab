"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScenarioFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Scenario (.toml), the name of one that comes with wsim (wsim list scenarios), or a result (.h5) to repeat.",
        show_default=False,
    ),
]
ResultFile = Annotated[Path, typer.Argument(metavar="RESULT", help="Result file (.h5).", show_default=False)]
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
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as stop.rounds=10. Repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Replace the scenario's seed.", show_default=False)]
Arm = Annotated[
    str | None, typer.Option("--arm", metavar="NAME", help="Take this arm of the study.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing result.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
