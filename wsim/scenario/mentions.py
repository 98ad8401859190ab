"""Which items a scenario names anywhere, so that keys of those that it does not use are told from keys that nobody would read.

A table such as [data] may hold keys of an item that it does not name now: the file's, which an override or a point of a study
switches away from. A key of an item that is named nowhere is a mistake, as alpha is beside partition = "iid" alone. So is a key
that an override sets for an item that is not the chosen one, unless other points of the study use it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsim.scenario import overrides as changes
from wsim.scenario.table import ItemTable

Path = tuple[str | int, ...]

_OWN_NAME = re.compile(r"scenario\.name|devices\.\d+\.name")


@dataclass(frozen=True)
class Mentions:
    """names: at all keys that name items, in the file, its study among it, and in the overrides, and the items of tables that are
    left out; has_study: whether the file has one; overridden: paths that overrides set."""

    names: frozenset[str] = frozenset()
    has_study: bool = False
    overridden: frozenset[Path] = frozenset()

    def any_of(self, items: Collection[str], path: Path) -> bool:
        """Whether a key at this path may wait for one of these items to be chosen."""
        if path in self.overridden and not self.has_study:
            return False
        return not self.names.isdisjoint(items)


def mentions(file: Mapping[str, Any], overrides: Sequence[str], overridden: Collection[Path]) -> Mentions:
    """Of a file as it was parsed, and of the overrides; overridden: their paths."""
    given = (override.partition("=") for override in overrides)
    set_to = [{path: changes.parse(value)} for path, _, value in given if not _OWN_NAME.fullmatch(path.strip())]
    defaults = (table.model_fields[key].default for table in ItemTable.__subclasses__() for key in table.items)
    names = [*_names(file), *(name for table in set_to for name in _names(table)), *defaults]
    return Mentions(frozenset(name for name in names if isinstance(name, str)), "study" in file, frozenset(overridden))


def _names(table: Mapping[str, Any]) -> Iterator[Any]:
    """What stands at keys that name items, such as kind and partition, and "topology.kind" of a study; not what users call their
    scenario, groups of devices and arms."""
    item_keys = {key for table in ItemTable.__subclasses__() for key in table.items}
    for key, value in table.items():
        own_names = {"name"} if key in ("devices", "arms") else set()
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping) and key != "scenario":
                yield from _names({inner: held for inner, held in each.items() if inner not in own_names})
            elif key.rpartition(".")[2] in item_keys:
                yield each
