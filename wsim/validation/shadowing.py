"""Shadowing: exp(-d/d_corr) over space at a base station; variance and symmetry between devices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from channels.mobility import Static
from channels.path_loss import free_space_loss_db
from channels.shadowing import Shadowing
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples, of_value

NUM_FIELDS, NUM_PLACES = 400, 64
SIGMA_DB, CORRELATION_M = 6.0, 20.0
DISTANCES = (0.1, 0.5, 1.0, 3.0)  # in correlation distances
SEPARATIONS = (0.1, 1.0, 5.0)


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
