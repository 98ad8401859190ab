"""What a `Channel` asks of a path loss model, and the geometry that models share.

Every model is a small frozen dataclass with its keys as fields, those of a scenario's [channel.path_loss], and

    loss_db(device_m, other_m, carrier_hz, los)   [..., 3], [..., 3] positions -> [...] dB
    least_loss_db(distance_m, carrier_hz)         a lower bound at that distance, not decreasing with it
    los_probability(device_m, other_m)            [...] in [0, 1]; asked for where `has_los`

`needs_station` marks models that hold between a base station (`other_m`) and a device only. `los` is [channel] los, for a
model that has such a field. A model may also have (`optional`):

    name                  of the registry, for messages
    standard              where the loss comes from, for results: document, table, scenario
    carrier_range_hz      (lowest, highest): a scenario outside is refused
    is_indoor             both ends are in one building: devices have no outer wall to penetrate
    indoor_depth_m        the largest distance from the outer wall that an indoor device has (TR 38.901 7.4.3)
    los_correlation_m     of the field that decides on line of sight
    spread_correlation_m  where it is given, `loss_db` takes a fifth argument: a standard normal number of each link, [...],
                          correlated over space by exp(-d / spread_correlation_m)
    standard_shadowing    a `StandardShadowing`: sigma and correlation distances of the model's own source
    beyond_breakpoint     (device_m, other_m, carrier_hz) -> [...] bool, where that shadowing has a `far_los_sigma_db`

Outside its range of validity a model still computes, and warns once per object; with `strict` it raises OutsideModelError.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

C_3GPP_MPS = 3.0e8  # the standards' own constant in breakpoints

_DEFAULTS: dict[str, Any] = {
    "standard": "not stated by the model",
    "carrier_range_hz": (0.0, math.inf),
    "is_indoor": False,
    "indoor_depth_m": 25.0,
    "los_correlation_m": 50.0,
    "spread_correlation_m": None,
    "standard_shadowing": None,
}


class PathLoss(Protocol):
    """What every model has; the module's docstring defines the terms."""

    needs_station: ClassVar[bool]

    @property
    def has_los(self) -> bool: ...

    def loss_db(
        self, device_m: Floats, other_m: Floats, carrier_hz: float, los: NDArray[np.bool_] | None
    ) -> Floats: ...

    def least_loss_db(self, distance_m: Floats, carrier_hz: float) -> Floats: ...

    def los_probability(self, device_m: Floats, other_m: Floats) -> Floats: ...


def optional(model: Any, name: str) -> Any:
    """What a model, or its class, says about one of the optional attributes, else that attribute's default."""
    if name == "name":
        return getattr(model, "name", getattr(model, "__name__", type(model).__name__))
    return getattr(model, name, _DEFAULTS[name])


def distance_m(a_m: Floats, b_m: Floats) -> Floats:
    """Distance in space; a_m, b_m: [..., 3] to [...] m."""
    d = a_m - b_m
    squared: Floats = d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]
    return np.sqrt(squared)


def ground_distance_m(a_m: Floats, b_m: Floats) -> Floats:
    """Distance over the ground; a_m, b_m: [..., 3] to [...] m."""
    ground: Floats = np.hypot(a_m[..., 0] - b_m[..., 0], a_m[..., 1] - b_m[..., 1])
    return ground


def require_positive(name: str, value: float) -> None:
    """Raises ValueError where value is not a positive finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} = {value}: a positive finite number is needed")
