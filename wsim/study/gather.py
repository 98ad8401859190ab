"""Results of any origin side by side: files and folders of them, sorted into arms, points and seeds.

A result of a study belongs to the arm and point that its overrides name; any other is called by its learner. Where results of
one name were made differently, the keys in which they differ become part of the name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsim.errors import ResultError, ScenarioError
from wsim.scenario.load import parse
from wsim.scenario.messages import nearest, shown
from wsim.scenario.study import Definition, definition
from wsim.study import names, world
from wsim.study.comparison import Comparison, Row, compared
from wsim.study.finished import Finished, read


def gather(paths: Sequence[Path], *, baseline: str | None = None, force: bool = False) -> Comparison:
    """Compare result files, or all those in a folder.

    baseline: name of an arm, by default the study's first or that of the first result
    force: also compare results that met different worlds
    Raises ResultError for what is no result, for results of different scenarios and for two of one arm and seed.
    """
    runs = [read(file) for file in _files(paths)]
    made = [_made_of(run) for run in runs]
    if not force:
        _refuse_different_worlds(runs, made)
    study = _study(runs)
    rows = list(_rows(runs, made, study))
    arms = list(dict.fromkeys(row.arm for row in rows))
    baseline = arms[0] if baseline is None else baseline
    if baseline not in arms:
        known = ", ".join(map(shown, arms))
        raise ScenarioError(f"--baseline {baseline}: no arm of that name{nearest(baseline, arms)}, known: {known}")
    titles = list(dict.fromkeys(str(run.resolved["scenario"]["name"]) for run in runs))
    return compared(", ".join(titles), rows, baseline, max(len(row.runs) for row in rows), study)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.h5")) if path.is_dir() else [path]
        if not found:
            raise ResultError(f"{path}: holds no results (.h5)")
        files += found
    return files


def _made_of(run: Finished) -> dict[str, Any]:
    """Everything that a result may differ in: dotted keys, what Python handed in, the version, files by the hash of their
    text."""
    keys = {key: value for key, value in world.flat(run.resolved) if not world.is_neutral(key)}
    files = {f"file {name}": names.digest(text)[:8] for name, text in run.files.items()}
    return {**keys, **run.own, **files, "version of wsim": run.version}


def _refuse_different_worlds(runs: Sequence[Finished], made: Sequence[Mapping[str, Any]]) -> None:
    of_studies = [key for text in dict.fromkeys(run.scenario_text for run in runs) for key in world.of_study(text)]
    differences = world.differing_keys(made)
    strange = {key: values for key, values in differences.items() if not world.allowed(key, of_studies)}
    if strange:
        says = f"results of different scenarios: {world.words(strange)}; --force compares them all the same"
        raise ResultError(says)


def _rows(runs: Sequence[Finished], made: Sequence[Mapping[str, Any]], study: Definition | None) -> Iterator[Row]:
    """In the order of the study where there is one, else as the results came."""
    named: dict[tuple[str, str], dict[str, list[int]]] = {}  # (arm, point) -> what it was made of -> results
    for i, run in enumerate(runs):
        name = run.arm or run.learner, _identity(run.point)
        named.setdefault(name, {}).setdefault(_identity(made[i]), []).append(i)
    rows = []
    for (arm, _), variants in named.items():
        firsts = [made[members[0]] for members in variants.values()]
        differences = world.differing_keys(firsts)
        for number, members in enumerate(variants.values()):
            own = ", ".join(f"{key} = {shown(values[number], 24)}" for key, values in differences.items())
            label = f"{arm} ({own})" if own else arm
            rows.append(Row(label, runs[members[0]].point, _by_seed([runs[i] for i in members], label)))
    axes = dict.fromkeys(key for row in rows for key in row.point)
    full = list({_identity(row.point): row.point for row in rows if len(row.point) == len(axes)}.values())
    for row in _ordered(rows, full, study):  # an arm that ignores an axis stands at all of its points
        agreeing = [point for point in full if all(point[key] == value for key, value in row.point.items())]
        for point in agreeing or [row.point]:
            yield Row(row.arm, point, row.runs)


def _ordered(rows: list[Row], points: list[Mapping[str, Any]], study: Definition | None) -> list[Row]:
    """The rows in the order of the study's arms and of its points, which are sorted in place."""
    if study is None:
        return rows
    arms, axes = list(study.arms), list(study.axes.items())

    def place(point: Mapping[str, Any]) -> list[int]:
        return [_place(values, point.get(key)) for key, values in axes]

    points.sort(key=place)
    return sorted(rows, key=lambda row: (_place(arms, row.runs[0].arm), place(row.point)))


def _by_seed(runs: Sequence[Finished], label: str) -> tuple[Finished, ...]:
    by_seed: dict[int, Finished] = {}
    for run in runs:
        other = by_seed.setdefault(run.seed, run)
        if other is not run:
            says = f"{other.file} and {run.file} are both {label}, seed {run.seed}: a seed counts once, leave one out"
            raise ResultError(says)
    return tuple(by_seed[seed] for seed in sorted(by_seed))


def _study(runs: Sequence[Finished]) -> Definition | None:
    """Of the first result that is an arm or point of one."""
    for run in runs:
        if run.arm is not None or run.point:
            return definition(parse(run.scenario_text, run.file.name).get("study", {}), run.file.name)
    return None


def _place(values: Sequence[Any], value: Any) -> int:
    return values.index(value) if value in values else len(values)


def _identity(made: Mapping[str, Any]) -> str:
    return json.dumps(dict(made), sort_keys=True)
