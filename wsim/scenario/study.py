"""The [study] table: arms (named changes of the scenario), axes (keys and the values that each takes), seeds.

    [study]
    seeds = "1..10"                                            # or [1, 2, 5]
    arms  = [{ name = "FedAvg" }, { name = "D-PSGD", algorithm.name = "dpsgd", server = "none" }]
    axes  = { "devices.0.mobility.speed_mps" = [[0.5, 1.0], [5.0, 10.0]] }

    picture = { logarithmic = true, accuracy_from = 0.5 }      # how study.png is drawn

The rest of the file is the base, a scenario that runs by itself. `wsim.scenario.arms` applies an arm to it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, WithJsonSchema

from wsim.errors import ScenarioError
from wsim.scenario import no_limit
from wsim.scenario import quantities as q
from wsim.scenario.messages import from_validation, nearest, problem, shown
from wsim.scenario.table import Table, as_tuples

NAMES = "names of arms are text of 1 to 60 characters"
FAMILIES = "names of families are text of 1 to 60 characters"
SEEDS = 'has to be a range such as "1..10", or an array of whole numbers'
ONE_SET_OF_SEEDS = "every arm runs at every point with the same seeds, which are [study] seeds"
MAX_SEED = 2**63 - 1
MAX_SEEDS = 10_000
MAX_POINTS = 10_000  # arms times values of all axes
_SEED_SCHEMA: Any = {
    "anyOf": [{"type": "string", "pattern": r"^\d+\.\.\d+$"}, {"type": "array", "items": {"type": "integer"}}]
}


class Arm(Table):
    """A named change of the base; every key but these is one of the scenario's. family: arms of one family have one color in the
    picture and a kind of line each."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)
    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,60}$", description=NAMES)]
    family: Annotated[str | None, Field(pattern=r"^[^\x00-\x1f\x7f]{1,60}$", description=FAMILIES)] = None


class Picture(Table):
    """How the study's picture is drawn. titles: "path.to.key" = what an axis is called there."""

    logarithmic: bool = False  # seconds, bits and joules; false: where arms lie far apart
    accuracy_from: q.Fraction | None = None  # where the axis of accuracies begins; not given: at the lowest one
    titles: Annotated[dict[str, str], Field(description='"path.to.key" = "what it is called"')] = {}


class Study(Table):
    """What `wsim sweep` runs: every arm at every point of the axes, with every seed."""

    arms: tuple[Arm, ...] = ()  # none: the base alone
    axes: Annotated[dict[str, Any], Field(description='"path.to.key" = [values]')] = {}
    seeds: Annotated[Any, WithJsonSchema(_SEED_SCHEMA)] = None  # none: the scenario's own
    picture: Picture = Picture()


@dataclass(frozen=True)
class Definition:
    """A [study] table as it is used.

    arms: changes of the base by name of the arm, as nested tables; axes: values by dotted key; seeds: None where not given;
    families: of those arms that are in one
    """

    arms: dict[str, dict[str, Any]]
    axes: dict[str, list[Any]]
    seeds: tuple[int, ...] | None
    families: dict[str, str] = field(default_factory=dict)
    picture: Picture = Picture()


def definition(table: Any, source: str, groups: Sequence[str | None] = ()) -> Definition:
    """Read a [study] table. Raises ScenarioError for everything that is wrong with it by itself.

    groups: names of the scenario's groups of devices, which keys may name so or by number; not given: only as they stand.
    """
    try:
        study = Study.model_validate(as_tuples(table))
    except ValidationError as error:
        raise from_validation(error, Study, source, ("study",)) from None
    arms: dict[str, dict[str, Any]] = {}
    for number, arm in enumerate(table.get("arms", [])):
        name = arm["name"]
        if not name.strip():
            raise problem(source, ("study", "arms", number, "name"), NAMES, value=name)
        if name in arms:
            says = f"is also the name of arm {list(arms).index(name)}; two arms need two names"
            raise problem(source, ("study", "arms", number, "name"), says, value=name)
        if "study" in arm:
            raise problem(source, ("study", "arms", number, "study"), "an arm holds no study of its own")
        if isinstance(arm.get("scenario"), dict) and "seed" in arm["scenario"]:
            raise problem(source, ("study", "arms", number, "scenario", "seed"), ONE_SET_OF_SEEDS)
        arms[name] = {key: value for key, value in arm.items() if key not in Arm.model_fields}
    axes = dict(_axes(table.get("axes", {}), source))
    for key, values in axes.items():
        _check_axis(key, values, arms, source, groups)
    _check_apart(list(axes), source, groups)
    seeds = None if "seeds" not in table else read_seeds(table["seeds"], source)
    if not (arms or axes or seeds):
        raise problem(source, ("study",), "is empty; give arms, axes or seeds", table=True)
    points = max(len(arms), 1) * math.prod(len(values) for values in axes.values())
    if points > MAX_POINTS:
        raise problem(source, ("study",), f"arms times axes are {points} points, more than {MAX_POINTS}", table=True)
    titles = study.picture.titles
    unknown = next((key for key in titles if key not in axes), None)
    if unknown is not None:
        says = f"is no axis of the study{nearest(unknown, axes)}, which has {', '.join(map(shown, axes)) or 'none'}"
        raise problem(source, ("study", "picture", "titles", unknown), says)
    families = {arm.name: arm.family for arm in study.arms if arm.family is not None}
    return Definition(arms, axes, seeds, families, study.picture)


def read_seeds(value: Any, source: str) -> tuple[int, ...]:
    """ "1..10" or [1, 2, 5]. Raises ScenarioError."""
    path = ("study", "seeds")
    if isinstance(value, str):
        ends = re.fullmatch(r"\s*(\d{1,19})\s*\.\.\s*(\d{1,19})\s*", value, re.ASCII)
        if ends is None:
            raise problem(source, path, SEEDS, value=value)
        low, high = int(ends[1]), int(ends[2])
        if low > high:
            raise problem(source, path, f'is empty, it ends before it begins; "{high}..{low}"?', value=value)
        seeds = list(range(low, min(high, low + MAX_SEEDS) + 1))
    elif isinstance(value, list) and all(type(seed) is int for seed in value):
        seeds = value
    else:
        raise problem(source, path, SEEDS, value=value)
    if not seeds:
        raise problem(source, path, f"is empty; {SEEDS}", value=value)
    if len(seeds) > MAX_SEEDS:
        raise problem(source, path, f"are more than {MAX_SEEDS} seeds", value=value)
    for seed in seeds:
        if not 0 <= seed <= MAX_SEED:
            raise problem(source, path, f"seed {shown(seed)}: seeds are whole numbers, 0 to {MAX_SEED}", value=value)
    twice = next((seed for seed, count in Counter(seeds).items() if count > 1), None)
    if twice is not None:
        raise problem(source, path, f"seed {twice} is there twice; every seed is one run", value=value)
    return tuple(seeds)


def _axes(table: dict[str, Any], source: str, above: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Axes by dotted key; without quotes TOML has made tables of the key's parts."""
    for part, values in table.items():
        key = f"{above}{part}"
        if isinstance(values, dict):
            yield from _axes(values, source, f"{key}.")
            continue
        where = f'[study] axes "{key}"'
        if not isinstance(values, list):
            raise ScenarioError(
                f"{source} {where} = {shown(values)}: has to be an array of the values that the key takes"
            )
        if not values:
            raise ScenarioError(f"{source} {where} = []: is empty; give the values that the key takes")
        values = [no_limit.without_inf(value, tuple(key.split("."))) for value in values]
        for number, value in enumerate(values):
            for item in _leaves(value):
                if not isinstance(item, (bool, int, float, str)):
                    raise ScenarioError(f"{source} {where}: no key takes dates or times of day")
                if isinstance(item, float) and not math.isfinite(item):
                    says = 'has to be finite; "none" takes away a key that may be left out'
                    raise ScenarioError(f"{source} {where} = {shown(value)}: {says}")
            if any(_same(value, other) for other in values[:number]):
                raise ScenarioError(f"{source} {where}: {shown(value)} is there twice")
        yield key, values


def _check_axis(
    key: str, values: list[Any], arms: dict[str, dict[str, Any]], source: str, groups: Sequence[str | None]
) -> None:
    """Raise ScenarioError for an axis over seeds or the study itself, and for one that undoes what an arm sets."""
    where, parts = f'[study] axes "{key}"', key.split(".")
    tables = [value for value in values if isinstance(value, dict)]
    if key == "scenario.seed" or (key == "scenario" and any("seed" in table for table in tables)):
        raise ScenarioError(f"{source} {where}: {ONE_SET_OF_SEEDS}")
    if parts[0] == "study":
        raise ScenarioError(f"{source} {where}: a study has no studies as points; name another key")
    for name, arm in arms.items():
        if _sets(arm, parts, groups):
            says = f"arm {shown(name)} sets this key too, and the axis would undo it; take it out of one of them"
            raise ScenarioError(f"{source} {where}: {says}")


def _check_apart(keys: Sequence[str], source: str, groups: Sequence[str | None]) -> None:
    """Raise ScenarioError where an axis sets what another one sets too, as devices.0.count and devices.phones.count may."""
    for key, other in itertools.permutations(keys, 2):
        nested: Any = True
        for part in reversed(other.split(".")):
            nested = {part: nested}
        if _sets(nested, key.split("."), groups):
            says = f"the axis {shown(other)} sets this too, and one would undo the other; leave one out"
            raise ScenarioError(f'{source} [study] axes "{key}": {says}')


def _sets(arm: dict[str, Any], parts: Sequence[str], groups: Sequence[str | None]) -> bool:
    """Whether an arm holds a key, or something below it. Groups of devices stand under their number or their name."""
    found: list[Any] = [arm]
    for depth, part in enumerate(parts):
        alike: list[str | None] = [part]
        if depth == 1 and parts[0] == "devices":
            alike = [
                other for i, name in enumerate(groups) if part in (str(i), name) for other in (str(i), name)
            ] or alike
        found = [below for above in found for other in alike for below in _below(above, other)]
    return bool(found)


def _below(value: Any, part: str | None) -> list[Any]:
    """What a table holds under a key, or an array under a number or the name of its entry."""
    if isinstance(value, dict):
        return [value[part]] if part in value else []
    if isinstance(value, list):
        return [
            item
            for i, item in enumerate(value)
            if part == str(i) or (isinstance(item, dict) and part == item.get("name"))
        ]
    return []


def _leaves(value: Any) -> Iterator[Any]:
    """All that is neither a table nor an array."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    else:
        yield value


def _same(a: Any, b: Any) -> bool:
    """Equal, and not merely as 1 and true are."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)
