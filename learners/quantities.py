"""Bounds of a key, stated where the key is declared: `learning_rate: Rate = 0.1`, `hidden: tuple[Width, ...] = (64,)`.

`Annotated[float, Bounds(...)]` changes nothing in Python. The simulator reads it: a value of a scenario that lies outside is
refused with these words, and editors show them through the scenario's schema. A learner, codec, model, data set or partition
still checks in its constructor what it cannot work with, since it is used without a scenario too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Bounds:
    """A closed range [low, high]; (low, ... with above=True, ..., high) with below=True.

    says: what the number is and its unit, as the beginning of a sentence.
    typical: where most values lie; a value outside `low, high` is answered with its multiple by a power of ten in here.
    """

    low: float
    high: float
    says: str
    typical: tuple[float, float] | None = None
    above: bool = False
    below: bool = False


@dataclass(frozen=True)
class Place:
    """Marks the name of a file or folder: a relative one in a scenario starts where the scenario lies."""


Count = Annotated[int, Bounds(1, 1_000_000, "counts are whole numbers")]
CountOrZero = Annotated[int, Bounds(0, 1_000_000, "counts are whole numbers")]
Samples = Annotated[int, Bounds(2, 10**7, "samples are whole numbers")]
Classes = Annotated[int, Bounds(1, 10_000, "classes are whole numbers")]
Width = Annotated[int, Bounds(1, 100_000, "layer widths are whole numbers")]
Maps = Annotated[int, Bounds(1, 10_000, "channels of a convolution are whole numbers")]
Groups = Annotated[int, Bounds(1, 10_000, "groups of channels are whole numbers")]
Fraction = Annotated[float, Bounds(0.0, 1.0, "fractions are between 0 and 1", above=True, below=True)]
PartOrZero = Annotated[float, Bounds(0.0, 1.0, "this is a part of the whole", below=True)]
Ratio = Annotated[float, Bounds(1.0, 1e6, "this number has no unit")]
Share = Annotated[float, Bounds(0.0, 1.0, "this is a part of the whole")]
Part = Annotated[float, Bounds(0.0, 1.0, "this is a part of the whole", above=True)]
BitsPerValue = Annotated[int, Bounds(1, 16, "bits of a value are whole numbers")]
Levels = Annotated[int, Bounds(1, 32_767, "levels of a magnitude are whole numbers")]
Positive = Annotated[float, Bounds(0.0, 1e6, "this number has no unit", above=True)]
PositiveOrZero = Annotated[float, Bounds(0.0, 1e6, "this number has no unit")]
LearningRate = Annotated[float, Bounds(0.0, 1e4, "learning rates have no unit", typical=(1e-4, 1.0), above=True)]
LearningRateOrZero = Annotated[float, Bounds(0.0, 1e4, "learning rates have no unit")]
Momentum = Annotated[float, Bounds(0.0, 1.0, "momentum is a fraction", below=True)]
Decibel = Annotated[float, Bounds(-60.0, 100.0, "signal-to-noise ratios are in dB")]
Rounds = Annotated[int, Bounds(1, 10**9, "rounds are whole numbers")]
RoundsOrZero = Annotated[int, Bounds(0, 10**9, "rounds are whole numbers")]
Pixels = Annotated[int, Bounds(1, 10_000, "pixels are whole numbers")]
Seconds = Annotated[float, Bounds(1e-9, 1e9, "times are in s")]
SecondsOrZero = Annotated[float, Bounds(0.0, 1e9, "times are in s")]
FilePath = Annotated[str, Place()]
