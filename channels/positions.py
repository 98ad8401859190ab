"""A fleet: the positions of many nodes as a pure function of time, vectorized over nodes.

The leg that every node was on when last asked about is kept in arrays, so that a query within those legs is a handful of
array operations; nodes outside them look their leg up one by one. Which leg is kept changes the cost, never the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .legs import Leg, Path

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_START, _END, _X, _VX, _TRAVELLED, _SPEED = 0, 1, 2, 5, 8, 9  # columns of a Leg


class Positions:
    """The paths of nodes 0 .. num_nodes - 1.

    max_speed_mps: largest speed of any node, at any time
    max_speeds_mps: [num_nodes] the same for each; 0 marks a node that never moves
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self.num_nodes = len(self._paths)
        self.max_speeds_mps = np.array([path.max_speed_mps for path in self._paths], dtype=np.float64)
        self.max_speed_mps = float(self.max_speeds_mps.max(initial=0.0))
        self.is_static = self.max_speeds_mps == 0
        self._legs = np.array([path.leg_at(0.0) for path in self._paths], dtype=np.float64).reshape(
            -1, len(Leg._fields)
        )

    def at(self, nodes: Ints, t_s: float | Floats) -> Floats:
        """Positions x, y, z in m. nodes: [n]; t_s: a time gives [n, 3], times [k] give [n, k, 3]."""
        nodes = np.asarray(nodes)
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        legs = self._lookup(nodes, times)  # [n or n * k, 10]
        elapsed = self._elapsed(legs, times)
        points = legs[..., _X : _X + 3] + legs[..., _VX : _VX + 3] * elapsed[..., None]
        return points[:, 0] if np.ndim(t_s) == 0 else points

    def travelled_m(self, nodes: Ints, t_s: float | Floats) -> Floats:
        """Length of the path since t = 0, in m. nodes: [n]; t_s: a time gives [n], times [k] give [n, k]."""
        nodes = np.asarray(nodes)
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        legs = self._lookup(nodes, times)
        travelled = legs[..., _TRAVELLED] + legs[..., _SPEED] * self._elapsed(legs, times)
        return travelled[:, 0] if np.ndim(t_s) == 0 else travelled

    @staticmethod
    def _elapsed(legs: Floats, times: Floats) -> Floats:
        elapsed: Floats = times - legs[..., _START]
        return elapsed

    def _lookup(self, nodes: Ints, times: Floats) -> Floats:
        """The legs of nodes [n] at times [k]: [n, 1, 10] where each node stays on one leg, else [n, k, 10]."""
        if times.size == 0:
            return self._legs[nodes][:, None, :]
        first, last = float(times.min()), float(times.max())
        if first < 0:
            raise ValueError(f"position asked for at t = {first} s: time starts at 0")
        legs = self._legs[nodes]
        outside = (legs[:, _START] > first) | (legs[:, _END] <= last)
        if not outside.any():
            return legs[:, None, :]
        changed = np.flatnonzero(outside)
        for i in changed.tolist():
            self._legs[nodes[i]] = self._paths[nodes[i]].leg_at(first)
        legs = self._legs[nodes]
        if not (legs[changed, _END] <= last).any():
            return legs[:, None, :]
        wide = np.repeat(legs[:, None, :], times.size, axis=1)
        for i in np.flatnonzero(legs[:, _END] <= last).tolist():
            wide[i] = self._legs_over(int(nodes[i]), times)
        return wide

    def _legs_over(self, node: int, times: Floats) -> Floats:
        """The legs of one node at times [k], in any order: [k, 10]."""
        order = np.argsort(times, kind="stable")
        sorted_times = times[order]
        out = np.empty((times.size, len(Leg._fields)))
        i = 0
        while i < times.size:
            leg = self._paths[node].leg_at(float(sorted_times[i]))
            j = int(np.searchsorted(sorted_times, leg.end_s, side="left"))
            out[order[i:j]] = leg
            i = j
        self._legs[node] = out[order[-1]]
        return out
