"""What the path loss models with a line-of-sight state have in common: the keys `los` and `strict`, and the choice."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..shadowing import StandardShadowing
from .ranges import Range, check_ranges

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LosModel(ABC):
    """A loss with line of sight, one without, and a probability of having it.

    los: "field" (a correlated state per place, compared with P(LOS)), "always" or "never"
    strict: raise outside the range of validity instead of warning once
    """

    los: str = "field"
    strict: bool = False
    name: ClassVar[str]
    needs_station: ClassVar[bool] = True
    has_los: ClassVar[bool] = True
    carrier_range_hz: ClassVar[tuple[float, float]] = (0.5e9, 100e9)
    los_correlation_m: ClassVar[float] = 50.0
    standard_shadowing: ClassVar[StandardShadowing | None] = None
    _warned: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.los not in ("field", "always", "never"):
            raise ValueError(f'los = {self.los!r}: "field", "always" or "never" is needed')

    @abstractmethod
    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        """Where the model holds, but for the carrier."""

    @abstractmethod
    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        """With and without line of sight, [...] dB each."""

    @abstractmethod
    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        """P(LOS) of the source, [...]."""

    def loss_db(
        self,
        device_m: Floats,
        other_m: Floats,
        carrier_hz: float,
        los: NDArray[np.bool_] | None = None,
        normal: Floats | None = None,
    ) -> Floats:
        if los is None:
            raise ValueError(f"{self.name} needs the line-of-sight state of every link")
        if device_m.size:
            carrier_ghz = carrier_hz / 1e9
            low, high = self.carrier_range_hz
            carrier = Range("carrier", carrier_ghz, "GHz", low / 1e9, high / 1e9)
            check_ranges(self.name, self.strict, self._warned, carrier, *self.ranges(device_m, other_m))
        with_los, without = self.losses_db(device_m, other_m, carrier_hz, normal)
        return np.where(los, with_los, without)

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        if self.los == "field":
            return self.field_probability(device_m, other_m)
        return np.full(np.broadcast_shapes(device_m.shape, other_m.shape)[:-1], 1.0 if self.los == "always" else 0.0)


def log10_ghz(carrier_hz: float) -> float:
    """log10 of the carrier frequency in GHz."""
    return math.log10(carrier_hz / 1e9)
