"""TR 38.901 InF: factory halls, with sparse or dense clutter and low or high base stations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..bounds import Bounds, HeightM
from ..shadowing import Shadowing, StandardShadowing
from .line_of_sight import LosModel, log10_ghz
from .model import distance_m as distance_between_m
from .model import ground_distance_m
from .ranges import OutsideModelError, Range

Floats = NDArray[np.float64]
Density = Annotated[float, Bounds(0.0, 1.0, "clutter densities are fractions of the floor", above=True, below=True)]
ClutterM = Annotated[float, Bounds(0.0, 100.0, "clutter sizes are in m", above=True)]

_NLOS = {"SL": (33.0, 25.5, 20.0), "DL": (18.6, 35.7, 20.0), "SH": (32.4, 23.0, 20.0), "DH": (33.63, 21.9, 20.0)}
_NLOS_SIGMA_DB = {"SL": 5.7, "DL": 7.2, "SH": 5.9, "DH": 4.0}


def inf_los_loss_db(distance_m: Any, carrier_hz: float) -> Any:
    """TR 38.901 InF, line of sight (table 7.4.1-1): 31.84 + 21.5 log10 d3 + 19 log10 f, f in GHz. [...] m to [...] dB."""
    return 31.84 + 21.5 * np.log10(distance_m) + 19 * log10_ghz(carrier_hz)


def inf_nlos_loss_db(distance_m: Any, carrier_hz: float, hall: str) -> Any:
    """TR 38.901 InF, no line of sight (table 7.4.1-1); [...] m to [...] dB, f in GHz, never below PL_LOS; of each hall:

    SL  33 + 25.5 log10 d3 + 20 log10 f        DL  18.6 + 35.7 log10 d3 + 20 log10 f, not below SL
    SH  32.4 + 23 log10 d3 + 20 log10 f        DH  33.63 + 21.9 log10 d3 + 20 log10 f
    """
    constant, slope, frequency = _NLOS[hall]
    nlos = constant + slope * np.log10(distance_m) + frequency * log10_ghz(carrier_hz)
    floor = inf_nlos_loss_db(distance_m, carrier_hz, "SL") if hall == "DL" else inf_los_loss_db(distance_m, carrier_hz)
    return np.maximum(floor, nlos)


@dataclass(frozen=True)
class IndoorFactory(LosModel):
    """TR 38.901 InF between a base station and a device of one hall; refuses other pairs.

    P(LOS) = exp(-d2/k) (table 7.4.2-1), k = -clutter_size_m / ln(1 - clutter_density), times (h_BS - h_UT)/(h_c - h_UT) where
    the base station is high (SH, DH); 1 in HH. The field of the state has half the clutter size as its correlation distance
    (table 7.6.3.1-2). Sparse means a density below 0.4; without your numbers it is 0.2 with clutter of 10 m, dense is 0.6 with 2 m
    (the standard's typical sizes and examples). The clutter height is a choice of ours (the standard: 0 to 10 m).

    strict: raise outside the range of validity (0.5 to 100 GHz; d3 1 to 600 m) instead of warning once
    hall: "SL", "DL", "SH", "DH" (sparse or dense clutter, low or high base station) or "HH" (both ends above the clutter)
    clutter_density: share of the floor that clutter covers
    clutter_size_m: typical size of the clutter
    clutter_height_m: effective height h_c of the clutter; SH and DH need devices below it
    """

    hall: Literal["SL", "DL", "SH", "DH", "HH"] = "SL"
    clutter_density: Density | None = None
    clutter_size_m: ClutterM | None = None
    clutter_height_m: HeightM = 6.0
    name: ClassVar[str] = "tr38901_inf"
    standard: ClassVar[str] = "3GPP TR 38.901 table 7.4.1-1, InF"
    is_indoor: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hall not in (*_NLOS, "HH"):
            raise ValueError(f'hall = {self.hall!r}: "SL", "DL", "SH", "DH" or "HH" is needed')
        for key in ("clutter_size_m", "clutter_height_m"):
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{key} = {value}: a positive finite number is needed")
        r, dense = self.clutter_density, self.hall[0] == "D"
        if r is not None and not 0 < r < 1:
            raise ValueError(f"clutter_density = {r}: a number between 0 and 1 is needed")
        if r is not None and self.hall != "HH" and (r >= 0.4) != dense:
            raise ValueError(f"clutter_density = {r}: {self.hall} is for densities {'from' if dense else 'below'} 0.4")

    @property
    def size_m(self) -> float:
        """Clutter size, the typical one of the hall where it is not given."""
        return self.clutter_size_m or (2.0 if self.hall[0] == "D" else 10.0)

    @property
    def density(self) -> float:
        """Clutter density, the typical one of the hall where it is not given."""
        return self.clutter_density or (0.6 if self.hall[0] == "D" else 0.2)

    @property
    def los_correlation_m(self) -> float:  # type: ignore[override]  # of the clutter
        return self.size_m / 2

    @property
    def standard_shadowing(self) -> StandardShadowing:  # type: ignore[override]  # of the hall
        """Table 7.4.1-1: 4.3 dB with line of sight; correlation 10 m (table 7.5-6)."""
        return StandardShadowing(Shadowing(4.3, 10.0), Shadowing(_NLOS_SIGMA_DB.get(self.hall, 4.3), 10.0))

    def ranges(self, device_m: Floats, other_m: Floats) -> tuple[Range, ...]:
        return (Range("distance", distance_between_m(device_m, other_m), "m", 1.0, 600.0),)

    def losses_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, normal: Floats | None
    ) -> tuple[Floats, Floats]:
        d = np.maximum(distance_between_m(device_m, other_m), 1.0)
        los = inf_los_loss_db(d, carrier_hz)
        return los, los if self.hall == "HH" else inf_nlos_loss_db(d, carrier_hz, self.hall)

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats:
        loss: Floats = inf_los_loss_db(np.maximum(distance_m, 1.0), carrier_hz)
        return loss

    def field_probability(self, device_m: Floats, other_m: Floats) -> Floats:
        ground_m = ground_distance_m(device_m, other_m)
        if self.hall == "HH":
            return np.ones_like(ground_m)
        scale_m: Any = -self.size_m / math.log1p(-self.density)
        if self.hall[1] == "H":
            below_m = self.clutter_height_m - device_m[..., 2]
            if below_m.size and below_m.min() <= 0:
                raise OutsideModelError(
                    f"tr38901_inf: a device at {device_m[..., 2].max():g} m is not below clutter_height_m = "
                    f"{self.clutter_height_m:g}, as hall {self.hall} has it (HH?)"
                )
            scale_m = scale_m * np.maximum(other_m[..., 2] - device_m[..., 2], 0.0) / below_m
        probability: Floats = np.exp(-ground_m / np.maximum(scale_m, 1e-9))
        return probability
