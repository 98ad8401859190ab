"""`wsim show` and `wsim plot`: what a result file holds, and where a scenario takes place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsim.cli.options import Arm, Json, Overrides, PlotFile, ResultFile, Seed
from wsim.cli.output import PLAIN, print_devices, print_record, stderr, working
from wsim.cli.running import load_scenario
from wsim.errors import ResultError

if TYPE_CHECKING:
    from wsim.record import RunRecord


def show(
    result: ResultFile,
    devices: Annotated[
        bool,
        typer.Option(
            "--devices", help="One line a device: accuracy, time computing and waiting, for whom, bits, energy."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Print the table of a result again, or one of its devices."""
    from wsim.results import read

    record = read(result)
    if devices:
        print_devices(record, json)
    else:
        print_record(record, json)


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
    waits: Annotated[bool, typer.Option("--waits", help="Of a result: who waited for whom, and how long.")] = False,
    measures: Annotated[
        bool, typer.Option("--measures", help="Of a result: what its learner measured of itself, such as weights.")
    ] = False,
    similarity: Annotated[
        bool,
        typer.Option(
            "--similarity",
            help='Of a result: how alike features are (of a run with "similarity" in evaluation.metrics).',
        ),
    ] = False,
    overrides: Overrides = None,
    seed: Seed = None,
    arm: Arm = None,
) -> None:
    """Draw the picture of a result again, its SINR over time, who waited for whom, what its learner measured, how alike its
    devices' features are, or the map of a scenario: positions, links and coverage."""
    is_scenario = file.suffix == ".toml" or (not file.suffix and not file.exists())
    if devices and not sinr:
        raise ResultError(f"{file}: --device is for --sinr")
    more = {"--waits": (waits, _plot_waits), "--measures": (measures, _plot_measures)}
    more["--similarity"] = similarity, _plot_similarity
    asked = [*(["--sinr"] if sinr else []), *(name for name, (given, _) in more.items() if given)]
    if len(asked) > 1:
        raise ResultError(f"{file}: {asked[0]} and {asked[1]} are two pictures; draw one after the other")
    of_maps = {"--map": map or None, "--set": overrides, "--seed": seed, "--arm": arm}
    if sinr:
        if is_scenario:
            raise ResultError(f"{file}: is a scenario; --sinr is of the result (.h5) of a run with output.sinr = true")
        _refuse(file, "--sinr is of a result, as it is", of_maps)
        _plot_sinr(file, out, devices, at)
        return
    if asked:
        if is_scenario:
            raise ResultError(f"{file}: is a scenario; {asked[0]} is of the result (.h5) of a run")
        _refuse(file, f"{asked[0]} is of a result, as it is", {**of_maps, "--at": at})
        more[asked[0]][1](file, out)
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
    from wsim.sinr_picture import plot_sinr

    _plot_more(file, out, "sinr", lambda record, picture: plot_sinr(record, picture, devices, at))


def _plot_waits(file: Path, out: Path | None) -> None:
    from wsim.waits_picture import plot_waits

    _plot_more(file, out, "waits", plot_waits)


def _plot_measures(file: Path, out: Path | None) -> None:
    from wsim.measures_picture import plot_measures

    _plot_more(file, out, "measures", plot_measures)


def _plot_similarity(file: Path, out: Path | None) -> None:
    from wsim.similarity_picture import plot_similarity

    _plot_more(file, out, "similarity", plot_similarity)


def _plot_more(file: Path, out: Path | None, name: str, plot: Callable[[RunRecord, Path], None]) -> None:
    """A picture of a result beside its first one."""
    from wsim.results import read

    record = read(file)
    picture = _picture(file, out or file.with_name(f"{file.stem}-{name}.png"))
    with working("drawing the picture"):
        plot(record, picture)
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
