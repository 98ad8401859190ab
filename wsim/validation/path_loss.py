"""Path losses and probabilities of line of sight of the standards, as a channel answers, at points worked by hand.

The expected numbers stand here as literals: each was worked from the table of its standard with a calculator and not with the
code of the model; what entered stands beside it. Distances: d2 over the ground, d3 in space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from channels.mobility import Static
from channels.path_loss.free_space import FreeSpace
from channels.path_loss.log_distance import LogDistance
from channels.path_loss.lte_macro import LteMacro
from channels.path_loss.multi_slope import MultiSlope
from channels.path_loss.tgax_indoor import TgaxIndoor
from channels.path_loss.tr36843_d2d import DeviceToDevice
from channels.path_loss.tr37885_v2v import VehicleToVehicle
from channels.path_loss.tr38901_inf import IndoorFactory
from channels.path_loss.tr38901_inh import IndoorOffice
from channels.path_loss.tr38901_rma import RuralMacro
from channels.path_loss.tr38901_uma import UrbanMacro
from channels.path_loss.tr38901_umi import UmiStreetCanyon
from channels.path_loss.two_ray import TwoRay
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples, of_value

TOLERANCE_DB = 2e-3  # of the literals, which have three digits
NUM_FIELDS, PAIRS_A_SIDE, PAIR_M = 8, 12, 100.0


@dataclass(frozen=True)
class Point:
    """d2 and the two heights in m, the station's (or the other end's) first; the loss in dB by hand."""

    model: Any
    keys: dict[str, Any]
    what: str
    place_m: tuple[float, float, float]
    carrier_hz: float
    loss_db: float


def _los(model: Any, place_m: tuple[float, float, float], carrier_hz: float, loss_db: float, **keys: Any) -> Point:
    return Point(model, {"los": "always", **keys}, "in sight", place_m, carrier_hz, loss_db)


def _nlos(model: Any, place_m: tuple[float, float, float], carrier_hz: float, loss_db: float, **keys: Any) -> Point:
    return Point(model, {"los": "never", **keys}, "not in sight", place_m, carrier_hz, loss_db)


POINTS = (
    # 20 log10(4 pi 100 * 2.4e9 / 299792458); and 46.68 dB at 1 m and 5.15 GHz, as papers on Wi-Fi have it
    Point(FreeSpace, {}, "loss", (100.0, 1.5, 1.5), 2.4e9, 80.052),
    Point(FreeSpace, {}, "loss", (1.0, 1.5, 1.5), 5.15e9, 46.684),
    # 40.05 + 30 log10(50);  40.05 + 20 log10(10) + 35 log10(100/10)
    Point(LogDistance, {"exponent": 3.0, "reference_loss_db": 40.05}, "loss", (50.0, 1.5, 1.5), 2.4e9, 91.019),
    Point(
        MultiSlope,
        {"exponents": (2.0, 3.5), "breaks_m": (10.0,), "reference_loss_db": 40.05},
        "loss",
        (100.0, 1.5, 1.5),
        2.4e9,
        95.05,
    ),
    # d_c = 4 pi 30 * 1.5/0.33310 = 1697.6 m; d3 = 1000.406 m: free space; d3 = 5000.081 m: 40 log10 d3 - 20 log10 45
    Point(TwoRay, {}, "loss", (1000.0, 30.0, 1.5), 0.9e9, 91.536),
    Point(TwoRay, {}, "loss", (5000.0, 30.0, 1.5), 0.9e9, 114.895),
    # 128.1 at 1 km; 128.1 - 37.6 at 100 m
    Point(LteMacro, {}, "loss", (1000.0, 1.5, 1.5), 2e9, 128.1),
    Point(LteMacro, {}, "loss", (100.0, 1.5, 1.5), 2e9, 90.5),
    # TR 38.901 table 7.4.1-1. UMa: d'_BP = 4 * 24 * 0.5 * 3.5e9/3e8 = 560 m; d3 = 102.724 and 1000.276 m
    _los(UrbanMacro, (100.0, 25.0, 1.5), 3.5e9, 83.138),
    _los(UrbanMacro, (1000.0, 25.0, 1.5), 3.5e9, 109.412),
    _nlos(UrbanMacro, (100.0, 25.0, 1.5), 3.5e9, 103.038),
    _nlos(UrbanMacro, (1000.0, 25.0, 1.5), 3.5e9, 141.666),
    # UMi: d'_BP = 4 * 9 * 0.5 * 3.5e9/3e8 = 210 m; d3 = 100.361 and 500.072 m
    _los(UmiStreetCanyon, (100.0, 10.0, 1.5), 3.5e9, 85.314),
    _los(UmiStreetCanyon, (500.0, 10.0, 1.5), 3.5e9, 107.114),
    _nlos(UmiStreetCanyon, (100.0, 10.0, 1.5), 3.5e9, 104.644),
    _nlos(UmiStreetCanyon, (500.0, 10.0, 1.5), 3.5e9, 129.265),
    # RMa, h = 5 m, W = 20 m: d_BP = 2 pi 35 * 1.5 * 0.7e9/3e8 = 769.69 m; d3 = 501.121 and 3000.187 m
    _los(RuralMacro, (500.0, 35.0, 1.5), 0.7e9, 84.633),
    _los(RuralMacro, (3000.0, 35.0, 1.5), 0.7e9, 112.458),
    _nlos(RuralMacro, (500.0, 35.0, 1.5), 0.7e9, 104.843),
    _nlos(RuralMacro, (3000.0, 35.0, 1.5), 0.7e9, 134.869),
    # InH: d3 = 40.050 m. InF: d3 = 50.421 m
    _los(IndoorOffice, (40.0, 3.0, 1.0), 3.5e9, 71.006),
    _nlos(IndoorOffice, (40.0, 3.0, 1.0), 3.5e9, 92.227),
    _los(IndoorFactory, (50.0, 8.0, 1.5), 3.5e9, 78.783),
    _nlos(IndoorFactory, (50.0, 8.0, 1.5), 3.5e9, 87.298, hall="SL"),
    _nlos(IndoorFactory, (50.0, 8.0, 1.5), 3.5e9, 90.265, hall="DL"),
    _nlos(IndoorFactory, (50.0, 8.0, 1.5), 3.5e9, 82.441, hall="SH"),
    _nlos(IndoorFactory, (50.0, 8.0, 1.5), 3.5e9, 81.799, hall="DH"),
    # TR 36.843, 2 GHz: d' = 4 * 0.64 * 2e9/3e8 = 17.07 m; at 10 m free space, 46.4 + 20 + 20 log10(2/5), is the larger one
    _los(DeviceToDevice, (10.0, 1.5, 1.5), 2e9, 58.441),
    _los(DeviceToDevice, (100.0, 1.5, 1.5), 2e9, 91.726),
    _nlos(DeviceToDevice, (100.0, 1.5, 1.5), 2e9, 108.824),
    # TR 37.885, 6 GHz, log10 6 = 0.77815: 38.77 + 33.4 + 14.162; 32.4 + 40 + 15.563; 36.85 + 60 + 14.707
    _los(VehicleToVehicle, (100.0, 1.5, 1.5), 6e9, 86.332),
    _los(VehicleToVehicle, (100.0, 1.5, 1.5), 6e9, 87.963, environment="highway"),
    _nlos(VehicleToVehicle, (100.0, 1.5, 1.5), 6e9, 111.557, blocked_by="building"),
    # TGax at 5 GHz: flats, d3 = 25.318 m, two walls of 5 dB, one floor of 18.3 dB; offices, 45 m, two walls of 7 dB; 8 m, none
    Point(TgaxIndoor, {}, "loss, flats", (25.0, 5.5, 1.5), 5e9, 113.361),
    Point(TgaxIndoor, {"building": "enterprise"}, "loss, offices", (45.0, 1.5, 1.5), 5e9, 103.288),
    Point(TgaxIndoor, {"building": "enterprise"}, "loss, offices", (8.0, 1.5, 1.5), 5e9, 64.487),
)


@dataclass(frozen=True)
class Sight:
    """P(LOS) by hand at d2, of a station's and a device's height, in m."""

    model: Any
    place_m: tuple[float, float, float]
    probability: float
    keys: dict[str, Any] = field(default_factory=dict)


SIGHTS = (
    Sight(UmiStreetCanyon, (100.0, 10.0, 1.5), 0.23098),  # 0.18 + exp(-100/36) 0.82
    Sight(UrbanMacro, (100.0, 25.0, 1.5), 0.34767),  # 0.18 + exp(-100/63) 0.82
    Sight(UrbanMacro, (200.0, 25.0, 20.0), 0.32573),  # C' = 0.7^1.5 = 0.58566: times 1 + 0.58566 * 10 exp(-4/3)
    Sight(RuralMacro, (1000.0, 35.0, 1.5), 0.37158),  # exp(-0.99)
    Sight(IndoorOffice, (4.0, 3.0, 1.0), 0.55115),  # exp(-2.8/4.7)
    Sight(IndoorOffice, (20.0, 3.0, 1.0), 0.21150),  # 0.32 exp(-13.5/32.6)
    Sight(IndoorOffice, (100.0, 3.0, 1.0), 0.42439, {"office": "open"}),  # 0.54 exp(-51/211.7)
    # k = -10/ln 0.8 = 44.814 m: 0.8^5;  k = -2/ln 0.4 * 6.5/4.5 = 3.1528 m
    Sight(IndoorFactory, (50.0, 8.0, 1.5), 0.32768),
    Sight(IndoorFactory, (10.0, 8.0, 1.5), 0.04193, {"hall": "DH"}),
    Sight(DeviceToDevice, (50.0, 1.5, 1.5), 0.51959),  # 0.36 (1 - exp(-50/36)) + exp(-50/36)
    Sight(VehicleToVehicle, (100.0, 1.5, 1.5), 0.33581),  # 1.05 exp(-1.14)
    Sight(VehicleToVehicle, (200.0, 1.5, 1.5), 0.70335, {"environment": "highway"}),  # 0.084052 - 0.4 + 1.0193
)


def comparisons(effort: int) -> Iterator[Comparison]:
    for point in POINTS:
        model = point.model(**point.keys)
        ground_m, other_m, device_m = point.place_m
        found = _loss_db(model, ground_m, other_m, device_m, point.carrier_hz)
        where = f"{point.what}{_kind(point.keys)}, {ground_m:g} m, {point.carrier_hz / 1e9:g} GHz: dB"
        yield of_value(f"path loss {model.name}", where, found, point.loss_db, TOLERANCE_DB)
    for sight in SIGHTS:
        model = sight.model(**sight.keys)
        ground_m, other_m, device_m = sight.place_m
        ends = np.array([[ground_m, 0.0, device_m]]), np.array([[0.0, 0.0, other_m]])
        where = f"P(LOS){_kind(sight.keys)}, {ground_m:g} m, device at {device_m:g} m"
        yield of_value(f"path loss {model.name}", where, model.los_probability(*ends)[0], sight.probability, 2e-5)
    # a vehicle taller than both antennas, up to 541 m: E max(0, N(9, 4.5^2)) = 9 Phi(2) + 4.5 phi(2) = 9.0382 dB
    blocked = np.array([_blocking_db(key) for key in range(NUM_FIELDS * effort)]).ravel()
    yield of_samples("path loss tr37885_v2v", "mean loss by a vehicle in the way, dB", blocked, 9.0382, 0.5)


def _kind(keys: dict[str, Any]) -> str:
    return "".join(f", {keys[key]}" for key in ("hall", "environment", "blocked_by", "office") if key in keys)


def _loss_db(model: Any, ground_m: float, other_m: float, device_m: float, carrier_hz: float) -> float:
    """Of a link of two nodes of a channel, the second one a base station where the model needs it."""
    ends = [Static((ground_m, 0.0, device_m)), Static((0.0, 0.0, other_m))]
    station = 1 if model.needs_station else None
    world = worlds.channel(ends, path_loss=model, base_station=station, carrier_hz=carrier_hz)
    return -float(world.mean_gain_db(0, 1, 0.0))


def _blocking_db(key: int) -> np.ndarray:
    """What vehicles add to pairs that lie far apart from each other, dB."""
    ends = [
        Static((3 * PAIR_M * i + dx, 3 * PAIR_M * j, 1.5))
        for i in range(PAIRS_A_SIDE)
        for j in range(PAIRS_A_SIDE)
        for dx in (0.0, PAIR_M)
    ]
    first = np.arange(0, len(ends), 2)
    always, never = (
        worlds.channel(ends, key, path_loss=VehicleToVehicle(los=los), carrier_hz=6e9).mean_gain_db(
            first, first + 1, 0.0
        )
        for los in ("always", "never")
    )
    return np.asarray(always - never)
