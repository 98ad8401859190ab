"""Channels that the subjects measure: as the simulator builds them, with plain geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from channels.channel import Channel
from channels.mobility import Positions, Static, Trace
from channels.path_loss import FreeSpace

CARRIER_HZ = 3e9
KEY = 20240601

Ints = NDArray[np.int64]


def channel(paths: list[Any], key: int = KEY, carrier_hz: float = CARRIER_HZ, **models: Any) -> Channel:
    """Free space without shadowing and fading, one antenna a node, unless `models` says otherwise."""
    arguments: dict[str, Any] = {
        "path_loss": FreeSpace(),
        "shadowing": None,
        "fading": None,
        "antenna_gain_dbi": np.zeros(len(paths)),
        "rx_antennas": np.ones(len(paths), dtype=np.int64),
        **models,
    }
    return Channel(Positions(paths), carrier_hz, key=key, **arguments)


def standing(num_nodes: int) -> list[Any]:
    """Nodes on a line, a meter apart."""
    return [Static((float(i), 0.0, 1.5)) for i in range(num_nodes)]


def walking(num_nodes: int, speed_mps: float) -> list[Any]:
    """Nodes side by side that walk along x for three hours."""
    return [Trace([0.0, 1e4], [(0.0, float(i), 1.5), (1e4 * speed_mps, float(i), 1.5)]) for i in range(num_nodes)]


def all_pairs(num_nodes: int) -> tuple[Ints, Ints]:
    """Every unordered pair once."""
    near, far = np.triu_indices(num_nodes, 1)
    return near.astype(np.int64), far.astype(np.int64)


def between(num_near: int, num_far: int) -> tuple[Ints, Ints]:
    """Every pair of one of the first num_near nodes and one of the num_far after them."""
    near, far = np.meshgrid(np.arange(num_near), num_near + np.arange(num_far))
    return near.ravel().astype(np.int64), far.ravel().astype(np.int64)


def unit_power(world: Channel, tx: Ints, rx: Ints, t_s: Any) -> NDArray[np.float64]:
    """Gains over their local mean, [L, k], at times t_s [k]."""
    times = np.asarray(t_s, dtype=np.float64)
    mean_db = world.mean_gain_db(tx, rx, times)
    return np.asarray(world.exact_gain(tx, rx, times) / 10 ** (mean_db / 10), dtype=np.float64)
