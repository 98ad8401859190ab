"""Gains of Doppler-fading links, without a simulation around them."""

from __future__ import annotations

import time

import numpy as np

from channels.channel import Channel
from channels.fading import Rayleigh
from channels.mobility import Area, Positions, RandomWaypoint, Static
from channels.path_loss import FreeSpace

NUM_LINKS, NUM_CELLS = 1_000, 1_000


def measure() -> dict[str, float]:
    """CPU seconds of a million gains: each of 1,000 walkers to one station, over 1,000 cells of the Doppler grid, everything
    included (movement, path loss, waves), with nothing looked up before."""
    walk = RandomWaypoint(Area("disc", 300.0), (1.0, 2.0))
    paths = [walk.path(np.random.default_rng([1, i])) for i in range(NUM_LINKS)]
    channel = Channel(
        Positions([*paths, Static((0.0, 0.0, 10.0))]),
        carrier_hz=3.5e9,
        path_loss=FreeSpace(),
        shadowing=None,
        fading=Rayleigh("doppler"),
        antenna_gain_dbi=np.zeros(NUM_LINKS + 1),
        rx_antennas=np.ones(NUM_LINKS + 1, dtype=np.int64),
        key=1,
        base_station=NUM_LINKS,
    )
    tx, rx = np.arange(NUM_LINKS), np.full(NUM_LINKS, NUM_LINKS)
    channel.gain(tx[:10], rx[:10], 0, 10)  # imports
    start = time.process_time()
    gains = channel.gain(tx, rx, 0, NUM_CELLS)
    return {"cpu_s": time.process_time() - start, "gains": float(gains.size)}
