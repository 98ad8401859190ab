"""LTE macro cell: 128.1 + 37.6 log10(d in km) at 2 GHz, the usual choice of papers on federated learning."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..bounds import LossDb
from ..shadowing import Shadowing, StandardShadowing
from .model import distance_m as distance_between_m
from .ranges import Range, check_ranges

Floats = NDArray[np.float64]


def lte_macro_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """Urban macro cell, base station 15 m above the roofs.

        L(d) = 128.1 + 37.6 log10(d / 1 km) + 21 log10(f / 2 GHz)        [dB]

    distance_m: [...] d. Returns [...] dB, without a floor.
    Source: 3GPP TR 36.942 section 4.5.2, 40 (1 - 4e-3 D) log10 d - 18 log10 D + 21 log10 f + 80 (f in MHz) with D = 15 m,
    rounded at 2 GHz as there and in TR 36.814 table A.2.1.1-3. 35 m to some 20 km.
    """
    return 128.1 + 37.6 * np.log10(np.divide(distance_m, 1e3)) + 21 * math.log10(carrier_hz / 2e9)


@dataclass(frozen=True)
class LteMacro:
    """LTE macro cell between a base station and a device: `lte_macro_loss_db`. Its own shadowing is 8 dB over 50 m.

    min_coupling_loss_db: the loss is never less, antennas not counted (TR 36.942: 70 dB in an urban macro cell)
    strict: raise outside 35 m to 20 km and 0.7 to 2.7 GHz (the LTE bands around 2 GHz; a choice of ours) instead of warning once
    """

    min_coupling_loss_db: LossDb = 70.0
    strict: bool = False
    name: ClassVar[str] = "lte_macro"
    standard: ClassVar[str] = "3GPP TR 36.942 section 4.5.2, urban macro cell at 2 GHz"
    needs_station: ClassVar[bool] = True
    has_los: ClassVar[bool] = False
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(Shadowing(8.0, 50.0), Shadowing(8.0, 50.0))
    _warned: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def loss_db(self, device_m: Floats, other_m: Floats, carrier_hz: float, los: Any = None) -> Floats:
        d = distance_between_m(device_m, other_m)
        if d.size:
            carrier = Range("carrier", carrier_hz / 1e9, "GHz", 0.7, 2.7)
            check_ranges(self.name, self.strict, self._warned, carrier, Range("distance", d, "m", 35.0, 20e3))
        return self.least_loss_db(d, carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        loss = lte_macro_loss_db(np.maximum(distance_m, 1.0), carrier_hz)
        return np.maximum(loss, self.min_coupling_loss_db)

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        return np.ones(device_m.shape[:-1])
