"""`--set path.to.key=value`: changes of a parsed scenario before it is validated.

The path goes through tables by key and through [[devices]] by index or by group name: `devices.walkers.count=5`. The
value is read as TOML (5, 0.3, true, [1, 2], "text", { kind = "block" }); what is not TOML is a bare string. Nothing is
executed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

from wsim.errors import ScenarioError
from wsim.scenario.messages import bare, nearest, table_of
from wsim.scenario.root import Scenario
from wsim.scenario.study import Study
from wsim.scenario.table import ItemTable, Table
from wsim.scenario.world import DeviceGroup, Server


def apply(document: dict[str, Any], override: str) -> tuple[str | int, ...]:
    """Set one key of the document, in place, and return its path with groups by number.

    Raises ScenarioError where the path leads nowhere.
    """
    path, separator, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not separator or not all(keys):
        raise ScenarioError(f"--set {override}: has to be path.to.key=value, such as stop.rounds=10")
    return assign(document, keys, parse(text), f"--set {override}")


def assign(document: dict[str, Any], keys: Sequence[str], value: Any, source: str) -> tuple[str | int, ...]:
    """As `apply`, for a path and a value that are known already. source: what messages begin with."""
    here: Any = document
    model: type[Table] | None = Scenario
    numbered: list[str | int] = []
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        above = list(keys[:depth])
        if isinstance(here, list):
            key_at: str | int = _index(source, here, key, above)
        else:
            model = _known(source, model, key, above)
            key_at = key
        numbered.append(key_at)
        if last:
            here[key_at] = value
            break
        here = _enter(source, here, key_at, model, [*above, key])
    return tuple(numbered)


def parse(text: str) -> Any:
    """The value of an override: TOML where it is TOML, else the bare string."""
    try:
        document = tomllib.loads(f"value = {text.strip()}")
    except (ValueError, RecursionError):
        return text.strip()
    return document["value"] if set(document) == {"value"} else text.strip()


def _known(source: str, model: type[Table] | None, key: str, above: list[str]) -> type[Table] | None:
    """The table class behind a key, None behind a plain value; an unknown key is an error."""
    if model is None:
        raise ScenarioError(f"{source}: {'.'.join(above)} is a value, not a table")
    if issubclass(model, ItemTable) and key not in model.model_fields:
        return None  # an own key, known once the item is
    if issubclass(model, Study) and key != "seeds":
        raise ScenarioError(f"{source}: of a study, seeds can be set; choose an arm with --arm")
    names = sorted(model.model_fields)
    if model in (DeviceGroup, Server):
        names += ["like", "preset"] if model is DeviceGroup else ["preset"]
    if key not in names:
        where = f" in [{'.'.join(above)}]" if above else ""
        raise ScenarioError(f"{source}: unknown key {bare(key)}{where}{nearest(key, names)}, known: {', '.join(names)}")
    field = model.model_fields.get(key)
    found = table_of(field.annotation) if field else None
    return found if found is not None and issubclass(found, Table) else None


def _index(source: str, items: list[Any], key: str, above: list[str]) -> int:
    """The entry of an array that a path's part names, by number or by the group's name."""
    names = [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]
    for index, item in enumerate(items):
        if key == str(index) or (isinstance(item, dict) and item.get("name") == key):
            return index
    known = ", ".join(
        [f"0 to {len(items) - 1}" if len(items) > 1 else "0" if items else "none (it is empty)", *map(bare, names)]
    )
    raise ScenarioError(f"{source}: {'.'.join(above)} has no entry {bare(key)}{nearest(key, names)}, known: {known}")


def _enter(source: str, here: Any, key: str | int, model: type[Table] | None, above: list[str]) -> Any:
    """What a key holds, made a table where the file left it out or wrote its shorthand."""
    if isinstance(key, int):
        found = here[key]
    else:
        if model is None:
            raise ScenarioError(f"{source}: {'.'.join(above)} is a value, not a table")
        found = here.get(key)
        if key == "devices" and not isinstance(found, list):
            raise ScenarioError(f"{source}: the scenario has no [[devices]] groups")
        if found is None or (key, found) in (("energy", "not counted"), ("server", "none")):
            found = here[key] = {}
        elif isinstance(found, str) and model.shorthand is not None:
            found = here[key] = {model.shorthand: found}
    if not isinstance(found, (dict, list)):
        raise ScenarioError(f"{source}: {'.'.join(above)} is not a table in the file")
    return found
