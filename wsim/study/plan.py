"""What a study consists of: every arm at every point of its axes with every seed, checked before anything runs.

A run is recognized by a hash of all that determines it: the resolved scenario, the text of the files that it refers to and
the version of wsim. A result holds all three, so that whether a run is finished is read from its own file: nothing beside it
can be lost or contradict it. Adding a seed, an arm or a comment repeats nothing. Not looked at: the content of data files
(a changed .npz under its old name), and changes of the code between versions.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wsim import __version__
from wsim.errors import ScenarioError
from wsim.scenario import Loaded, arms, load, load_text
from wsim.scenario.arms import Selection
from wsim.scenario.load import parse
from wsim.study import names


@dataclass(frozen=True)
class PlannedRun:
    """title: for people. overrides: what makes the scenario of the base's text. file: name of the result. number: place of the
    seed among the study's, from 1."""

    title: str
    arm: str
    seed: int
    overrides: tuple[str, ...]
    digest: str
    file: str
    number: int = 1


@dataclass(frozen=True)
class Cell:
    """One arm at one point: a row of the table, one run for each seed. Arms that ignore an axis share the runs of its
    points."""

    arm: str
    point: Mapping[str, Any]
    loaded: Loaded
    runs: tuple[PlannedRun, ...]

    @property
    def title(self) -> str:
        """For people: the arm and where on the axes it is."""
        return ", ".join(filter(None, [self.arm, names.words(self.point, names.short_keys(list(self.point)))]))


@dataclass(frozen=True)
class Plan:
    """base: the scenario as it stands, with the overrides that all runs share."""

    name: str
    base: Loaded
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    @cached_property
    def runs(self) -> tuple[PlannedRun, ...]:
        """Each once: seed by seed, so that a sweep that is cut short has compared what it has."""
        in_order = sorted(((run.seed, run) for cell in self.cells for run in cell.runs), key=lambda pair: pair[0])
        return tuple(dict.fromkeys(run for _, run in in_order))


def plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """The study of a scenario file. Raises ScenarioError for the first thing that is wrong with it, at any point."""
    base = load(path, overrides)
    path, study = base.path or Path(path), base.study
    if study is None:
        says = "has no [study] to sweep; give it arms, axes or seeds, or --set study.seeds=1..5"
        raise ScenarioError(f"{path.name}: {says}")
    selection, others = arms.split(base.overrides)
    if selection.chosen:
        raise ScenarioError(f"--set {selection.overrides()[0]}: a study has all its arms and points here; see --arm")
    shared = [override for override in others if not override.lstrip().startswith("study.")]
    document = parse(base.text, path.name)
    used: set[str] = set()
    chosen: list[tuple[Mapping[str, Any], Selection, Loaded]] = []
    for arm in study.arms or (None,):
        for values in itertools.product(*study.axes.values()):
            point = dict(zip(study.axes, values, strict=True))
            selection = Selection(arm, arms.applying(document, study, arm, point, path.name))
            used |= set(selection.point)
            changes = [*shared, *selection.overrides()]
            loaded = load_text(base.text, changes, name=path.name, path=path, referenced=base.files)
            chosen.append((point, selection, loaded))
    for key in study.axes:
        if key not in used:
            says = "names no key: no arm has a learner with this hyper-parameter"
            raise ScenarioError(f'{path.name} [study] axes "{key}": {says}')
    seeds = study.seeds or (base.scenario.scenario.seed,)
    return Plan(base.scenario.scenario.name, base, seeds, tuple(_cells(base, chosen, seeds)))


def run_digest(resolved: Mapping[str, Any], files: Mapping[str, str], version: str) -> str:
    """The hash of what determines a run; equal for a plan and for the result that it led to."""
    return names.digest(json.dumps([resolved, dict(files), version], sort_keys=True))


def _cells(
    base: Loaded, chosen: Sequence[tuple[Mapping[str, Any], Selection, Loaded]], seeds: Sequence[int]
) -> Iterator[Cell]:
    selections = list({_identity(selection): selection for _, selection, _ in chosen}.values())
    short = names.short_keys([key for point, _, _ in chosen[:1] for key in point])
    stems = [
        names.of_point(selection.arm, {short[key]: value for key, value in selection.point.items()})
        if selection.chosen
        else base.scenario.scenario.name
        for selection in selections
    ]
    identities = [_identity(selection) for selection in selections]
    stem_of = dict(zip(identities, names.distinct(stems, identities), strict=True))
    for point, selection, loaded in chosen:
        arm = loaded.scenario.algorithm.name if selection.arm is None else selection.arm
        where = f", {names.words(selection.point, short)}" if selection.point else ""
        runs = []
        for number, seed in enumerate(seeds, start=1):
            resolved = loaded.scenario.resolved()
            resolved["scenario"]["seed"] = seed
            runs.append(
                PlannedRun(
                    title=f"{arm}{where}, seed {seed}",
                    arm=arm,
                    seed=seed,
                    overrides=(*loaded.overrides, f"scenario.seed={seed}"),
                    digest=run_digest(resolved, loaded.files, __version__),
                    file=f"{stem_of[_identity(selection)]}-s{seed}.h5",
                    number=number,
                )
            )
        yield Cell(arm, point, loaded, tuple(runs))


def _identity(selection: Selection) -> str:
    return repr(selection.overrides())
