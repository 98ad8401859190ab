"""Names of points for people, and file names from the names of arms and axes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 120  # characters of a name without seed and ending


def of_arm(arm: str) -> str:
    """An arm's name as part of a file's: "DRT N=2" -> "DRT_N=2"."""
    return _plain(arm) or "arm"


def of_point(arm: str | None, point: Mapping[str, Any]) -> str:
    """`FedAvg,mac.kind=tdma` for an arm at one point of the axes."""
    parts = [] if arm is None else [of_arm(arm)]
    parts += [f"{_plain(key)}={_plain(_shown(value))}" for key, value in point.items()]
    name = ",".join(parts) or "base"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{digest(name)[:8]}"


def words(point: Mapping[str, Any], short: Mapping[str, str], limit: int = 60) -> str:
    """`kind = "tdma", rate = 0.1`, empty for no axes. short: what each key is called."""
    return ", ".join(f"{short[key]} = {value_text(value, limit)}" for key, value in point.items())


def value_text(value: Any, limit: int = 60) -> str:
    """A value of an axis on one line and not too long; a table with what is in it, which tells it from others."""
    from wsim.scenario.messages import bare, shown  # late: `wsim list` needs file names, and no scenarios

    if isinstance(value, dict):
        return "{ " + ", ".join(f"{bare(key)} = {value_text(inner, limit)}" for key, inner in value.items()) + " }"
    return shown(value, limit)


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted key where that tells them apart, else the whole key."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)}


def distinct(names: list[str], contents: list[str]) -> list[str]:
    """The names, those that are equal (but for upper and lower case) told apart by a hash of what they stand for."""
    folded = [name.casefold() for name in names]
    return [
        name if folded.count(fold) == 1 else f"{name}-{digest(content)[:8]}"
        for name, fold, content in zip(names, folded, contents, strict=True)
    ]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.6g}")  # 2e6
    if isinstance(value, list):
        return "_".join(_shown(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)


def _plain(text: str) -> str:
    """Letters, digits and what no shell minds; everything else is an underscore."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_.-")
