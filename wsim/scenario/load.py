"""Reading a scenario: text, overrides, `like`, validation, cross-checks, in this order.

Nothing that is read is executed.
"""

from __future__ import annotations

import copy
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsim.errors import ScenarioError
from wsim.packaged import find
from wsim.scenario import arms, checks, files, groups, items, no_limit
from wsim.scenario import overrides as changes
from wsim.scenario.arms import Selection
from wsim.scenario.mentions import Mentions, mentions
from wsim.scenario.messages import accepted, field_at, from_validation, place, problem
from wsim.scenario.root import Scenario
from wsim.scenario.study import Definition, definition
from wsim.scenario.table import as_tuples


@dataclass(frozen=True)
class Loaded:
    """A scenario that can be run, and what it was made of.

    text: the file as it was read; with `overrides` and `files` it gives the same scenario again (`load_text`).
    overrides: what `--set` and `--seed` changed, in order.
    files: text of the graph and trace files that it refers to, by the name used in the scenario.
    directory: where relative names of data files and folders start.
    study: the file's [study], None where it has none.
    run_number: which repetition this is: the place of the seed among the seeds of the study, from 1; 1 outside of one. It keys
        nothing: all random streams follow from the seed alone.
    """

    scenario: Scenario
    text: str
    overrides: list[str]
    path: Path | None = None
    files: dict[str, str] = field(default_factory=dict)
    directory: Path = Path()
    study: Definition | None = None
    run_number: int = 1


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    *,
    arm: str | None = None,
    learner: type[Any] | None = None,
    task: Any = None,
) -> Loaded:
    """Read, change and check a scenario file.

    path: of the file; where there is none, the name of a scenario that comes with wsim, such as "quickstart".
    overrides: changes such as "stop.rounds=10", applied in order.
    seed: replaces scenario.seed, after the overrides.
    arm: of the scenario's [study], applied before the overrides; None: the scenario as it stands.
    learner: a learner class that is not registered; [algorithm] is checked against it.
    task: your own, which `simulate` will be given too; [data] partition is checked against it, and [model] not at all.
    Raises ScenarioError, one line, for everything that is wrong with the input.
    """
    path = find(path)
    text = files.read(path, str(path))
    return load_text(text, overrides, seed, name=path.name, path=path, arm=arm, learner=learner, task=task)


def load_text(
    text: str,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    *,
    name: str = "scenario.toml",
    path: Path | None = None,
    directory: Path | None = None,
    referenced: Mapping[str, str] | None = None,
    arm: str | None = None,
    learner: type[Any] | None = None,
    task: Any = None,
) -> Loaded:
    """As `load`, from a text.

    name: the file's name in messages, and the scenario's name where the text gives none.
    directory: where relative file names of the scenario start; default the directory of `path`, else the current one.
    referenced: texts of referenced files that need not be read from disk (from a result file).
    """
    overrides = [*overrides, *Selection(arm).overrides()]
    try:
        return _load_text(text, overrides, seed, name, path, directory, dict(referenced or {}), learner, task)
    except RecursionError:
        raise ScenarioError(f"{name}: nested too deeply") from None


def _load_text(
    text: str,
    overrides: list[str],
    seed: int | None,
    name: str,
    path: Path | None,
    directory: Path | None,
    referenced: dict[str, str],
    learner: type[Any] | None,
    task: Any,
) -> Loaded:
    document = parse(text, name)
    file = copy.deepcopy(document)
    if seed is not None:
        overrides.append(f"scenario.seed={seed}")
    selection, others = arms.split(overrides)
    changed = {changes.apply(document, override): override for override in others if _of_study(override)}
    has_study = document.get("study", "none") != "none"
    study = definition(document["study"], name, groups.names(document)) if has_study else None
    source = name
    if selection.chosen:
        arms.select(document, study, selection, name)
        source = f"{name} {selection.words()}"
    changed |= {changes.apply(document, override): override for override in others if not _of_study(override)}
    identity = document.setdefault("scenario", {})
    if isinstance(identity, dict):
        identity.setdefault("name", _name_from(name))
    directory = directory or (path.parent if path else Path())
    mentioned = mentions(file, overrides, changed)
    try:
        scenario, texts = _checked(document, source, directory, referenced, mentioned, learner, task)
    except ScenarioError as error:
        raise _blame(error, changed, source) from None
    seeds = (study and study.seeds) or ()
    number = seeds.index(scenario.scenario.seed) + 1 if scenario.scenario.seed in seeds else 1
    return Loaded(scenario, text, overrides, path, texts, directory, study, number)


def _checked(
    document: dict[str, Any],
    name: str,
    directory: Path,
    known: dict[str, str],
    mentioned: Mentions,
    learner: type[Any] | None,
    task: Any,
) -> tuple[Scenario, dict[str, str]]:
    """The scenario of a document whose overrides are applied, and the texts of the files that it refers to."""
    for where, value in _numbers(document):
        checked = where[:2] == ("study", "axes")  # by `definition`
        if not (math.isfinite(value) or checked or no_limit.allowed(value, where)):
            wants = accepted(field_at(Scenario, where)[0])
            raise problem(name, where, f"has to be finite{'; ' if wants else ''}{wants}", value=value)
    groups.resolve(document, name)
    try:
        scenario = Scenario.model_validate(as_tuples(no_limit.without_inf(document)))
    except ValidationError as error:
        raise from_validation(error, Scenario, name) from None
    scenario, learner_class = items.check(scenario, name, mentioned, learner, task)
    texts = files.referenced(scenario, name, directory, known)
    checks.check(scenario, learner_class, name, texts)
    return scenario, texts


def parse(text: str, name: str) -> dict[str, Any]:
    """TOML to plain values; a syntax error names its line."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        where = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|(end of document))\)", str(error), re.DOTALL)
        if where is None:
            raise ScenarioError(f"{name}: not valid TOML: {error}") from None
        line = f"line {where[2]}, column {where[3]}" if where[2] else f"line {text.count(chr(10)) + 1}, end of file"
        raise ScenarioError(f"{name} {line}: not valid TOML: {where[1]}") from None


def _of_study(override: str) -> bool:
    return override.lstrip().startswith("study.")


def _name_from(name: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.removesuffix(".toml"))[:100].lstrip("._-")
    return stem or "scenario"


def _numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Every float of a document with its path."""
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(item, (*path, index))


def _blame(error: ScenarioError, changed: Mapping[tuple[str | int, ...], str], name: str) -> ScenarioError:
    """Where an override set the wrong key, or the array or table that it stands in, the message names the override too."""
    text = str(error)
    for path, override in reversed(list(changed.items())):
        where = place(path)
        table = f"[{'.'.join(str(part) for part in path)}"
        if text.startswith(
            tuple(f"{name} {begin}" for begin in (*(where + end for end in " :."), f"{table}]", f"{table}."))
        ):
            return ScenarioError(f"--set {override}: {text}")
    return error
