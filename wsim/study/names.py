"""File names from the names of arms and axes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

LONGEST = 120  # characters of a name without seed and ending


def of_arm(arm: str) -> str:
    """An arm's name as part of a file's: "DRT N=2" -> "DRT_N=2"."""
    return _plain(arm) or "arm"


def of_point(arm: str | None, point: Mapping[str, Any]) -> str:
    """`FedAvg,mac.kind=tdma` for an arm at one point of the axes."""
    parts = [] if arm is None else [of_arm(arm)]
    for key, value in point.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{_plain(key)}={_plain(shown)}")
    name = ",".join(parts) or "base"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{digest(name)[:8]}"


def distinct(names: list[str], contents: list[str]) -> list[str]:
    """The names, those that are equal (but for upper and lower case) told apart by a hash of what they stand for."""
    folded = [name.casefold() for name in names]
    return [
        name if folded.count(fold) == 1 else f"{name}-{digest(content)[:8]}"
        for name, fold, content in zip(names, folded, contents, strict=True)
    ]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(text: str) -> str:
    """Letters, digits and what no shell minds; everything else is an underscore."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_.-")
