"""`wsim show` and `wsim plot`: what a result file holds, and where a scenario takes place."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

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
    sinr: Annotated[
        bool, typer.Option("--sinr", help="Of a result: the SINR over time (of a run with output.sinr = true).")
    ] = False,
    devices: Annotated[
        list[int] | None,
        typer.Option(
            "--device",
            metavar="NUMBER",
            help="With --sinr: show the steps of this one, up to five times (default: lowest, middle, highest).",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(
            "--at",
            metavar="SECONDS",
            min=0.0,
            help="Simulated time of the map (default: the start; a result's end), or where --sinr looks closely.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    seed: Seed = None,
    arm: Arm = None,
) -> None:
    """Draw the picture of a result again, its SINR over time, or the map of a scenario: positions, links and coverage."""
    is_scenario = file.suffix == ".toml" or (not file.suffix and not file.exists())
    if devices and not sinr:
        raise ResultError(f"{file}: --device is for --sinr")
    if sinr:
        if is_scenario:
            raise ResultError(f"{file}: is a scenario; --sinr is of the result (.h5) of a run with output.sinr = true")
        given = {"--map": map or None, "--set": overrides, "--seed": seed, "--arm": arm}
        _refuse(file, "--sinr is of a result, as it is", given)
        _plot_sinr(file, out, devices, at)
        return
    if is_scenario or map:
        _plot_map(file, out, at, overrides, seed, arm)
        return
    _refuse(file, "give --map, or a scenario", {"--at": at, "--set": overrides, "--seed": seed, "--arm": arm})
    from wsim.plotting import plot_run
    from wsim.results import read

    record = read(file)
    picture = _picture(file, out or file.with_suffix(".png"))
    with working("drawing the picture"):
        plot_run(record, picture)
    stderr().print(f"{picture} written", **PLAIN)


def _refuse(file: Path, instead: str, options: dict[str, Any]) -> None:
    """The first of these options that was given does not go with the others."""
    for name, given in options.items():
        if given is not None:
            raise ResultError(f"{file}: {name} is for maps; {instead}")


def _plot_sinr(file: Path, out: Path | None, devices: list[int] | None, at: float | None) -> None:
    from wsim.results import read
    from wsim.sinr_picture import plot_sinr

    record = read(file)
    picture = _picture(file, out or file.with_name(f"{file.stem}-sinr.png"))
    with working("drawing the picture"):
        plot_sinr(record, picture, devices, at)
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
