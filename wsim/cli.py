"""The command line: `wsim run | estimate | show | plot`.

Exit codes: 0; 2 for bad input (a scenario, a result file, data, the command line itself); 130 for Ctrl-C; 1 for
anything else. Whatever goes wrong is one line on stderr. Everything heavy is imported by the command that needs it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsim.errors import Interrupted, ResultError, WsimError, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from wsim.record import RunRecord
    from wsim.scenario import Loaded

INTERRUPTED = 130

app = typer.Typer(
    name="wsim",
    help="Simulate machine learning over wireless networks: accuracy after how many seconds, bits and joules.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Executor(StrEnum):
    batched = "batched"
    eager = "eager"


ScenarioFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="Scenario (.toml), or a result (.h5) to repeat.", show_default=False)
]
ResultFile = Annotated[Path, typer.Argument(metavar="RESULT", help="Result file (.h5).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as stop.rounds=10. Repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Replace the scenario's seed.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback(invoke_without_command=True)
def _wsim(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from wsim import __version__

        typer.echo(f"wsim {__version__}")
        raise typer.Exit


@app.command()
def run(
    file: ScenarioFile,
    overrides: Overrides = None,
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Result file (default: outputs/NAME-sSEED.h5).", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing result.")] = False,
    executor: Annotated[
        Executor, typer.Option("--executor", help="eager: one operation at a time, for debugging.")
    ] = Executor.batched,
    window: Annotated[int | None, typer.Option("--window", min=1, hidden=True)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Run a scenario: writes the result file and a picture beside it, and prints a table."""
    from wsim.atomic import check_target

    loaded = _load(file, overrides, seed)
    identity = loaded.scenario.scenario
    result = out or Path("outputs") / f"{identity.name}-s{identity.seed}.h5"
    picture = result.with_suffix(".png")
    if picture == result:
        raise ResultError(f"{result}: the result is no picture; end its name in .h5")
    check_target(result, force)
    check_target(picture, force)
    start = time.perf_counter()
    record = _simulate(loaded, executor.value, window, quiet=quiet)

    from wsim.plotting import plot_run
    from wsim.results import write

    write(record, result, force)
    try:
        plot_run(record, picture, force)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {result} is written, its picture is not: wsim plot {result}") from None
    if not quiet:
        _print_table(record)
        _stderr().print(f"{result} and {picture.name} written after {time.perf_counter() - start:.1f} s", **PLAIN)


@app.command()
def estimate(file: ScenarioFile, overrides: Overrides = None, seed: Seed = None, json: Json = False) -> None:
    """Seconds, bits, joules and messages of a run without training anything."""
    record = _simulate(_load(file, overrides, seed), "null", None, quiet=json)
    _print_json(record) if json else _print_table(record)


@app.command()
def show(result: ResultFile, json: Json = False) -> None:
    """Print the table of a result file."""
    from wsim.results import read

    record = read(result)
    _print_json(record) if json else _print_table(record)


@app.command()
def plot(
    result: ResultFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Picture, .png, .pdf or .svg (default: beside the result).", show_default=False),
    ] = None,
) -> None:
    """Draw the picture of a result file."""
    from wsim.plotting import plot_run
    from wsim.results import read

    record = read(result)
    picture = out or result.with_suffix(".png")
    if picture.exists() and picture.samefile(result):
        raise ResultError(f"{picture}: is the result itself; choose another name for the picture")
    plot_run(record, picture)
    _stderr().print(f"{picture} written", **PLAIN)


PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


def _load(file: Path, overrides: Sequence[str] | None, seed: int | None) -> Loaded:
    """The scenario of a file, or the one that a result was made of."""
    from wsim.packages import check_packages

    check_packages()
    _use_one_thread()
    from wsim.scenario import load, load_text

    if file.suffix != ".h5":
        return load(file, overrides or [], seed)

    from wsim.results import read

    record = read(file)
    changes = [*record.overrides, *(overrides or [])]
    name = f"{record.name}.toml"  # where the text names no scenario, its file did
    return load_text(record.scenario_text, changes, seed, name=name, referenced=record.referenced_files)


def _use_one_thread() -> None:
    """One thread for all arithmetic: one seed gives one result. Has to be said before the libraries are loaded."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"


def _simulate(loaded: Loaded, executor: str, window: int | None, *, quiet: bool) -> RunRecord:
    """Run with a live display on stderr where that is a terminal."""
    from wsim.progress import Display

    console = _stderr()
    scenario = loaded.scenario
    if not quiet:
        what = f"{scenario.scenario.name}: {scenario.algorithm.name} on {scenario.num_devices} devices"
        console.print(f"{what}, seed {scenario.scenario.seed}", **PLAIN)
    from wsim.engine import simulate

    if quiet:
        return simulate(loaded, executor=executor, window=window, progress=None)
    with Display(console) as display:
        return simulate(loaded, executor=executor, window=window, progress=display.update)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _print_table(record: RunRecord) -> None:
    from rich.console import Console

    from wsim.report import summary_table

    Console().print(summary_table(record))


def _print_json(record: RunRecord) -> None:
    import json

    from wsim.report import summary_dict

    typer.echo(json.dumps(summary_dict(record), indent=2, allow_nan=False))


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; whatever goes wrong is one line on stderr."""
    command = typer.main.get_command(app)
    interrupted: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        interrupted.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    try:
        code = command.main(arguments, prog_name="wsim", standalone_mode=False)
    except WsimError as error:
        return _failed(str(error), error.exit_code)
    except MemoryError as error:
        return _failed(f"not enough memory: {str(error) or 'a smaller model or fewer devices may fit'}", 1)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if interrupted:  # a library may turn an interrupted import into an error of its own
            return _failed("interrupted, nothing written", INTERRUPTED)
        if hasattr(error, "format_message"):  # the command line itself is wrong
            message = error.format_message()  # empty: the help that was printed says it
            return _failed(f"{message} (wsim --help)", 2) if message else 2
        if os.environ.get("WSIM_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _failed(f"unexpected {what} (a fault of wsim; WSIM_TRACEBACK=1 shows where)", 1)
    if code == INTERRUPTED:
        return _failed("interrupted, nothing written", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"error: {one_line(message)}\n")
    return code


def main() -> None:
    """The `wsim` command."""
    sys.exit(execute())
