"""What the numbers that are called accuracy are, in the words of tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REFERENCES = {
    "interference_channel": "WMMSE",
    "link_activation": "greedy/WMMSE activation",
    "recorded_channels": "WMMSE",
    "observed_links": "WMMSE",
    "parallel_channels": "water-filling",
}
"""Of control problems: whose rate is 1."""


def share_of(resolved: Mapping[str, Any]) -> str | None:
    """The reference that a run's "accuracy" is a share of, "share of the WMMSE rate"; None for classification."""
    data = resolved.get("data")
    reference = REFERENCES.get(data.get("name", "")) if isinstance(data, Mapping) else None
    return None if reference is None else f"share of the {reference} rate"
