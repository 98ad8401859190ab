"""Interference of simultaneous senders: how often a receiver's SINR is good enough, with Rayleigh fading of every link.

Given places: P(SINR > T) = exp(-T N / P_0) prod_i 1 / (1 + T P_i / P_0). A Poisson field of stations, the nearest one wanted, path
loss exponent 4, no noise: 1 / (1 + sqrt(T) (pi/2 - atan(1/sqrt(T)))); Andrews, Baccelli, Ganti, "A tractable approach to coverage
and rate in cellular networks", IEEE Trans. Commun. 2011. The field is cut at the radius of NUM_STATIONS stations on average,
the mean power from beyond, pi^2 / NUM_STATIONS of what comes from a unit distance at unit density, counts as noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from channels.channel import Channel
from channels.fading import Rayleigh
from channels.link_adaptation import RateMap
from channels.mobility import Positions, Static
from channels.path_loss import LogDistance
from wsim.links import Links
from wsim.mac.cell_shares import CellShares
from wsim.mac.interference import InterferenceAhead
from wsim.mac.transfer import Transfer
from wsim.validation import worlds
from wsim.validation.comparison import Comparison, of_samples

Floats = NDArray[np.float64]

NUM_FIELDS, NUM_STATIONS, NUM_BLOCKS = 2000, 60, 16
EXPONENT = 4.0
PLACES_M = np.array([(10.0, 0.0), (0.0, 18.0), (-25.0, 0.0), (0.0, -40.0)])
THRESHOLDS_DB = (-3.0, 3.0)
_LOOKED_AT = 64  # cells at a time


def comparisons(effort: int) -> Iterator[Comparison]:
    received = np.linalg.norm(PLACES_M, axis=1) ** -EXPONENT
    noise = received[0] / 20
    sinr = _sinr(PLACES_M, worlds.KEY, noise, 600 * effort)
    for threshold_db in THRESHOLDS_DB:
        t = 10 ** (threshold_db / 10)
        expected = math.exp(-t * noise / received[0]) / float(np.prod(1 + t * received[1:] / received[0]))
        covered = (sinr > t).mean(axis=1)
        quantity = f"coverage at {threshold_db:g} dB"
        yield of_samples("four stations, Rayleigh blocks", quantity, covered, expected, 0.02)
    rng = np.random.default_rng(worlds.KEY)
    shares = []
    for field in range(NUM_FIELDS * effort):
        n = int(rng.poisson(NUM_STATIONS))
        radius, angle = np.sqrt(rng.random(n) * NUM_STATIONS / math.pi), 2 * math.pi * rng.random(n)
        places = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        sinr = _sinr(places[np.argsort(radius)], field, math.pi**2 / NUM_STATIONS, 1, NUM_BLOCKS)[0]
        shares.append([float((sinr > 10 ** (threshold_db / 10)).mean()) for threshold_db in THRESHOLDS_DB])
    for i, threshold_db in enumerate(THRESHOLDS_DB):
        t = 10 ** (threshold_db / 10)
        expected = 1 / (1 + math.sqrt(t) * (math.pi / 2 - math.atan(1 / math.sqrt(t))))
        quantity = f"coverage at {threshold_db:g} dB"
        yield of_samples("Poisson field of stations, Rayleigh blocks", quantity, np.array(shares)[:, i], expected, 0.03)


def _sinr(stations_m: Floats, key: int, noise: float, num_looks: int, num_cells: int = _LOOKED_AT) -> Floats:
    """Of a device at the origin, served by the first of these stations of unit power, all of which send: [looks, cells], as the
    simulator's carrier has it. noise: in units of the power at a meter's distance."""
    positions = Positions([Static((0.0, 0.0, 0.0)), *(Static((x, y, 0.0)) for x, y in stations_m.tolist())])
    n = positions.num_nodes
    law = Rayleigh(block_s=1.0)
    # the loss of this model starts at a millimeter, so that no interferer is nearer than where it holds
    loss = LogDistance(exponent=EXPONENT, reference_loss_db=-30 * EXPONENT, reference_distance_m=1e-3)
    channel = Channel(
        positions, 1e9, loss, None, law, np.zeros(n), np.ones(n, dtype=np.int64), key, base_station=range(1, n)
    )
    one = np.ones(n)
    links = Links(channel, positions, RateMap(0.0, 100.0, -60.0, 0.0), one, one * noise, one, None)
    shares = CellShares(1.0, 1, n - 1, True, 1.0, True, True)
    transfer = Transfer(None, 1, (0,), 1)  # type: ignore[arg-type]
    shares.admit(transfer)
    shares.in_cell[:] = 1
    found = []
    for look in range(num_looks):
        ahead = InterferenceAhead(links, shares, 1, 1.0)
        ahead._width = num_cells
        ahead.look(look * num_cells, [transfer])
        found.append(ahead.since(0)[:, 0])
    return np.array(found)
