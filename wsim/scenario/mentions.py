"""Which items a scenario names anywhere, so that keys of those that it does not use are told from keys that nobody would read.

A table such as [data] may hold keys of an item that it does not name now: the file's, which an override or a point of a study
switches away from. A key of an item that is named nowhere is a mistake, as alpha is beside partition = "iid" alone. So is a key
that an override sets for an item that is not the chosen one, unless other points of the study use it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsim.scenario import overrides as changes
from wsim.scenario.table import ItemTable

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Mentions:
    """texts: every text of the file, its study among it, and of the overrides, and the items of tables that are left out;
    has_study: whether the file has one; overridden: paths that overrides set."""

    texts: frozenset[str] = frozenset()
    has_study: bool = False
    overridden: frozenset[Path] = frozenset()

    def any_of(self, items: Collection[str], path: Path) -> bool:
        """Whether a key at this path may wait for one of these items to be chosen."""
        if path in self.overridden and not self.has_study:
            return False
        return not self.texts.isdisjoint(items)


def mentions(file: Mapping[str, Any], overrides: Sequence[str], overridden: Collection[Path]) -> Mentions:
    """Of a file as it was parsed, and of the overrides; overridden: their paths."""
    given = (text for override in overrides for text in _texts(changes.parse(override.partition("=")[2])))
    defaults = (table.model_fields[key].default for table in ItemTable.__subclasses__() for key in table.items)
    texts = frozenset([*_texts(file), *given, *(name for name in defaults if isinstance(name, str))])
    return Mentions(texts, "study" in file, frozenset(overridden))


def _texts(value: Any) -> Iterator[str]:
    """All that are held in tables and arrays."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
