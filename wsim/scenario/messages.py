"""From what is wrong to one line that says it: file, table, key, value, what is accepted, what was probably meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from wsim.errors import ScenarioError
from wsim.scenario.quantities import Quantity, number

Path = Sequence[str | int]

WANTED = {  # pydantic's error types, in the words of a TOML file
    "string": "a string",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "tuple": "an array",
    "model": "a table",
    "dict": "a table",
}


def shown(value: Any, limit: int = 60) -> str:
    """A value as it would stand in a TOML file, on one line and not too long."""
    if isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "nothing"}[value]
    elif isinstance(value, float):
        text = number(value)
    elif isinstance(value, int):
        text = str(value) if abs(value) < 10**40 else "an integer of more than 40 digits"
    elif isinstance(value, str):
        text = json.dumps(value)
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(shown(item, 20) for item in value[:8]) + (", ..." if len(value) > 8 else "") + "]"
    elif isinstance(value, dict):
        text = "{ " + ", ".join(bare(str(key)) for key in list(value)[:4]) + (", ..." if len(value) > 4 else "") + " }"
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def bare(key: str) -> str:
    """A key as it is written: quoted only where it has to be."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else shown(key)


def place(path: Path) -> str:
    """ "[devices.0.radio] tx_power_dbm" for ("devices", 0, "radio", "tx_power_dbm"). Last indices stay with the key."""
    parts = [bare(str(part)) for part in path]
    head = len(parts) - 1
    while head > 0 and isinstance(path[head], int) and not (head == 1 and parts[0] == "devices"):
        head -= 1
    if head <= 0:
        return ".".join(parts)
    return f"[{'.'.join(parts[:head])}] {'.'.join(parts[head:])}"


def nearest(key: str, known: Iterable[str]) -> str:
    """ " (hidden?)": the known key that is spelt most alike, or the only one that contains it; else nothing."""
    names = list(known)
    matches = get_close_matches(key[:200], names, n=1, cutoff=0.6)
    if not matches and len(key) >= 3:
        containing = [name for name in names if key.lower() in name.lower()]
        matches = containing if len(containing) == 1 else []
    return f" ({matches[0]}?)" if matches else ""


def problem(source: str, path: Path, says: str, *, value: Any = ..., table: bool = False) -> ScenarioError:
    """`quickstart.toml [stop] rounds = -3: rounds are whole numbers, 1 to 1e9`.

    source: the file's name, or the override that is at fault.
    table: the path names a whole table, not a key of one.
    """
    where = f"[{'.'.join(bare(str(part)) for part in path)}]" if table else place(path)
    text = f"{source} {where}" if path else source
    if value is not ...:
        text += f" = {shown(value)}"
    return ScenarioError(f"{text}: {says}")


def field_at(model: type[BaseModel], path: Path) -> tuple[FieldInfo | None, type[BaseModel] | None]:
    """The field that a path names, and the table that it stands in (None where the path leaves the known tables)."""
    field: FieldInfo | None = None
    table: type[BaseModel] | None = model
    inside: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        table = inside
        if table is None:
            return None, None
        field = table.model_fields.get(part)
        inside = table_of(field.annotation) if field else None
    return field, table


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The table class inside an annotation such as `tuple[DeviceGroup, ...]` or `Server | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = table_of(part)
        if found is not None:
            return found
    return None


def elsewhere(key: str, model: type[BaseModel]) -> str:
    """ " (a key of [channel])": the only table that has a key which is unknown where it was given; else nothing."""
    homes = [path for path, table in _tables(model) if key in table.model_fields]
    return f" (a key of [{homes[0]}])" if len(homes) == 1 else ""


def _tables(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """All tables inside a model by their path."""
    for name, field in model.model_fields.items():
        for table in nested_tables(field.annotation):
            yield f"{above}{name}", table
            yield from _tables(table, f"{above}{name}.")


def nested_tables(annotation: Any) -> list[type[BaseModel]]:
    """All table classes inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in nested_tables(part)]


def accepted(field: FieldInfo | None) -> str:
    """What a key accepts, from its type: the range of its quantity or its description."""
    if field is None:
        return ""
    for part in (*field.metadata, *nested_metadata(field.annotation)):
        if isinstance(part, Quantity):
            return part.accepted()
    return field.description or ""


def nested_metadata(annotation: Any) -> list[Any]:
    metadata = list(getattr(annotation, "__metadata__", ()))
    for part in get_args(annotation):
        metadata += nested_metadata(part)
    return metadata


def from_validation(
    error: ValidationError, model: type[BaseModel], source: str, above: tuple[str | int, ...] = ()
) -> ScenarioError:
    """The first problem of a validation, unknown keys before all others because they explain missing ones.

    above: where in the file the model stands.
    """
    problems = error.errors(include_url=False, include_context=True)
    first = min(problems, key=lambda item: 0 if item["type"] == "extra_forbidden" else 1)
    path = tuple(part for part in first["loc"] if not (isinstance(part, str) and part.startswith("function-")))
    field, table = field_at(model, path)
    path = (*above, *path)
    kind, value = first["type"], first["input"]
    # "[fading]" is a table of the file, "kind" a key: only the model knows which of the two a missing name would be.
    is_table = field is not None and table_of(field.annotation) is not None
    if kind == "extra_forbidden":
        known = sorted(table.model_fields) if table else []
        what = "table" if isinstance(value, dict) else "key"
        says = (
            f"unknown {what}{nearest(str(path[-1]), known)}{elsewhere(str(path[-1]), model)}, known: {', '.join(known)}"
        )
        shows = ... if isinstance(value, dict) else value
        return problem(source, path, says, value=shows, table=isinstance(value, dict))
    if kind == "missing" and isinstance(path[-1], int):
        return problem(source, path[:-1], f"has too few entries; {accepted(field)}")
    if kind == "missing":
        wants = accepted(field)
        says = "this table is missing" if is_table else "this key is missing" + (f"; {wants}" if wants else "")
        return problem(source, path, says, table=is_table)
    if kind == "rule":
        return problem(source, path, str(first["msg"]), table=True)
    return problem(source, path, described(first, field), value=value)


def described(item: Any, field: FieldInfo | None) -> str:
    """What would be right, for one entry of `ValidationError.errors()`."""
    kind: str = item["type"]
    context = item.get("ctx", {})
    if kind == "magnitude":
        return str(item["msg"])
    if kind == "literal_error":
        choices = re.split(r", | or ", context["expected"])  # texts between quotation marks, numbers without
        accepts = ", ".join(shown(choice.strip("'")) if choice.startswith("'") else choice for choice in choices)
        return f"accepted are {accepts}{nearest(str(item['input']), [choice.strip(chr(39)) for choice in choices])}"
    if kind in ("too_short", "too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        wants = f"at least {least}" if least is not None else f"at most {most}"
        return f"has {context['actual_length']} entries, {wants} are needed"
    if kind == "string_pattern_mismatch":
        return (field.description if field else None) or f"has to match {context['pattern']}"
    wanted = WANTED.get(kind.split("_")[0])
    if wanted:
        wants = accepted(field)
        return f"has to be {wanted}" + (f"; {wants}" if wants else "")
    return str(item["msg"])
