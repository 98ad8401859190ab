"""A value of a TOML file as the type that a key declares: int, float, str, bool, Literal[...], tuple[...], list[...],
Sequence[...], dict[...], X | None and Annotated[X, bounds] of these. Whole numbers are numbers too; arrays become tuples, or
lists where a list is declared; "none" stands for None where that is declared and no such text.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from wsim.scenario.messages import Path, nearest, problem, shown
from wsim.scenario.quantities import Quantity

WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
PLURALS: dict[Any, str] = {int: "whole numbers", float: "numbers", str: "strings", bool: "true or false"}
ARRAYS = (tuple, list, collections.abc.Sequence)
TABLES = (dict, collections.abc.Mapping)


class Misfit(ValueError):
    """path: from the key to the entry that is wrong."""

    def __init__(self, says: str, value: Any, path: tuple[int, ...] = ()) -> None:
        super().__init__(says)
        self.says, self.value, self.path = says, value, path


def convert(value: Any, hint: Any, source: str, path: Path) -> Any:
    """The value as `hint` declares it. Raises ScenarioError that names the key, or the entry of an array."""
    try:
        return fit(value, hint)
    except Misfit as misfit:
        raise problem(source, (*path, *misfit.path), misfit.says, value=misfit.value) from None


def fit(value: Any, hint: Any) -> Any:
    """As `convert`; raises Misfit."""
    optional = type(None) in alternatives(hint)
    kinds = [kind for kind in alternatives(hint) if kind is not type(None)]
    for kind in kinds:
        if _is_of(value, kind):
            return _fitted(value, kind)
    if optional and value == "none":
        return None
    choices = [choice for kind in kinds for choice in _choices(kind)]
    guess = nearest(value, map(str, choices)) if isinstance(value, str) else ""
    bounds = [] if len(kinds) != 1 else [quantity.accepted() for quantity in quantities(kinds[0])]
    raise Misfit("; ".join([f"has to be {words(hint)}{guess}", *bounds]), value)


def alternatives(hint: Any) -> list[Any]:
    """The members of a union, at any depth; else the hint alone."""
    if typing.get_origin(hint) is Annotated:
        inner, *notes = typing.get_args(hint)
        kinds = alternatives(inner)
        if len(kinds) == 1:
            return [hint]
        return [kind if kind is type(None) else Annotated[(kind, *notes)] for kind in kinds]
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return [hint]
    return [kind for part in typing.get_args(hint) for kind in alternatives(part)]


def bare_type(kind: Any) -> Any:
    """The type without its annotations."""
    return bare_type(typing.get_args(kind)[0]) if typing.get_origin(kind) is Annotated else kind


def quantities(kind: Any) -> list[Quantity]:
    """The bounds that a type is annotated with."""
    parts = typing.get_args(kind)[1:] if typing.get_origin(kind) is Annotated else ()
    return [quantity for part in parts if (quantity := Quantity.of(part)) is not None]


def ranges_in_words(hint: Any) -> list[str]:
    """What the bounds of a type, or of an array's entries, say; each once."""
    kinds = [hint]
    if (typing.get_origin(bare_type(hint)) or hint) in ARRAYS:
        kinds += [part for part in typing.get_args(bare_type(hint)) if part is not Ellipsis]
    return list(dict.fromkeys(quantity.accepted() for kind in kinds for quantity in quantities(kind)))


def entry_types(kind: Any, length: int) -> Sequence[Any]:
    """The types of the entries of an array of this length."""
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        return parts
    return [parts[0] if parts else Any] * length


def words(hint: Any) -> str:
    """A type in words: "a whole number", "\\"unicast\\" or \\"broadcast\\"", "an array of numbers"."""
    return " or ".join(_words(bare_type(kind)) for kind in alternatives(hint) if kind is not type(None))


def _words(kind: Any) -> str:
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is Literal:
        return " or ".join(shown(choice) for choice in parts)
    if origin in ARRAYS:
        fixed = origin is tuple and parts and parts[-1] is not Ellipsis
        count = f"{len(parts)} " if fixed else ""
        entries = {bare_type(part) for part in parts if part is not Ellipsis}
        return f"an array of {count}{_plural(entries.pop()) if len(entries) == 1 else 'entries'}"
    if origin in TABLES:
        return "a table"
    return WORDS.get(kind, str(getattr(kind, "__name__", kind)))


def _plural(kind: Any) -> str:
    return "arrays" if (typing.get_origin(kind) or kind) in ARRAYS else PLURALS.get(kind, "entries")


def _choices(kind: Any) -> tuple[Any, ...]:
    kind = bare_type(kind)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def _is_of(value: Any, kind: Any) -> bool:
    """Whether the value is of this kind at all, whatever its entries or its magnitude."""
    kind = bare_type(kind)
    origin = typing.get_origin(kind) or kind
    if origin is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(kind))
    if origin in ARRAYS:
        return isinstance(value, (tuple, list))
    if origin in TABLES:
        return isinstance(value, dict)
    return type(value) is kind or (kind is float and type(value) is int and abs(value) < 2**53)


def _fitted(value: Any, kind: Any) -> Any:
    for quantity in quantities(kind):
        if isinstance(value, (int, float)) and not quantity.contains(value):
            guess = quantity.guess(value)
            raise Misfit(quantity.accepted() + (f" ({guess}?)" if guess else ""), value)
    bare = bare_type(kind)
    if bare is float:
        return float(value)
    origin = typing.get_origin(bare) or bare
    return _array(value, bare) if origin in ARRAYS else value


def _array(value: Sequence[Any], kind: Any) -> Any:
    types_of_entries = entry_types(kind, len(value))
    if len(types_of_entries) != len(value):
        raise Misfit(f"has {len(value)} entries, has to be {_words(kind)}", value)
    entries = []
    for index, (item, hint) in enumerate(zip(value, types_of_entries, strict=True)):
        try:
            entries.append(fit(item, hint))
        except Misfit as misfit:
            raise Misfit(misfit.says, misfit.value, (index, *misfit.path)) from None
    return entries if (typing.get_origin(kind) or kind) is list else tuple(entries)
