"""Checks of hyper-parameters that several algorithms share. Each raises ValueError that names the field and its
value."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def check_count(name: str, value: Any, *, optional: bool = False, zero: bool = False) -> None:
    """value is a positive integer, or zero or None where those are allowed."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < (0 if zero else 1):
        kind = "non-negative" if zero else "positive"
        raise ValueError(f"{name} = {value!r}: a {kind} integer{' or nothing' if optional else ''}")


def check_number(name: str, value: Any, *, optional: bool = False, zero: bool = False) -> None:
    """value is a positive finite number, or zero or None where those are allowed."""
    if value is None and optional:
        return
    valid = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not valid or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} = {value!r}: a {'non-negative' if zero else 'positive'} finite number")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """value is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} = {value!r}: one of {', '.join(choices)}")


def check_local_work(local_steps: int | None, local_epochs: int | None) -> None:
    """Exactly one of the two is given, a positive integer."""
    if (local_steps is None) == (local_epochs is None):
        raise ValueError(
            f"local_steps = {local_steps!r}, local_epochs = {local_epochs!r}: give exactly one of the two, "
            "the work between exchanges"
        )
    check_count("local_steps", local_steps, optional=True)
    check_count("local_epochs", local_epochs, optional=True)
