"""The own keys of what a scenario names: the fields of a dataclass, or the parameters of a function or constructor.

@dataclass(frozen=True)
class FedAvg:                        def dirichlet(labels, num_devices, rng, *, alpha: Positive, min_samples: int = 1): ...
    task: Task
    codec: Codec                     -> alpha (has to be given) and min_samples; labels, num_devices and rng are handed in
    num_rounds: int | None
    learning_rate: float = 0.1       -> learning_rate; the three above are handed in
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from learners.quantities import Place
from wsim.scenario.conversion import alternatives
from wsim.scenario.table import ItemTable

REQUIRED: Any = inspect.Parameter.empty

GIVEN: dict[str, tuple[str, ...]] = {  # what the engine hands in, by kind of item
    "learner": ("task", "codec", "num_rounds"),
    "codec": (),
    "model": ("input_shape", "num_classes"),
    "dataset": ("rng", "air"),
    "partition": ("labels", "num_devices", "rng"),
    "path_loss": ("los",),
    "fading": (),
    "mobility": ("area", "height_m", "position_m"),
    "mac": (),
    "topology": (),
}


@dataclass(frozen=True)
class Key:
    """hint: the declared type, Any where there is none. default: `REQUIRED` where the key has to be given."""

    name: str
    hint: Any
    default: Any

    @property
    def is_place(self) -> bool:
        """Whether the value names a file or folder; a relative name starts where the scenario lies."""
        return any(isinstance(note, Place) for kind in alternatives(self.hint) for note in typing.get_args(kind)[1:])


def keys_of(kind: str, item: Callable[..., Any]) -> dict[str, Key]:
    """The own keys of an item, in the order of their declaration."""
    own = {name: default for name, default in _parameters(item).items() if name not in GIVEN[kind]}
    hints = _hints(item, tuple(own))
    return {name: Key(name, hints.get(name, Any), default) for name, default in own.items()}


def own_keys(kind: str, item: Callable[..., Any], table: ItemTable) -> dict[str, Any]:
    """Those keys of a complete table that are the item's."""
    return {name: table.own[name] for name in keys_of(kind, item)}


def taken(item: Callable[..., Any], **values: Any) -> dict[str, Any]:
    """Those of the values that the item takes."""
    parameters = _parameters(item)
    return {name: value for name, value in values.items() if name in parameters}


def description(item: Any, name: str) -> str:
    """What the item's docstring says of a key, as in "alpha: small is uneven."; "" where it says nothing."""
    texts = [item.__doc__ or ""] if not inspect.isclass(item) else [base.__doc__ or "" for base in item.__mro__[:-1]]
    sentence_ends = r"(?<![\s.])\.(?=\s|$)"  # not in "0 .. 1"
    next_key = rf"\n\s*(?=(?:{'|'.join(_parameters(item))})(?:, \w+)*: )"
    for text in texts:
        begins = rf"(?:^|[\s.])(?:\w+, )*{name}(?:, \w+)*: "
        found = re.search(rf"{begins}(.+?)(?:{sentence_ends}|{next_key}|\n\s*\n|$)", text, re.DOTALL)
        if found:
            return " ".join(found[1].split())
    return ""


def _parameters(item: Callable[..., Any]) -> dict[str, Any]:
    """Defaults by name, in the order of declaration."""
    if dataclasses.is_dataclass(item):
        return {field.name: _default(field) for field in dataclasses.fields(item) if field.init}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(item).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind in named}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return REQUIRED if field.default_factory is dataclasses.MISSING else field.default_factory()


@lru_cache(maxsize=1024)
def _hints(item: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The declared types of these names only: others may need an import that is made for type checkers alone. Kept, since
    resolving them takes half of the time in which a scenario is read."""
    if not dataclasses.is_dataclass(item):
        function = inspect.unwrap(item.__init__ if inspect.isclass(item) else item)
        return _resolved(inspect.get_annotations(function), function.__globals__, names)
    hints: dict[str, Any] = {}
    for base in reversed(item.__mro__):  # type: ignore[union-attr]  # a class
        hints |= _resolved(inspect.get_annotations(base), vars(sys.modules[base.__module__]), names)
    return hints


def _resolved(annotations: Mapping[str, Any], scope: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    def holder() -> None: ...

    holder.__annotations__ = {name: hint for name, hint in annotations.items() if name in names}
    return typing.get_type_hints(holder, scope, include_extras=True)
