"""Shadowing: exp(-d/d_corr) over space at a base station; variance and symmetry between devices; sigma of the standards.

The standard deviations with and without line of sight are literals of the tables: TR 38.901 table 7.4.1-1, TR 36.814 table
A.2.1.1-3 (lte_macro), TR 36.843 section A.2.1.2, TR 37.885 section 6.2.1, IEEE 802.11-14/0980 (tgax_indoor).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from channels.mobility import Static
from channels.path_loss import UmiStreetCanyon, free_space_loss_db
from channels.path_loss.lte_macro import LteMacro
from channels.path_loss.tgax_indoor import TgaxIndoor
from channels.path_loss.tr36843_d2d import DeviceToDevice
from channels.path_loss.tr37885_v2v import VehicleToVehicle
from channels.path_loss.tr38901_inf import IndoorFactory
from channels.path_loss.tr38901_inh import IndoorOffice
from channels.path_loss.tr38901_rma import RuralMacro
from channels.path_loss.tr38901_uma import UrbanMacro
from channels.shadowing import Shadowing
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples, of_value

NUM_FIELDS, NUM_PLACES = 400, 64
SIGMA_DB, CORRELATION_M = 6.0, 20.0
DISTANCES = (0.1, 0.5, 1.0, 3.0)  # in correlation distances
SEPARATIONS = (0.1, 1.0, 5.0)
STANDARDS: tuple[
    tuple[type[Any], dict[str, Any], tuple[float, float]], ...
] = (  # sigma with and without line of sight, dB
    (LteMacro, {}, (8.0, 8.0)),
    (UrbanMacro, {}, (4.0, 6.0)),
    (UmiStreetCanyon, {}, (4.0, 7.82)),
    (RuralMacro, {}, (4.0, 8.0)),
    (IndoorOffice, {}, (3.0, 8.03)),
    (IndoorFactory, {"hall": "SL"}, (4.3, 5.7)),
    (IndoorFactory, {"hall": "DL"}, (4.3, 7.2)),
    (IndoorFactory, {"hall": "SH"}, (4.3, 5.9)),
    (IndoorFactory, {"hall": "DH"}, (4.3, 4.0)),
    (DeviceToDevice, {}, (7.0, 7.0)),
    (VehicleToVehicle, {"blocked_by": "building"}, (3.0, 4.0)),
    (TgaxIndoor, {}, (5.0, 5.0)),
)
NUM_STANDARD_FIELDS, STANDARD_SIDE = 16, 20


def comparisons(effort: int) -> Iterator[Comparison]:
    law = Shadowing(SIGMA_DB, CORRELATION_M)
    station = [[_at_station(law, key, distance) for key in range(NUM_FIELDS * effort)] for distance in DISTANCES]
    for distance, per_field in zip(DISTANCES, station, strict=True):
        quantity = f"autocorrelation, d/d_corr = {distance:g}"
        yield of_samples("shadowing, one field a station", quantity, np.array(per_field), np.exp(-distance), 0.03)
    worst = 0.0
    for separation in SEPARATIONS:
        squares = []
        for key in range(NUM_FIELDS * effort):
            forth, back = _between_devices(law, key, separation)
            worst = max(worst, float(np.abs(forth - back).max()))
            squares.append(float(np.square(forth).mean()) / SIGMA_DB**2)
        quantity = f"variance/sigma^2, d/d_corr = {separation:g}"
        yield of_samples("shadowing between devices", quantity, np.array(squares), 1.0, 0.03)
    yield of_value("shadowing between devices", "asymmetry at most, dB", worst, 0.0, 1e-9)
    for model, keys, sigmas_db in STANDARDS:
        name = f"shadowing of {' '.join((model.name, *keys.values()))}"
        for los, sigma_db in zip(("always", "never"), sigmas_db, strict=True):
            if los == "never" and not model.has_los:
                continue
            squares = [_standard(model, keys, los, key) for key in range(NUM_STANDARD_FIELDS * effort)]
            what = ("" if los == "always" else "not ") + "in sight"
            quantity = f"variance over {sigma_db:g}^2{f', {what}' if model.has_los else ''}"
            yield of_samples(name, quantity, np.array(squares) / sigma_db**2, 1.0, 0.1)


def _at_station(law: Shadowing, key: int, distance: float) -> float:
    """Mean product of the shadowing of places `distance` apart towards one base station, over sigma^2."""
    grid = np.arange(NUM_PLACES // 8) * 6 * CORRELATION_M
    places = [(200.0 + float(x), float(y)) for x in grid for y in grid[:8]]
    paths = [Static((x + dx, y, 1.5)) for x, y in places for dx in (0.0, distance * CORRELATION_M)]
    station = len(paths)
    world = worlds.channel([*paths, Static((0.0, 0.0, 10.0))], key, shadowing=law, base_station=station)
    unshadowed = worlds.channel([*paths, Static((0.0, 0.0, 10.0))], key, base_station=station)
    link = np.arange(station), np.full(station, station)
    s = (world.mean_gain_db(*link, 0.0) - unshadowed.mean_gain_db(*link, 0.0)).reshape(-1, 2)
    return float((s[:, 0] * s[:, 1]).mean()) / SIGMA_DB**2


def _between_devices(law: Shadowing, key: int, separation: float) -> tuple[np.ndarray, np.ndarray]:
    """Shadowing of pairs that lie far apart from each other, both directions, in dB."""
    distance_m = separation * CORRELATION_M
    grid = np.arange(NUM_PLACES // 8) * 16 * CORRELATION_M
    paths = [Static((float(x) + dx, float(y), 1.5)) for x in grid for y in grid for dx in (0.0, distance_m)]
    world = worlds.channel(paths, key, shadowing=law)
    a, b = np.arange(0, len(paths), 2), np.arange(1, len(paths), 2)
    loss_db = float(free_space_loss_db(distance_m, worlds.CARRIER_HZ))
    return world.mean_gain_db(a, b, 0.0) + loss_db, world.mean_gain_db(b, a, 0.0) + loss_db


def _standard(model: Any, keys: dict[str, Any], los: str, key: int) -> float:
    """Mean square of the shadowing of a path loss's own source, dB^2, over places or pairs some correlation distances apart."""
    loss = model(**keys, **({"los": los} if model.has_los else {}))
    law = loss.standard_shadowing
    step_m = 4 * (law.los if los == "always" else law.nlos).correlation_m
    grid = (np.arange(STANDARD_SIDE) - STANDARD_SIDE / 2) * step_m
    paths = [Static((float(x), float(y), 1.5)) for x in grid for y in grid]
    near = np.arange(len(paths))
    far = near + 1
    station = None
    if model.needs_station:
        station, far = near.size, np.full(near.size, near.size)
        paths.append(Static((0.0, 0.0, 25.0)))
    else:
        near, far = near[::2], far[::2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # beyond the range of the losses, which cancel
        with_, without = (
            worlds.channel(paths, key, path_loss=loss, shadowing=each, base_station=station).mean_gain_db(
                near, far, 0.0
            )
            for each in (law, None)
        )
    return float(np.square(with_ - without).mean())
