"""`wsim show` and `wsim plot`: what a result file holds, and where a scenario takes place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from wsim.cli.options import Arm, Json, Overrides, PlotFile, ResultFile, Seed
from wsim.cli.output import PLAIN, print_record, stderr, working
from wsim.cli.running import load_scenario
from wsim.errors import ResultError


def show(result: ResultFile, json: Json = False) -> None:
    """Print the table of a result again."""
    from wsim.results import read

    print_record(read(result), json)


def plot(
    file: PlotFile,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Picture, .png, .pdf or .svg (default: beside the result; of a scenario, outputs/NAME-map.png).",
            show_default=False,
        ),
    ] = None,
    map: Annotated[bool, typer.Option("--map", help="Of a result, too: the map, with coverage, instead.")] = False,
    at: Annotated[
        float | None,
        typer.Option(
            "--at",
            metavar="SECONDS",
            min=0.0,
            help="Simulated time of the map (default: the start; a result's end).",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    arm: Arm = None,
) -> None:
    """Draw the picture of a result again, or the map of a scenario: positions, links and coverage."""
    is_scenario = file.suffix == ".toml" or (not file.suffix and not file.exists())
    if is_scenario or map:
        _plot_map(file, out, at, overrides, seed, arm)
        return
    for name, given in (("--at", at), ("--set", overrides), ("--seed", seed), ("--arm", arm)):
        if given is not None:
            raise ResultError(f"{file}: {name} is for maps; give --map, or a scenario")
    from wsim.plotting import plot_run
    from wsim.results import read

    record = read(file)
    picture = _picture(file, out or file.with_suffix(".png"))
    with working("drawing the picture"):
        plot_run(record, picture)
    stderr().print(f"{picture} written", **PLAIN)


def _plot_map(
    file: Path, out: Path | None, at: float | None, overrides: list[str] | None, seed: int | None, arm: str | None
) -> None:
    loaded = load_scenario(file, overrides, seed, arm)
    from wsim.map_picture import plot_scene
    from wsim.results import read
    from wsim.scene import scene

    is_result = file.suffix == ".h5"
    if at is None:
        at = read(file).simulated_s if is_result else 0.0
    beside = file.with_name(f"{file.stem}-map.png")
    picture = _picture(
        file, out or (beside if is_result else Path("outputs") / f"{loaded.scenario.scenario.name}-map.png")
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = scene(loaded, at)
    plot_scene(seen, picture)
    for note in sorted({str(warning.message).splitlines()[0] for warning in caught}):
        stderr().print(f"note: {note}", **PLAIN)
    stderr().print(f"{picture} written", **PLAIN)


def _picture(file: Path, picture: Path) -> Path:
    if picture.exists() and file.exists() and picture.samefile(file):
        raise ResultError(f"{picture}: is the file itself; choose another name for the picture")
    return picture
