"""Ranges of validity: what lies outside is computed all the same and said once per object, or refused with `strict`."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np


class OutsideModelError(ValueError):
    """A link that a path loss model does not cover, or does not with `strict`: a fault of what it was asked for."""


class Range(NamedTuple):
    """what: in words. values: those that are asked about, in `unit`. least, most: where the model holds."""

    what: str
    values: Any
    unit: str
    least: float
    most: float


def check_ranges(name: str, strict: bool, warned: list[str], *ranges: Range) -> None:
    """Warn about the first range that is left, unless something was said before; raise OutsideModelError if strict.

    warned: what the object has said so far; it is added to.
    """
    if warned:
        return
    for what, values, unit, least, most in ranges:
        low, high = np.min(values), np.max(values)
        if low >= least and high <= most:
            continue
        found = low if low < least else high
        valid = f"{least:g} {unit}" if least == most else f"{least:g} to {most:g} {unit}"
        message = f"{name}: {what} {found:.4g} {unit} is outside the model's range ({valid})"
        if strict:
            raise OutsideModelError(message)
        warned.append(message)
        warnings.warn(message + "; computed all the same, said once", stacklevel=3)
        return
