"""Pairs of nodes that may hear each other: a search whose work grows with the pairs found, not with all pairs.

What is looked for are the pairs whose local mean gain is at least a bound. The fields that shadow a pair and decide on its line
of sight are known at both ends before any pair is looked at (`channels.shadowing`: a pair's value is the scaled sum of its
ends'), so each node has a potential: the most that it can add to the gain of any of its links. Nodes are sorted into classes of
potential, each with a spatial index; two classes are searched as far as the least path loss allows for the sum of their
potentials, an exponent or more below what the luckiest pair of all would need. What is found is narrowed by the pair's own
fields: without a chance of line of sight the loss without it counts. No bound is statistical, every pair that qualifies is kept;
what remains besides is left to the caller, who evaluates the gains.

Taken for granted of a path loss model: with the distance its losses do not fall and its P(LOS) does not rise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ndtr

from .path_loss.line_of_sight import LosModel
from .path_loss.model import PathLoss, optional

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEW_NODES = 500  # up to here one class
FEW_PAIRS = 1 << 12  # up to here nothing is narrowed: that would cost as much as the gains
CLASS_DB = 3.0
SLACK_DB = 1e-6  # rounding of the bounds
_LEAST_SCALE, _MOST_SCALE = 0.5, 0.5**0.5  # of `shadowing.pair_scale`, at distance 0 and far away


@dataclass(frozen=True)
class NodeBounds:
    """What holds at n nodes around a time; arrays [n].

    place_m: [n, 3] at the time; drift_m: how much nearer the ends of a pair may be at the grid points around it
    antennas_db: gain of a node's antenna
    los_db, nlos_db: the most that a node's shadowing adds with and without line of sight, before the scale of a pair
    los_state: the least of the field that decides on line of sight; None where there is no such state
    """

    place_m: Floats
    drift_m: float
    antennas_db: Floats
    los_db: Floats
    nlos_db: Floats
    los_state: Floats | None

    @property
    def potential_db(self) -> Floats:
        """[n] the most that a node adds to the gain of a link."""
        return self.antennas_db + _most_scaled(np.maximum(self.los_db, self.nlos_db))


def near_pairs(
    bounds: NodeBounds,
    model: PathLoss,
    carrier_hz: float,
    min_gain_db: float,
    reach_m: float,
    distance_of_loss_m: Callable[[float], float],
) -> Ints:
    """[num_pairs, 2] indices into the nodes, a < b, in order: all pairs at most reach_m apart whose gain may be min_gain_db.

    distance_of_loss_m: the largest distance at which the least loss is at most so many dB
    """
    found = []
    for a, b in _within_reach(bounds, min_gain_db, reach_m, distance_of_loss_m):
        if a.size > FEW_PAIRS:
            may = _may_have(bounds, model, carrier_hz, min_gain_db, a, b)
            a, b = a[may], b[may]
        found.append((a, b))
    a, b = (np.concatenate(ends) for ends in zip(*found, strict=True))
    first, second = np.minimum(a, b), np.maximum(a, b)
    order = np.argsort(first * len(bounds.place_m) + second)
    return np.stack([first[order], second[order]], axis=1)


def _within_reach(
    bounds: NodeBounds, min_gain_db: float, reach_m: float, distance_of_loss_m: Callable[[float], float]
) -> Iterator[tuple[Ints, Ints]]:
    """Pairs near enough for the potentials of their classes, [k] and [k] of two classes at a time."""
    place_m = bounds.place_m
    if len(place_m) <= FEW_NODES:
        yield _columns(cKDTree(place_m).query_pairs(reach_m, output_type="ndarray"))
        return
    level = np.ceil(bounds.potential_db / CLASS_DB).astype(np.int64)
    classes = [(int(k), np.flatnonzero(level == k)) for k in np.unique(level)]
    trees = [cKDTree(place_m[members]) for _, members in classes]
    radius_m = {
        k: min(reach_m, distance_of_loss_m(k * CLASS_DB - min_gain_db + SLACK_DB) + bounds.drift_m)
        for k in {one + other for one, _ in classes for other, _ in classes}
    }
    for i, j in combinations_with_replacement(range(len(classes)), 2):
        (one, members), (other, others) = classes[i], classes[j]
        if i == j:
            a, b = _columns(trees[i].query_pairs(radius_m[one + one], output_type="ndarray"))
            yield members[a], members[b]
        else:
            entries = trees[i].sparse_distance_matrix(trees[j], radius_m[one + other], output_type="ndarray")
            yield members[entries["i"]], others[entries["j"]]


def _columns(pairs: Ints) -> tuple[Ints, Ints]:
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


def _may_have(
    bounds: NodeBounds, model: PathLoss, carrier_hz: float, min_gain_db: float, a: Ints, b: Ints
) -> NDArray[np.bool_]:
    """[k] whether the bounds of pairs allow the gain."""
    x_m, y_m, z_m = bounds.place_m.T
    ground_m = np.maximum(np.sqrt((x_m[a] - x_m[b]) ** 2 + (y_m[a] - y_m[b]) ** 2) - bounds.drift_m, 0.0)
    needed_db = min_gain_db - SLACK_DB - (bounds.antennas_db[a] + bounds.antennas_db[b])
    los_db = _most_scaled(bounds.los_db[a] + bounds.los_db[b])
    nlos_db = _most_scaled(bounds.nlos_db[a] + bounds.nlos_db[b])
    state = bounds.los_state
    if state is None or not isinstance(model, LosModel) or optional(model, "spread_correlation_m") is not None:
        return np.asarray(np.maximum(los_db, nlos_db) - model.least_loss_db(ground_m, carrier_hz) >= needed_db)
    near_m, far_m = np.zeros((a.size, 3)), np.zeros((a.size, 3))
    far_m[:, 0] = ground_m
    near_m[:, 2], far_m[:, 2] = z_m[a], z_m[b]
    los_loss_db, nlos_loss_db = model.losses_db(near_m, far_m, carrier_hz, None)
    los_may = ndtr(_least_scaled(state[a] + state[b])) < model.los_probability(near_m, far_m)
    return np.asarray((nlos_db - nlos_loss_db >= needed_db) | (los_may & (los_db - los_loss_db >= needed_db)))


def _most_scaled(value: Floats) -> Floats:
    """The most that values [...] become with any scale of a pair."""
    return np.maximum(value * _LEAST_SCALE, value * _MOST_SCALE)


def _least_scaled(value: Floats) -> Floats:
    return np.minimum(value * _LEAST_SCALE, value * _MOST_SCALE)
