"""`wsim run` and `wsim estimate`."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsim.cli.options import Arm, Force, Json, Overrides, Quiet, ScenarioFile, Seed
from wsim.cli.output import PLAIN, print_json, print_record, stderr, working
from wsim.errors import Interrupted, ResultError, ScenarioError, WriteError
from wsim.study import names

if TYPE_CHECKING:
    from wsim.record import RunRecord
    from wsim.scenario import Loaded


class Executor(StrEnum):
    batched = "batched"
    eager = "eager"


def run(
    file: ScenarioFile,
    overrides: Overrides = None,
    seed: Seed = None,
    arm: Arm = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Result file (default: outputs/NAME[-ARM]-sSEED.h5).", show_default=False),
    ] = None,
    force: Force = False,
    executor: Annotated[
        Executor, typer.Option("--executor", help="eager: one operation at a time, for debugging.")
    ] = Executor.batched,
    window: Annotated[int | None, typer.Option("--window", min=1, hidden=True)] = None,
    quiet: Quiet = False,
) -> None:
    """Run a scenario: train the models, write a result and a picture of it, print a table."""
    from wsim.atomic import check_target

    loaded = load_scenario(file, overrides, seed, arm, quiet=quiet)
    identity = loaded.scenario.scenario
    what = identity.name if arm is None else f"{identity.name}-{names.of_arm(arm)}"
    result = out or Path("outputs") / f"{what}-s{identity.seed}.h5"
    picture = result.with_suffix(".png")
    if result.suffix != ".h5":  # other commands know results by it, and a folder is no file
        raise ResultError(f"{result}: the name of a result ends in .h5")
    check_target(result, force)
    check_target(picture, force)
    start = time.perf_counter()
    record = _simulate(loaded, executor.value, window, quiet=quiet)

    from wsim.plotting import plot_run

    _write(record, result, force)
    try:
        with nullcontext() if quiet else working("drawing the picture"):
            plot_run(record, picture, force)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {result} is written, its picture is not: wsim plot {result}") from None
    if not quiet:
        print_record(record, json=False)
        stderr().print(f"{result} and {picture.name} written after {time.perf_counter() - start:.1f} s", **PLAIN)


def _write(record: RunRecord, result: Path, force: bool) -> None:
    """Write the result; where its place has gone bad during the run, keep it in the folder for temporary files."""
    from wsim.results import write

    try:
        write(record, result, force)
    except ResultError as error:
        kept = Path(tempfile.gettempdir()) / f"{result.stem}-{secrets.token_hex(4)}.h5"
        try:
            write(record, kept)
        except ResultError:
            raise error from None
        raise WriteError(f"{error}; what was computed is kept in {kept}") from error


def estimate(
    file: ScenarioFile,
    overrides: Overrides = None,
    seed: Seed = None,
    arm: Arm = None,
    all_arms: Annotated[
        bool, typer.Option("--all-arms", help="Every arm of the scenario's study at every point of its axes.")
    ] = False,
    json: Json = False,
) -> None:
    """Seconds, bits, joules and messages of a run, from the same events, without training anything."""
    if all_arms:
        if arm is not None:
            raise ScenarioError("--all-arms and --arm: give one of the two")
        _estimate_all(file, [*(overrides or []), *([] if seed is None else [f"scenario.seed={seed}"])], json=json)
        return
    print_record(_simulate(load_scenario(file, overrides, seed, arm, quiet=json), "null", None, quiet=json), json)


def _estimate_all(file: Path, overrides: Sequence[str], *, json: bool) -> None:
    prepare()
    from rich.console import Console

    from wsim.study.estimates import estimates, estimates_dict, estimates_table
    from wsim.study.plan import plan

    with nullcontext() if json else working("checking all arms"):
        study = plan(file, overrides)
    found = list(estimates(study, lambda cell: _simulate(cell.loaded, "null", None, quiet=json, title=cell.title)))
    print_json(estimates_dict(study, found)) if json else Console().print(estimates_table(found))


def load_scenario(
    file: Path, overrides: Sequence[str] | None, seed: int | None, arm: str | None = None, *, quiet: bool = False
) -> Loaded:
    """The scenario of a file, or the one that a result was made of."""
    prepare()
    with nullcontext() if quiet else working("reading the scenario"):
        return _load(file, overrides, seed, arm)


def _load(file: Path, overrides: Sequence[str] | None, seed: int | None, arm: str | None) -> Loaded:
    from wsim.scenario import load, load_text

    if file.suffix != ".h5":
        return load(file, overrides or [], seed, arm=arm)

    from wsim.results import read

    record = read(file)
    if record.handed_in is not None:
        raise ResultError(f"{file}: cannot be repeated from here ({record.handed_in}); run it from Python again")
    changes = [*record.overrides, *(overrides or [])]
    name = f"{record.name}.toml"  # where the text names no scenario, its file did
    directory = Path(str(record.provenance.get("directory", "")))  # where relative names of data files start
    files = record.referenced_files
    return load_text(record.scenario_text, changes, seed, name=name, directory=directory, referenced=files, arm=arm)


def prepare() -> None:
    """What has to happen before a scenario is loaded: our own packages come first, and all arithmetic takes one thread, so
    that one seed gives one result. The libraries read the number of threads when they are imported."""
    from wsim.packages import check_packages

    check_packages()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"


def _simulate(loaded: Loaded, executor: str, window: int | None, *, quiet: bool, title: str | None = None) -> RunRecord:
    """Run with a live display on stderr where that is a terminal. title: instead of the scenario's name."""
    from wsim.progress import Display

    console = stderr()
    scenario = loaded.scenario
    if not quiet:
        what = f"{title or scenario.scenario.name}: {scenario.algorithm.name} on {scenario.num_devices} devices"
        console.print(f"{what}, seed {scenario.scenario.seed}", **PLAIN)
    from wsim.engine import simulate

    if quiet:
        return simulate(loaded, executor=executor, window=window, progress=None)
    with Display(console) as display:
        return simulate(loaded, executor=executor, window=window, progress=display.update)
