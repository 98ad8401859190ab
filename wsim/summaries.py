"""One line about an item, read from its source: nothing is imported, so that a list of learners needs no torch.

The line is the first sentence of a docstring: the module's where the item is all that is registered from it (one method, one
file), else that of the class or function.
"""

from __future__ import annotations

import ast
import re
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

MAX_FOLLOWED = 5  # imports from one module to the next: `from my_package.pairwise import Pairwise`


def summary(entry: EntryPoint, alone: bool) -> str:
    """The line; "" where the source is not found or says nothing. alone: nothing else is registered from the module."""
    module, attribute = entry.module, entry.attr
    for _ in range(MAX_FOLLOWED):
        path = source_of(module)
        tree = _parsed(path) if path is not None else None
        if path is None or tree is None:
            return ""
        for statement in tree.body:
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef)) and statement.name == attribute:
                lines = [_first_sentence(ast.get_docstring(node)) for node in (tree, statement)]
                return next(filter(None, lines if alone else reversed(lines)), "")
        found = _imported(tree, module, attribute, path.name == "__init__.py")
        if found is None:
            return _first_sentence(ast.get_docstring(tree))
        module, attribute = found
    return ""


def source_of(module: str) -> Path | None:
    """The file of a module. Only its first part is looked up: looking up the whole would import the packages above it."""
    first, *rest = module.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin is not None:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        inside = Path(folder, *rest)
        for path in (inside.with_suffix(".py"), inside / "__init__.py"):
            if path.is_file():
                return path
    return None


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


def _imported(tree: ast.Module, module: str, attribute: str, is_package: bool) -> tuple[str, str] | None:
    """Where a module has the attribute from, by `from ... import ...`."""
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == attribute:
                    parts = module.split(".")
                    above = parts[: len(parts) - statement.level + is_package] if statement.level else []
                    return ".".join([*above, *([statement.module] if statement.module else [])]), alias.name
    return None


def _first_sentence(docstring: str | None) -> str:
    paragraph = " ".join((docstring or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s(?=[A-Z])", paragraph)[0].replace("`", "")
