"""JSON schema (draft 2020-12) of scenario files, for editors.

A file that wsim accepts is valid under it, but for a limit that is `inf`, which JSON cannot say. The converse does not hold: what concerns several tables, or an item's own check,
is found when the scenario is read. Descriptions are the comments that stand behind the keys in the tables' classes, the ranges
of their quantities, and what the items' docstrings say of their keys.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from typing import Any, Literal

from wsim import __version__
from wsim.catalog import KINDS, importable, summaries
from wsim.scenario import presets
from wsim.scenario.conversion import ARRAYS, TABLES, alternatives, bare_type, entry_types, quantities
from wsim.scenario.keys import REQUIRED, Key, description, keys_of
from wsim.scenario.messages import nested_tables
from wsim.scenario.root import Scenario
from wsim.scenario.table import ItemTable, Table

Schema = dict[str, Any]

NUMBERS = {int: "integer", float: "number", str: "string", bool: "boolean"}
NONE: Schema = {"const": "none", "description": "as if the key were left out"}


def schema() -> Schema:
    """The schema. Imports every item that can be named, plug-ins included."""
    whole = Scenario.model_json_schema()
    defs: dict[str, Schema] = whole["$defs"]
    defs["Scenario"] = {key: whole[key] for key in ("type", "properties", "required", "additionalProperties")}
    for table in tables():
        found = defs[table.__name__]
        _describe(found["properties"], table)
        if issubclass(table, ItemTable):
            _add_items(found, table)
    _follow_the_file(defs)
    for table in tables():
        defs[table.__name__] = _with_shorthand(_cleaned(defs[table.__name__]), table)
    root = defs.pop("Scenario")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Scenario of wsim {__version__}",
        **root,
        "$defs": defs,
    }


def tables(table: type[Table] = Scenario) -> Iterator[type[Table]]:
    """A table and all those inside it, each once."""
    seen = {table: None}
    todo = [table]
    while todo:
        for field in todo.pop().model_fields.values():
            for inner in nested_tables(field.annotation):
                if issubclass(inner, Table) and inner not in seen:
                    seen[inner] = None
                    todo.append(inner)
    yield from seen


def of_hint(hint: Any) -> Schema:
    """The schema of a declared type."""
    schemas = [_of_type(kind) for kind in alternatives(hint)]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _of_type(kind: Any) -> Schema:
    bare = bare_type(kind)
    origin, parts = typing.get_origin(bare) or bare, typing.get_args(bare)
    if bare is type(None):
        return {"type": "null"}
    if origin is Literal:
        return {"enum": list(parts)}
    found: Schema = {}
    if origin in ARRAYS:
        found = {"type": "array"}
        if origin is tuple and parts and parts[-1] is not Ellipsis:
            entries = [of_hint(part) for part in parts]
            found |= {"prefixItems": entries, "minItems": len(parts), "maxItems": len(parts)}
        elif parts:
            found["items"] = of_hint(entry_types(bare, 1)[0])
    elif origin in TABLES:
        found = {"type": "object"}
    elif bare in NUMBERS:
        found = {"type": NUMBERS[bare]}
    for quantity in quantities(kind):
        found |= quantity.json_schema()
    return found


def _of_key(item: Any, key: Key) -> Schema:
    found = of_hint(key.hint)
    says = [text for text in (description(item, key.name), found.get("description", "")) if text]
    if says:
        found = found | {"description": "; ".join(says)}
    if key.default is not REQUIRED and isinstance(key.default, (int, float, str, bool, tuple, list)):
        found = found | {"default": list(key.default) if isinstance(key.default, tuple) else key.default}
    return found


def _add_items(found: Schema, table: type[ItemTable]) -> None:
    """The names of a table's items, the keys of all of them, and what each of them asks for."""
    properties, common = found["properties"], list(found["properties"])
    found["additionalProperties"] = False
    rules: list[Schema] = []
    by_key: dict[str, list[Schema]] = {}
    for naming, kind in table.items.items():
        items = importable(kind)
        lines = summaries(kind)
        names = {name: lines[name] for name in items}
        properties[naming] |= {"enum": list(names), "description": _names_described(kind, names)}
        for name, item in items.items():
            keys = keys_of(kind, item)
            own = {key.name: _of_key(item, key) for key in keys.values()}
            for key, schema_of_key in own.items():
                by_key.setdefault(key, []).append(schema_of_key)
            then: Schema = {"properties": own}
            required = [key.name for key in keys.values() if key.default is REQUIRED]
            if required:
                then["required"] = required
            if kind == "learner":  # other tables may hold the keys of what they do not name
                then["propertyNames"] = {"enum": [*common, *own]}
            named: Schema = {"properties": {naming: {"const": name}}}
            if name != table.model_fields[naming].default:
                named["required"] = [naming]
            rules.append({"if": named, "then": then})
    properties |= {key: _of_any(schemas) for key, schemas in by_key.items()}
    found["allOf"] = rules


def _of_any(schemas: list[Schema]) -> Schema:
    """One key of several items: what any of them takes, in the words of the first."""
    bare = [
        {word: value for word, value in schema.items() if word not in ("description", "default")} for schema in schemas
    ]
    different = [schema for i, schema in enumerate(bare) if schema not in bare[:i]]
    says = {"description": schemas[0]["description"]} if "description" in schemas[0] else {}
    return (different[0] if len(different) == 1 else {"anyOf": different}) | says


def _names_described(kind: str, names: dict[str, str]) -> str:
    return "\n".join([f"{KINDS[kind].noun}:", *(f"- {name}: {line}" for name, line in names.items())])


def _describe(properties: dict[str, Schema], table: type[Table]) -> None:
    """Comments behind the keys of a table's class are their descriptions, before the range."""
    for key, comment in comments(table).items():
        if key in properties:
            says = [comment, *([properties[key]["description"]] if "description" in properties[key] else [])]
            properties[key]["description"] = "; ".join(says)


def comments(table: type[Table]) -> dict[str, str]:
    """What stands behind the keys in the source of a table's class."""
    source = textwrap.dedent(inspect.getsource(table))
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and "type: ignore" not in token.string
    }
    body = ast.parse(source).body[0]
    fields = [node for node in getattr(body, "body", ()) if isinstance(node, ast.AnnAssign)]
    return {
        node.target.id: by_line[node.end_lineno]
        for node in fields
        if isinstance(node.target, ast.Name) and node.end_lineno in by_line
    }


def _follow_the_file(defs: dict[str, Schema]) -> None:
    """What is filled in before the tables are validated: names, groups that are `like` another one, counts of places."""
    defs["Scenario"]["required"].remove("scenario")
    defs["Scenario"]["required"].remove("topology")
    defs["Identity"]["required"].remove("name")
    group = defs["DeviceGroup"]
    group["properties"]["like"] = {
        "anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}],
        "description": "name or number of an earlier group: what is not given here is as there",
    }
    group["properties"]["preset"] = {
        "enum": list(presets.DEVICES),
        "description": "what the group's tables hold where neither they nor a group that it is like say otherwise",
    }
    speeds = [["effective_flops"], ["frequency_hz", "cycles_per_flop"]]
    needed = {"compute": {"anyOf": [{"required": keys} for keys in speeds]}}
    needed["radio"] = {"required": defs["Radio"].pop("required")}
    del group["required"]
    group["if"] = {"not": {"anyOf": [{"required": ["like"]}, {"required": ["preset"]}]}}
    group["then"] = {
        "required": list(needed),
        "properties": needed,
        "anyOf": [{"required": ["count"]}, {"required": ["positions_m"]}],
    }
    defs["Server"]["required"].remove("radio")
    defs["Server"]["if"] = {"not": {"required": ["preset"]}}
    defs["Server"]["then"] = {"required": ["radio"], "properties": {"radio": needed["radio"]}}
    server = defs["Server"]["properties"]
    server["preset"] = {
        "enum": list(presets.SERVERS),
        "description": "what [server] holds where it does not say otherwise",
    }
    server["energy"]["anyOf"].append({"const": "not counted"})


def _cleaned(found: Schema) -> Schema:
    """TOML has no null: "none" stands for it, but not beside free text. Defaults that are tables or null say nothing."""
    cleaned: Schema = {}
    for key, value in found.items():
        if key == "properties":
            cleaned[key] = {name: _cleaned(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            cleaned[key] = _cleaned(value)
        elif key in ("prefixItems", "anyOf", "allOf"):
            cleaned[key] = [_cleaned(inner) for inner in value]
        elif key in ("if", "then"):
            cleaned[key] = _cleaned(value)
        elif key not in ("default", "title") or (
            key == "default" and value is not None and not isinstance(value, dict)
        ):
            cleaned[key] = value
    return _without_null(cleaned) if "anyOf" in cleaned else cleaned


def _without_null(found: Schema) -> Schema:
    choices = [choice for choice in found["anyOf"] if choice != {"type": "null"}]
    free_text = {"type": "string"} in choices
    if len(choices) < len(found["anyOf"]) and not free_text:
        choices.append(NONE)
    says = [text for text in (found.get("description"), choices[0].get("description")) if text]
    if len(choices) == 1:
        found = {key: value for key, value in found.items() if key != "anyOf"} | choices[0]
    else:
        found = found | {"anyOf": choices}
    return found | ({"description": "; ".join(dict.fromkeys(says))} if says else {})


def _with_shorthand(found: Schema, table: type[Table]) -> Schema:
    """A string may stand for the table: that of one of its keys."""
    if table.shorthand is None:
        return found
    short = found["properties"][table.shorthand]
    return {"anyOf": [found, short], "description": found.get("description", "")}
