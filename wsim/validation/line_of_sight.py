"""Line of sight by distance: how often the field over space has it, against TR 38.901 table 7.4.2-1 (UMi street canyon):
18/d + exp(-d/36) (1 - 18/d) beyond 18 m."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from channels.mobility import Static
from channels.path_loss import UmiStreetCanyon
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples

NUM_FIELDS, NUM_PLACES = 1200, 6
DISTANCES_M = (30.0, 60.0, 150.0)
HEIGHT_M, STATION_M = 1.5, 10.0


def comparisons(effort: int) -> Iterator[Comparison]:
    angles = 2 * np.pi * np.arange(NUM_PLACES) / NUM_PLACES
    places = np.array([(d * np.cos(a), d * np.sin(a), HEIGHT_M) for d in DISTANCES_M for a in angles])
    station = len(places)
    model = UmiStreetCanyon()
    station_m = np.array([0.0, 0.0, STATION_M])
    seen_db = -model.loss_db(places, station_m, worlds.CARRIER_HZ, np.ones(station, dtype=bool))
    paths = [*(Static(tuple(place)) for place in places.tolist()), Static((0.0, 0.0, STATION_M))]
    shares = []
    for key in range(NUM_FIELDS * effort):
        world = worlds.channel(paths, key, path_loss=model, base_station=station)
        found_db = world.mean_gain_db(np.arange(station), np.full(station, station), 0.0)
        shares.append((np.abs(found_db - seen_db) < 1e-6).reshape(len(DISTANCES_M), NUM_PLACES).mean(axis=1))
    for i, d in enumerate(DISTANCES_M):
        expected = 18 / d + np.exp(-d / 36) * (1 - 18 / d)
        samples = np.array(shares)[:, i]
        yield of_samples("line-of-sight field, UMi", f"share in sight at {d:g} m", samples, expected, 0.03)
