"""`wsim sweep` and `wsim compare`: many runs at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsim.cli.options import Json, Overrides
from wsim.cli.output import PLAIN, print_json, stderr, working
from wsim.cli.running import prepare
from wsim.errors import Interrupted, ResultError, StudyError

if TYPE_CHECKING:
    from wsim.study.comparison import Comparison

StudyFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A scenario (.toml) with a study, or the name of one that comes with wsim.",
        show_default=False,
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="The arm that others are compared with (default: the first).",
        show_default=False,
    ),
]


def sweep(
    file: StudyFile,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Runs at a time (default: one for each core).", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder (default: outputs/NAME).", show_default=False)
    ] = None,
    arms: Annotated[
        list[str] | None, typer.Option("--arm", metavar="NAME", help="Run this arm only. Repeatable.")
    ] = None,
    overrides: Overrides = None,
    baseline: Baseline = None,
    force: Annotated[bool, typer.Option("--force", help="Replace results of other scenarios in the folder.")] = False,
) -> None:
    """Run all arms, axes and seeds of a study: tables, and a figure with intervals over the seeds.

    What is finished already is not run again, after whatever interruption.
    """
    prepare()
    from wsim.study.display import Display
    from wsim.study.plan import plan
    from wsim.study.sweep import PICTURE, TABLE_CSV, TABLE_MD
    from wsim.study.sweep import sweep as run_sweep

    with working("checking all arms, axes and seeds"):
        study = plan(file, overrides or [])
    folder = out or Path("outputs") / study.name
    jobs = jobs or num_cores()
    console = stderr()
    with Display(console, jobs) as display:
        try:
            done = run_sweep(
                study,
                folder,
                jobs,
                arms=arms or [],
                baseline=baseline,
                force=force,
                on_start=display.start,
                on_event=display.note,
            )
        except KeyboardInterrupt:
            finished = sum((folder / run.file).exists() for run in study.runs)
            says = f"interrupted; {finished} of {len(study.runs)} runs are finished and kept in {folder}"
            raise Interrupted(f"{says}: the same command goes on from there") from None
    full = next((failure for failure in done.failures if failure.full), None)
    kept = f"{done.num_runs - done.num_missing} of {done.num_runs} runs are finished and kept"
    if full is not None:
        raise StudyError(f"{full.message}; {kept}: make room and sweep again", 2)
    if done.comparison.rows:
        _print(done.comparison)
        console.print(f"{folder / TABLE_CSV}, {TABLE_MD} and {PICTURE} written", **PLAIN)
    for failure in done.failures:
        console.print(f"failed: {failure.run.title}: {failure.message}", **PLAIN)
    if done.failures:
        code = 2 if all(failure.exit_code == 2 for failure in done.failures) else 1
        num = len(done.failures)
        raise StudyError(f"{num} run{'' if num == 1 else 's'} failed; {kept} in {folder}", code)


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT", help="Results (.h5), or a folder of them.", show_default=False),
    ],
    baseline: Baseline = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Picture, .png, .pdf or .svg (default: compare.png beside them).", show_default=False
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compare results of different scenarios all the same.")
    ] = False,
    json: Json = False,
) -> None:
    """Put results side by side: a table and one picture, several seeds of one arm as mean and interval."""
    prepare()
    from wsim.study.gather import gather

    with working("reading the results"):
        comparison = gather(results, baseline=baseline, force=force)
    if json:
        from wsim.study.terminal import comparison_dict

        print_json(comparison_dict(comparison))
    else:
        _print(comparison)
    if json and out is None:
        return
    from wsim.study.picture import plot_comparison

    picture = out or (results[0] if results[0].is_dir() else results[0].parent) / "compare.png"
    if picture.exists() and any(picture.samefile(run.file) for row in comparison.rows for run in row.runs):
        raise ResultError(f"{picture}: is a result; choose another name for the picture")
    with working("drawing the picture"):
        plot_comparison(comparison, picture)
    stderr().print(f"{picture} written", **PLAIN)


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _print(comparison: Comparison) -> None:
    from rich.console import Console

    from wsim.study.terminal import comparison_table

    console = Console()
    console.print(comparison_table(comparison, console.width))
