"""Numbers with a unit and a plausible range: the field types of a scenario.

`Annotated[float, Quantity(1e6, 3e11, "carrier frequencies are in Hz", typical=(3e8, 1e11))]` accepts finite numbers in
[1e6, 3e11]. The text goes into the error, and `typical` into the guess of what was meant: 3.5 is answered with "3.5e9?"
because 3.5e9 is the first power-of-ten multiple of it that lies in the typical range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SCALES = (1e3, 1e6, 1e9, 1e12, 1e-3, 1e-6, 1e-9, 1e-12)  # prefixes that are forgotten, or written twice


def number(value: float) -> str:
    """A number as people write it: 20, 0.3, 3.5e9."""
    if isinstance(value, int) and abs(value) < 10**6:
        return str(value)
    text = f"{float(value):.6g}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{float(value):.6e}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


@dataclass(frozen=True)
class Quantity:
    """A closed range [low, high], or half-open (low, high] with `above=True` and [low, high) with `below=True`.

    says: what the number is and its unit, as the beginning of a sentence.
    typical: where most values lie; only the guess of the meant magnitude uses it.
    """

    low: float
    high: float
    says: str
    typical: tuple[float, float] | None = None
    above: bool = False
    below: bool = False
    decibel: bool = False  # a value far too large was probably given in milliwatts or as a plain ratio

    @staticmethod
    def of(part: Any) -> Quantity | None:
        """Bounds that were declared outside this package, by an object with low, high and says; None for anything else."""
        if isinstance(part, Quantity):
            return part
        if not all(hasattr(part, name) for name in ("low", "high", "says")):
            return None
        options = {
            name: getattr(part, name) for name in ("typical", "above", "below", "decibel") if hasattr(part, name)
        }
        return Quantity(part.low, part.high, part.says, **options)

    def accepted(self) -> str:
        """The range in words: "carrier frequencies are in Hz, 1e6 to 3e11"."""
        low = f"above {number(self.low)}" if self.above else number(self.low)
        if math.isinf(self.high):
            return f"{self.says}, {low}" + ("" if self.above else " or more")
        if self.above:
            return f"{self.says}, {low} and {'below' if self.below else 'at most'} {number(self.high)}"
        return f"{self.says}, {low} to {'below ' if self.below else ''}{number(self.high)}"

    def contains(self, value: float) -> bool:
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)

    def guess(self, value: float) -> str | None:
        """The likely meant value, or None."""
        if self.decibel:
            return number(10 * math.log10(value)) if value > self.high else None
        if self.typical is None or value == 0:
            return None
        low, high = self.typical
        sign = -1.0 if value < 0 < low else 1.0
        if sign < 0 and self.contains(-value):
            return number(-value)
        return next(
            (number(sign * value * scale) for scale in (*SCALES, 1.0) if low <= sign * value * scale <= high), None
        )

    def check(self, value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise PydanticCustomError("magnitude", "{accepted}", {"accepted": self.accepted()})
        if self.contains(value):
            return value
        guess = self.guess(value)
        accepted = self.accepted() + (f" ({guess}?)" if guess else "")
        raise PydanticCustomError("magnitude", "{accepted}", {"accepted": accepted})

    def json_schema(self) -> dict[str, Any]:
        """The range as JSON schema has it, and in words."""
        found: dict[str, Any] = {"description": self.accepted()}
        if math.isfinite(self.low):
            found["exclusiveMinimum" if self.above else "minimum"] = self.low
        if math.isfinite(self.high):
            found["exclusiveMaximum" if self.below else "maximum"] = self.high
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.json_schema()}


@dataclass(frozen=True)
class Increasing:
    """[low, high] with low <= high."""

    def check(self, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] <= value[1]:
            return value
        raise PydanticCustomError("magnitude", "{accepted}", {"accepted": "a range is [lowest, highest], lowest first"})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


def ranges() -> Iterator[tuple[str, Quantity]]:
    """(name, Quantity) of every type below, for documentation and tests."""
    for name, kind in globals().items():
        for part in getattr(kind, "__metadata__", ()):
            if isinstance(part, Quantity):
                yield name, part


def meaning(kind: Any) -> str:
    """The range of one of the types below, in words."""
    return "; ".join(part.accepted() for part in kind.__metadata__ if isinstance(part, Quantity))


CarrierHz = Annotated[float, Quantity(1e6, 3e11, "carrier frequencies are in Hz", typical=(3e8, 1e11))]
BandwidthHz = Annotated[float, Quantity(1e2, 1e11, "bandwidths are in Hz", typical=(1e5, 2e9))]
PowerDbm = Annotated[float, Quantity(-60.0, 90.0, "radiated powers are in dBm", decibel=True)]
GainDb = Annotated[float, Quantity(-60.0, 80.0, "antenna gains are in dBi", decibel=True)]
NoiseFigureDb = Annotated[float, Quantity(0.0, 50.0, "noise figures are in dB", decibel=True)]
SnrDb = Annotated[float, Quantity(-60.0, 100.0, "signal-to-noise ratios are in dB", decibel=True)]
MarginDb = Annotated[float, Quantity(0.0, 60.0, "margins are in dB", decibel=True)]
SpreadDb = Annotated[float, Quantity(0.0, 40.0, "standard deviations of shadowing are in dB")]
DistanceM = Annotated[float, Quantity(0.0, 1e6, "distances are in m", typical=(0.5, 1e5), above=True)]
DistanceOrZeroM = Annotated[float, Quantity(0.0, 1e6, "distances are in m", typical=(0.5, 1e5))]
CoordinateM = Annotated[float, Quantity(-1e6, 1e6, "coordinates are in m")]
HeightM = Annotated[float, Quantity(0.0, 1e5, "heights are in m", typical=(0.5, 1e3))]
SpeedMps = Annotated[float, Quantity(0.0, 1e3, "speeds are in m/s", typical=(0.1, 100.0))]
SecondsOrZero = Annotated[float, Quantity(0.0, 1e9, "times are in s")]
Seconds = Annotated[float, Quantity(1e-9, 1e9, "times are in s")]
Flops = Annotated[float, Quantity(1e3, 1e18, "speeds of computation are in FLOP/s", typical=(1e6, 1e15))]
ClockHz = Annotated[float, Quantity(1e3, 1e11, "clocks of processors are in Hz", typical=(1e6, 1e10))]
CyclesPerFlop = Annotated[float, Quantity(1e-6, 1e6, "cycles per FLOP are a number")]
Kappa = Annotated[float, Quantity(1e-35, 1e-15, "effective switched capacitances are in W/Hz^3, about 1e-28")]
SigmaLn = Annotated[float, Quantity(0.0, 3.0, "spreads are standard deviations of the natural logarithm")]
Watts = Annotated[float, Quantity(0.0, 1e5, "powers drawn are in W", typical=(1e-4, 1e3))]
Joules = Annotated[float, Quantity(0.0, 1e12, "energies are in J", typical=(1e-3, 1e9), above=True)]
JoulesOrZero = Annotated[float, Quantity(0.0, 1e9, "energies are in J")]
Efficiency = Annotated[float, Quantity(0.0, 1.0, "efficiencies are fractions", above=True)]
Overhead = Annotated[float, Quantity(0.0, 1.0, "overheads are fractions", below=True)]
TargetAccuracy = Annotated[
    float,
    Quantity(0.0, 10.0, "accuracies are below 1, shares of a control problem's reference may be more", above=True),
]
Fraction = Annotated[float, Quantity(0.0, 1.0, "fractions are between 0 and 1", above=True, below=True)]
DelaySpreadS = Annotated[float, Quantity(0.0, 1e-3, "r.m.s. delay spreads are in s", typical=(1e-9, 1e-5), above=True)]
Blocks = Annotated[int, Quantity(1, 4096, "resource blocks are counted")]
Share = Annotated[float, Quantity(0.0, 1.0, "shares are fractions", above=True)]
LossRate = Annotated[float, Quantity(0.0, 1.0, "loss rates are probabilities", below=True)]
Probability = Annotated[float, Quantity(0.0, 1.0, "probabilities are fractions", above=True)]
EfficiencyBpsHz = Annotated[float, Quantity(0.0, 100.0, "spectral efficiencies are in bit/s/Hz", above=True)]
BitRate = Annotated[float, Quantity(1.0, 1e13, "rates are in bit/s", typical=(1e4, 1e11))]
Bits = Annotated[float, Quantity(1.0, 1e18, "amounts on the air are in bits")]
Burst = Annotated[float, Quantity(1.0, 1e6, "mean bursts are in packets")]
Positive = Annotated[float, Quantity(0.0, 1e6, "this number has no unit", above=True)]
PositiveOrZero = Annotated[float, Quantity(0.0, 1e6, "this number has no unit")]
Count = Annotated[int, Quantity(1, 1_000_000, "counts are whole numbers")]
Pixels = Annotated[int, Quantity(1, 10_000, "pixels are whole numbers")]
PixelsOrZero = Annotated[int, Quantity(0, 10_000, "pixels are whole numbers")]
Degree = Annotated[int, Quantity(1, 1_000_000, "degrees are whole numbers")]
Rounds = Annotated[int, Quantity(1, 10**9, "rounds are whole numbers")]
Bytes = Annotated[int, Quantity(1, 10**7, "packet sizes are in bytes")]
BytesOrZero = Annotated[int, Quantity(0, 10**7, "packet sizes are in bytes")]
Symbols = Annotated[int, Quantity(0, 14, "symbols of a slot are whole numbers")]
Attempts = Annotated[int, Quantity(1, 10**6, "attempts are whole numbers")]
Seed = Annotated[int, Quantity(0, 2**63 - 1, "seeds are whole numbers")]
RingRange = Annotated[tuple[DistanceOrZeroM, DistanceOrZeroM], Increasing()]
