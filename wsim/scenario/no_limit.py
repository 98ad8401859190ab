"""`inf` as a limit: none at all.

`deadline_s = [20.0, 60.0, inf]` is how an axis of deadlines ends. Where a limit may be left out, `inf` means that it is; every
other key takes finite numbers only.
"""

from __future__ import annotations

import math
from typing import Any

LIMITS = (
    ("stop", "rounds"),
    ("stop", "simulated_s"),
    ("stop", "air_bits"),
    ("stop", "energy_j"),
    ("transport", "expires_s"),
    ("algorithm", "deadline_s"),
)


def without_inf(value: Any, path: tuple[str, ...] = ()) -> Any:
    """The value at this path of a document with "none" for each limit in it that is inf; [study] stays as it is."""
    if isinstance(value, dict):
        return {key: item if key == "study" else without_inf(item, (*path, key)) for key, item in value.items()}
    return "none" if allowed(value, path) else value


def allowed(value: Any, path: tuple[str | int, ...]) -> bool:
    """Whether this is an inf where a limit stands, in the document or in an arm of its study."""
    if path[:2] == ("study", "arms"):
        path = path[3:]
    return path in LIMITS and value == math.inf
