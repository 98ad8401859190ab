"""[[devices]] groups that are `like` an earlier one or have a preset."""

from __future__ import annotations

import copy
from typing import Any

from wsim.scenario import presets
from wsim.scenario.messages import nearest, problem

PLACEMENT = ("position", "positions_m")


def resolve(document: dict[str, Any], source: str) -> None:
    """Replace every `like = name or index` by a copy of that earlier group with this group's own keys on top, in place.

    Tables are merged key by key, so that `radio = { tx_power_dbm = 5 }` keeps the rest of the radio; a table that
    states another `kind` replaces the copied one. Names are not copied. Groups without a name become group0, group1,
    ...; a group with explicit `positions_m` need not give its `count`. A preset stands under a group's own keys and over those
    of the group that it is like.
    """
    server = document.get("server")
    if isinstance(server, dict) and "preset" in server:
        presets.fill_in(server, presets.SERVERS, ("server",), source)
    groups = document.get("devices")
    if not isinstance(groups, list):
        return
    given = names(document)
    for index, group in enumerate(groups):
        if not isinstance(group, dict):
            continue
        if "preset" in group:
            presets.fill_in(group, presets.DEVICES, ("devices", index), source)
        if "like" in group:
            groups[index] = group = _merged(_original(groups, given, index, source), group)
        group.setdefault("name", f"group{index}")
        if isinstance(group.get("positions_m"), list):
            group.setdefault("count", len(group["positions_m"]))


def names(document: dict[str, Any]) -> list[str | None]:
    """What each group is called in the document as it stands, None where it has no name; empty without groups."""
    groups = document.get("devices")
    entries = groups if isinstance(groups, list) else []
    given = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    return [name if isinstance(name, str) else None for name in given]


def _original(groups: list[Any], names: list[Any], index: int, source: str) -> dict[str, Any]:
    like = groups[index]["like"]
    earlier = {name: number for number, name in enumerate(names[:index]) if isinstance(name, str)}
    found: Any = None
    if isinstance(like, str) and like in earlier:
        found = groups[earlier[like]]
    elif isinstance(like, int) and not isinstance(like, bool) and 0 <= like < index:
        found = groups[like]
    if isinstance(found, dict):
        return found
    known = ", ".join([*earlier, *(str(number) for number in range(index))]) or "none before the first"
    guess = nearest(like, earlier) if isinstance(like, str) else ""
    says = f"has to name an earlier group{guess}, known: {known}"
    raise problem(source, ("devices", index, "like"), says, value=like)


def _merged(original: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy({key: value for key, value in original.items() if key != "name"})
    own = {key: value for key, value in group.items() if key != "like"}
    if any(key in own for key in PLACEMENT):
        for key in PLACEMENT:
            result.pop(key, None)
    if "positions_m" in own and "count" not in own:
        result.pop("count", None)
    for key, value in own.items():
        before = result.get(key)
        same_kind = (
            isinstance(before, dict) and isinstance(value, dict) and value.get("kind") in (None, before.get("kind"))
        )
        result[key] = {**before, **value} if same_kind and isinstance(before, dict) else value
    return result
