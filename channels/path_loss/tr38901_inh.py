"""TR 38.901 InH: indoor offices, mixed or open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..shadowing import Shadowing, StandardShadowing
from .line_of_sight import LosModel, log10_ghz
from .model import distance_m as distance_between_m
from .model import ground_distance_m
from .ranges import Range

Floats = NDArray[np.float64]


def inh_los_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 InH, line of sight (table 7.4.1-1): 32.4 + 17.3 log10 d3 + 20 log10 f, f in GHz. [...] m to [...] dB."""
    return 32.4 + 17.3 * np.log10(distance_m) + 20 * log10_ghz(carrier_hz)


def inh_nlos_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 InH, no line of sight: max(PL_LOS, 17.3 + 38.3 log10 d3 + 24.9 log10 f). [...] m to [...] dB."""
    nlos = 17.3 + 38.3 * np.log10(distance_m) + 24.9 * log10_ghz(carrier_hz)
    return np.maximum(inh_los_loss_db(distance_m, carrier_hz), nlos)


def inh_los_probability(ground_m: Any, office: str) -> Any:
    """TR 38.901 InH (table 7.4.2-1), [...] m to [...]:

    mixed  1 to 1.2 m, exp(-(d2 - 1.2)/4.7) to 6.5 m, then 0.32 exp(-(d2 - 6.5)/32.6)
    open   1 to 5 m, exp(-(d2 - 5)/70.8) to 49 m, then 0.54 exp(-(d2 - 49)/211.7)
    """
    near, middle, scale, share, far_scale = (
        (1.2, 6.5, 4.7, 0.32, 32.6) if office == "mixed" else (5.0, 49.0, 70.8, 0.54, 211.7)
    )
    d = np.maximum(ground_m, near)
    return np.where(d <= middle, np.exp(-(d - near) / scale), share * np.exp(-(d - middle) / far_scale))


@dataclass(frozen=True)
class IndoorOffice(LosModel):
    """TR 38.901 InH between a base station (at the ceiling, 3 m in table 7.2-2) and a device of one office; refuses other pairs.

    strict: raise outside the range of validity (0.5 to 100 GHz; d3 1 to 150 m) instead of warning once
    office: "mixed" has cubicles and corridors, "open" has not; only P(LOS) differs
    """

    office: Literal["mixed", "open"] = "mixed"
    name: ClassVar[str] = "tr38901_inh"
    standard: ClassVar[str] = "3GPP TR 38.901 table 7.4.1-1, InH office"
    is_indoor: ClassVar[bool] = True
    los_correlation_m: ClassVar[float] = 10.0  # table 7.6.3.1-2
    standard_shadowing: ClassVar[StandardShadowing] = StandardShadowing(Shadowing(3.0, 10.0), Shadowing(8.03, 6.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.office not in ("mixed", "open"):
            raise ValueError(f'office = {self.office!r}: "mixed" or "open" is needed')

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        return (Range("distance", distance_between_m(device_m, other_m), "m", 1.0, 150.0),)

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        d = np.maximum(distance_between_m(device_m, other_m), 1.0)
        return inh_los_loss_db(d, carrier_hz), inh_nlos_loss_db(d, carrier_hz)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        loss: Floats = inh_los_loss_db(np.maximum(distance_m, 1.0), carrier_hz)
        return loss

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        probability: Floats = inh_los_probability(ground_distance_m(device_m, other_m), self.office)
        return probability
