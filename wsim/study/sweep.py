"""`wsim sweep`: run what is missing of a study, then write its tables and its picture."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wsim.atomic import check_target, fragments, write_atomically
from wsim.errors import FormatError, ResultError, ScenarioError
from wsim.scenario.messages import nearest, shown
from wsim.study import world
from wsim.study.comparison import Comparison, Row, compared
from wsim.study.finished import Finished, read
from wsim.study.picture import plot_comparison
from wsim.study.places import check_places
from wsim.study.plan import Plan, PlannedRun
from wsim.study.runner import Event, Failure, run_all
from wsim.study.table import csv_text, markdown_text

TABLE_CSV, TABLE_MD, PICTURE = "table.csv", "table.md", "study.png"


@dataclass(frozen=True)
class Sweep:
    """A sweep that has ended. comparison: of all runs that have a result, those of earlier sweeps too."""

    comparison: Comparison
    failures: list[Failure]
    num_runs: int
    num_kept: int  # finished before this sweep began
    num_missing: int


def sweep(
    plan: Plan,
    folder: Path,
    jobs: int,
    *,
    arms: Sequence[str] = (),
    baseline: str | None = None,
    force: bool = False,
    on_start: Callable[[Sequence[PlannedRun], dict[str, Finished]], None] = lambda wanted, kept: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Sweep:
    """Run all that has no result yet in the folder, and write table.csv, table.md and study.png there.

    arms: runs of these only; the tables hold every arm that has results
    force: replace results of other scenarios that have the names of this study's
    on_start: told the runs that are wanted and those that are finished already, by file name
    Raises ScenarioError for an unknown arm and for files of data that are not there, ResultError where something cannot be written. A run that fails is in `failures`;
    where one had no room for its result, no table is written either.
    """
    for arm in [*arms, *([baseline] if baseline is not None else [])]:
        if arm not in plan.arms:
            known = ", ".join(map(shown, plan.arms))
            raise ScenarioError(f"{plan.name}: unknown arm {shown(arm)}{nearest(arm, plan.arms)}, known: {known}")
    check_target(folder / TABLE_CSV, force=True)
    with _alone_in(folder):
        _remove_fragments(plan, folder)
        kept = _kept(plan, folder, force)
        wanted = [run for run in plan.runs if not arms or run.arm in arms]
        to_do = [run for run in wanted if run.file not in kept]
        needed = set(to_do)
        check_places(cell.loaded for cell in plan.cells if not needed.isdisjoint(cell.runs))
        on_start(wanted, kept)
        try:
            failures = run_all(plan, to_do, folder, jobs, on_event)
        finally:
            _remove_fragments(plan, folder)
        results = kept | _kept(plan, folder, True, set(kept))
        comparison = _comparison(plan, results, baseline or plan.arms[0])
        if not any(failure.full for failure in failures):
            try:
                _write(comparison, folder)
            except ResultError as error:
                says = f"{len(results)} results in {folder} are whole; make room and sweep again"
                raise ResultError(f"{error}; {says}") from error
    missing = sum(run.file not in results for run in plan.runs)
    return Sweep(comparison, failures, len(plan.runs), len(kept), missing)


def _kept(plan: Plan, folder: Path, force: bool, known: set[str] = frozenset()) -> dict[str, Finished]:  # type: ignore[assignment]
    """Finished runs by file name. A damaged file is no result: its run is repeated. The result of another scenario is refused,
    or repeated with `force`."""
    found: dict[str, Finished] = {}
    others: list[tuple[PlannedRun, Finished]] = []
    for run in plan.runs:
        if run.file in known or not (folder / run.file).exists():
            continue
        try:
            result = read(folder / run.file)
        except FormatError as error:
            if not force:
                raise FormatError(f"{error}; keep it by --out, or replace it by --force") from None
            continue
        except ResultError:
            continue
        if result.digest == run.digest and not result.own:
            found[run.file] = result
        else:
            others.append((run, result))
    if others and not force:
        run, result = others[0]
        loaded = next(cell.loaded for cell in plan.cells if run in cell.runs)
        resolved = loaded.scenario.resolved()
        resolved["scenario"]["seed"] = run.seed
        changed = (
            world.words(world.differing([result.resolved, resolved]))
            or "another version of wsim, other files, or what Python handed in"
        )
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        says = f"is the result of another scenario{more}: {changed}; keep it by --out, or replace it by --force"
        raise ResultError(f"{folder / run.file}: {says}")
    return found


def _comparison(plan: Plan, results: dict[str, Finished], baseline: str) -> Comparison:
    rows = [
        Row(
            cell.arm,
            cell.point,
            tuple(
                replace(results[run.file], arm=cell.arm, point=cell.point) for run in cell.runs if run.file in results
            ),
        )
        for cell in plan.cells
    ]
    return compared(plan.name, rows, baseline, len(plan.seeds), plan.base.study)


def _write(comparison: Comparison, folder: Path) -> None:
    if comparison.rows:
        write_atomically(folder / TABLE_CSV, csv_text(comparison).encode(), force=True)
        write_atomically(folder / TABLE_MD, markdown_text(comparison).encode(), force=True)
        plot_comparison(comparison, folder / PICTURE)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Refuse a second sweep in the same folder: both would do the same runs. The lock goes with the process."""
    try:
        import fcntl
    except ImportError:  # not on this system: then nothing is refused
        yield
        return
    with (folder / ".sweep.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ResultError(
                f"{folder}: another sweep is at work here; wait for it, or choose another --out"
            ) from None
        yield


def _remove_fragments(plan: Plan, folder: Path) -> None:
    """What a killed process was about to write of this sweep; another command may be writing into the folder too."""
    for fragment in fragments(folder, [*(run.file for run in plan.runs), TABLE_CSV, TABLE_MD, PICTURE]):
        with contextlib.suppress(OSError):
            os.unlink(fragment)
