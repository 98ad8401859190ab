"""Which results may stand side by side: those that met the same world and were measured alike.

    world      area, devices, channel, phy, data, stop, dtype, seeds, and what [evaluation] measures
    protocol   algorithm, codec, model, topology, mac, transport, server, observation, a learner that Python handed in: what a comparison
               is about; a task that it handed in is the world's

and the seed and the name of a scenario, how often it is evaluated and what it records, which change nothing. A study may
compare worlds too: what its arms and axes change is theirs to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wsim.errors import ScenarioError
from wsim.scenario.load import parse
from wsim.scenario.messages import shown
from wsim.scenario.study import definition

PROTOCOL = ("algorithm", "codec", "model", "topology", "mac", "transport", "server", "observation", "own learner")
NEUTRAL = ("scenario", "output", "evaluation.every_s", "evaluation.every_rounds")
_SHOWN = 4


def flat(resolved: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a resolved scenario by its dotted key; an array of numbers is one value."""
    if isinstance(resolved, Mapping):
        for key, value in resolved.items():
            yield from flat(value, f"{above}{key}.")
    elif isinstance(resolved, list) and any(isinstance(item, Mapping) for item in resolved):
        for index, value in enumerate(resolved):
            yield from flat(value, f"{above}{index}.")
    else:
        yield above.removesuffix("."), resolved


def differing(scenarios: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Key -> its values, None where a scenario has none, for the keys in which resolved scenarios differ."""
    return differing_keys([dict(flat(scenario)) for scenario in scenarios])


def differing_keys(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """As `differing`, of tables of dotted keys."""
    keys = dict.fromkeys(key for table in tables for key in table)
    columns = {key: [table.get(key) for table in tables] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def of_protocol(key: str) -> bool:
    """Whether results may differ in this key and still be compared."""
    return _within(key, PROTOCOL) or is_neutral(key)


def is_neutral(key: str) -> bool:
    """Whether the key changes neither the world nor the protocol."""
    return _within(key, NEUTRAL)


def of_study(scenario_text: str) -> list[str]:
    """The keys that the arms and axes of a scenario's study change; tables as a whole."""
    document = parse(scenario_text, "scenario")
    if "study" not in document:
        return []
    try:
        study = definition(document["study"], "scenario")
    except ScenarioError:  # of a run that never asked for an arm
        return []
    keys = list(study.axes)
    for arm in study.arms.values():
        keys += [key for key, _ in flat(arm)]
    return [_of_any_group(key) for key in keys]


def allowed(key: str, of_studies: Iterable[str]) -> bool:
    """Whether results of these studies may differ in a key."""
    return of_protocol(key) or _within(_of_any_group(key), tuple(of_studies))


def words(differences: Mapping[str, list[Any]]) -> str:
    """ "stop.simulated_s (60, 120), data.alpha (0.1, 0.3)" """
    texts = []
    for key, values in list(differences.items())[:_SHOWN]:
        different = list(dict.fromkeys(shown(value, 24) for value in values))
        texts.append(f"{key} ({', '.join(different[:_SHOWN])})")
    more = len(differences) - _SHOWN
    return ", ".join(texts) + (f" and {more} more" if more > 0 else "")


def _within(key: str, tables: tuple[str, ...]) -> bool:
    return any(key == table or key.startswith(f"{table}.") for table in tables)


def _of_any_group(key: str) -> str:
    """Without the group of devices: a change of one is also one of those that are like it."""
    parts = key.split(".")
    return ".".join(parts[:1] + parts[2:]) if parts[0] == "devices" else key
