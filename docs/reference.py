"""The page "Scenario reference", made of the JSON schema of scenario files whenever the site is built (a MkDocs hook)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from wsim.scenario.schema import schema

INTRODUCTION = """# Scenario reference

Every table of a scenario file and every key, made of the output of `wsim schema`. Unknown keys are errors. Tables that
have a *short form* may be written as a bare string: `fading = "rayleigh"` means `fading = { kind = "rayleigh" }`.
A key without a default has to be given, unless it says *optional*. `"none"` is as if an optional key were not given, so that an
arm of a study can take away what the base has; deadlines and the keys of `[stop]` take `inf` for that too.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page to the site."""
    files.append(File.generated(config, "reference.md", content="\n".join(page(schema()))))
    return files


def page(root: dict[str, Any]) -> Iterator[str]:
    """The lines of the page."""
    yield INTRODUCTION
    plain = {key: value for key, value in root["properties"].items() if _table(value, root) is None}
    if plain:
        yield "## At the top of the file\n"
        yield from _keys(plain, root, set())
    for key, value in root["properties"].items():
        if _table(value, root) is not None:
            heading = f"[[{key}]]" if value.get("type") == "array" else f"[{key}]"
            yield from _section(heading, key, value, root)


def _section(heading: str, path: str, value: dict[str, Any], root: dict[str, Any]) -> Iterator[str]:
    """One table: what it is, its keys, the own keys of the items it may name, the tables inside it."""
    table, short = _table(value, root), _has_short_form(value, root)
    assert table is not None
    yield f"\n## `{heading}`\n"
    if description := table.get("description"):
        yield _sentence(description) + "\n"
    if short:
        yield "*Short form:* a bare string.\n"
    own = {_item(case): case["then"].get("properties", {}) for case in table.get("allOf", [])}
    of_items = {key for keys in own.values() for key in keys}
    common = {key: value for key, value in table["properties"].items() if key not in of_items}
    inner = {key: value for key, value in common.items() if _table(value, root) is not None}
    yield from _keys(common, root, set(table.get("required", [])))
    for name, keys in own.items():
        if keys:
            yield f"\n### {path} {name}\n"
            yield from _keys(keys, root, set())
    for key, value in inner.items():
        yield from _section(f"[{path}.{key}]", f"{path}.{key}", value, root)


def _keys(keys: dict[str, dict[str, Any]], root: dict[str, Any], required: set[str]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key, value in keys.items():
        default = f"`{json.dumps(value['default'])}`" if "default" in value else ""
        if not default:
            default = "" if key in required else "optional"
        meaning = _sentence(value.get("description", "")).replace("\n- ", "<br>").replace("\n", " ").replace("|", "\\|")
        yield f"| `{key}` | {_type(value, root)} | {default} | {meaning} |"
    yield ""


def _type(value: dict[str, Any], root: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "enum" in value or "const" in value:
        choices = value.get("enum", [value.get("const")])
        return ", ".join(f"`{json.dumps(choice)}`" for choice in choices)
    if _table(value, root) is not None:
        return "table"
    if "anyOf" in value:
        return " or ".join(_type(part, root) for part in value["anyOf"] if part.get("const") != "none")
    if value.get("type") == "array":
        items = value.get("items", {})
        return f"array of {_type(items, root)}s" if isinstance(items, dict) and items else "array"
    return {"number": "number", "integer": "whole number", "string": "string", "boolean": "true or false"}.get(
        value.get("type", ""), "value"
    )


def _table(value: dict[str, Any], root: dict[str, Any]) -> dict[str, Any] | None:
    """The object schema that a key's value has to keep to, None where it is no table."""
    if "$ref" in value:
        return _table(root["$defs"][value["$ref"].rsplit("/", 1)[1]], root)
    if "properties" in value:
        return value
    if value.get("type") == "array" and "$ref" in value.get("items", {}):
        return _table(value["items"], root)
    for part in value.get("anyOf", []):
        if (table := _table(part, root)) is not None:
            return table
    return None


def _has_short_form(value: dict[str, Any], root: dict[str, Any]) -> bool:
    if "$ref" in value:
        value = root["$defs"][value["$ref"].rsplit("/", 1)[1]]
    return any(part.get("type") == "string" for part in value.get("anyOf", []))


def _item(case: dict[str, Any]) -> str:
    """Which item a case of a table is about."""
    (condition,) = case["if"]["properties"].items()
    return f'{condition[0]} = "{condition[1].get("const", "")}"'


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1].isalpha() else text
