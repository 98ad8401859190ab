"""Bounds of a key, stated where the key is declared: `exponent: Annotated[float, Bounds(0.5, 10.0, "...")]`.

They change nothing in Python. The simulator refuses a value of a scenario that lies outside with these words. (The same as
`learners.quantities.Bounds`: neither package knows the other.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """A closed range [low, high]; (low, ... with above=True, ..., high) with below=True.

    says: what the number is and its unit, as the beginning of a sentence.
    typical: where most values lie; a value outside `low, high` is answered with its multiple by a power of ten in here.
    decibel: a value far too large was probably given in milliwatts or as a plain ratio.
    """

    low: float
    high: float
    says: str
    typical: tuple[float, float] | None = None
    above: bool = False
    below: bool = False
    decibel: bool = False


DistanceM = Annotated[float, Bounds(0.0, 1e6, "distances are in m", typical=(0.5, 1e5), above=True)]
LossDb = Annotated[float, Bounds(-50.0, 250.0, "losses are in dB", decibel=True)]
PathLossExponent = Annotated[float, Bounds(0.5, 10.0, "path loss exponents have no unit; free space is 2")]
SpeedMps = Annotated[float, Bounds(0.0, 1e3, "speeds are in m/s", typical=(0.1, 100.0))]
DurationS = Annotated[float, Bounds(0.0, 1e9, "times are in s", above=True)]
DurationOrZeroS = Annotated[float, Bounds(0.0, 1e9, "times are in s")]
HeightM = Annotated[float, Bounds(0.0, 1e4, "heights are in m", typical=(0.5, 1e3), above=True)]
