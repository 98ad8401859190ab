"""One arm of a study, at one point of its axes: the base scenario with their keys set.

An arm is applied key by key: tables are merged; a string, number or array replaces what stood there (`mac = "shared"` replaces
the whole table, `mac.kind = "shared"` one key of it). Paths go through [[devices]] by index or group name, as in --set. Then
each axis sets its key.

Where an arm or a point names another algorithm, those keys of the base's [algorithm] that the new learner does not have are
dropped if any registered learner has them; the keys that they share stay. A key that no learner knows is an error.

What is selected is an override like any other, so that a result, which keeps its text and its overrides, can be run again:

    study.arm="D-PSGD"    study.point={ "mac.kind" = "shared" }
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsim.catalog import importable, names_of
from wsim.errors import ScenarioError
from wsim.scenario import overrides as changes
from wsim.scenario.keys import keys_of
from wsim.scenario.messages import nearest, shown
from wsim.scenario.study import Definition

ARM, POINT = "study.arm", "study.point"


@dataclass(frozen=True)
class Selection:
    """arm: its name, None for the base; point: values by dotted key."""

    arm: str | None = None
    point: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> bool:
        return self.arm is not None or bool(self.point)

    def overrides(self) -> list[str]:
        """The selection as it stands in a result."""
        arm = [] if self.arm is None else [f"{ARM}={toml(self.arm)}"]
        return arm + ([f"{POINT}={toml(dict(self.point))}"] if self.point else [])

    def words(self) -> str:
        """For messages: `arm "FedAvg" (mac.kind = "tdma")`, empty for the base."""
        point = ", ".join(f"{key} = {shown(value)}" for key, value in self.point.items())
        arm = "" if self.arm is None else f"arm {shown(self.arm)}"
        return f"{arm} ({point})".lstrip() if point else arm


def split(overrides: Sequence[str]) -> tuple[Selection, list[str]]:
    """The selection among overrides, and the rest of them. Raises ScenarioError."""
    arm: str | None = None
    point: Any = {}
    rest = []
    for override in overrides:
        key, _, text = override.partition("=")
        if key.strip() == ARM:
            value = changes.parse(text)
            arm = value if isinstance(value, str) else text.strip()
        elif key.strip() == POINT:
            point = changes.parse(text)
            if not isinstance(point, dict):
                raise ScenarioError(f'--set {override}: has to be {POINT}={{ "path.to.key" = value }}')
        else:
            rest.append(override)
    return Selection(arm, point), rest


def select(document: dict[str, Any], definition: Definition | None, selection: Selection, source: str) -> None:
    """Make the document that of one arm and point, in place. Raises ScenarioError for a name that the study does not have and
    for a path that leads nowhere."""
    document.pop("study", None)
    if selection.arm is not None:
        known = definition.arms if definition is not None else {}
        if selection.arm not in known:
            has = f"known: {', '.join(map(shown, known))}" if known else "the scenario has no [study] with arms"
            raise ScenarioError(f"{source}: unknown arm {shown(selection.arm)}{nearest(selection.arm, known)}, {has}")
        _apply(document, known[selection.arm], f"{source} {Selection(selection.arm).words()}")
    for key, value in selection.point.items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        _apply(document, nested, f'{source} [study] axes "{key}"')


def applying(
    document: dict[str, Any], definition: Definition | None, arm: str | None, point: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Those values of the point that the arm has a use for: all but the hyper-parameters that its learner does not have and
    another one does. Raises ScenarioError as `select`."""
    document = copy.deepcopy(document)
    others = {key: value for key, value in point.items() if _hyperparameter(key) is None}
    select(document, definition, Selection(arm, others), source)
    algorithm = document.get("algorithm")
    name = algorithm.get("name") if isinstance(algorithm, dict) else algorithm
    foreign = _foreign_keys(name)
    return {key: value for key, value in point.items() if _hyperparameter(key) not in foreign}


def _hyperparameter(key: str) -> str | None:
    """The key of [algorithm] that a dotted key names, other than the learner's name."""
    table, _, rest = key.partition(".")
    return rest if table == "algorithm" and rest != "name" else None


def _apply(document: dict[str, Any], wanted: dict[str, Any], source: str) -> None:
    algorithm = wanted.get("algorithm")
    if isinstance(algorithm, dict) and "name" in algorithm:
        _drop_foreign_keys(document, algorithm["name"])
    for keys, value in _leaves(wanted):
        changes.assign(document, keys, copy.deepcopy(value), source)


def _leaves(table: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Everything in nested tables that is not a table with something in it."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _drop_foreign_keys(document: dict[str, Any], name: Any) -> None:
    """Remove from [algorithm] what only other learners than `name` know. An unknown name is left to the validation."""
    base, foreign = document.get("algorithm"), _foreign_keys(name)
    if isinstance(base, dict):
        document["algorithm"] = {key: value for key, value in base.items() if key not in foreign}


def _foreign_keys(learner: Any) -> set[str]:
    """The hyper-parameters that a learner does not have and another one does."""
    if learner not in names_of("learner"):
        return set()
    keys = {name: set(keys_of("learner", found)) for name, found in importable("learner").items()}
    return set().union(*keys.values()) - keys.get(learner, set())


def toml(value: Any) -> str:
    """A value as TOML on one line. Raises ScenarioError for what a scenario cannot hold (dates)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    raise ScenarioError(f"{shown(value)}: no key of a scenario takes a {type(value).__name__}")
