"""Mobility from a file: given points in time, straight lines between them."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Sequence

from .legs import Leg, leg_between


class Trace:
    """Given points in time, straight lines between them; after the last point the node stays there."""

    def __init__(self, times_s: Sequence[float], points_m: Sequence[Sequence[float]]) -> None:
        """times_s: k increasing times, the first one 0; points_m: k points (x, y, z)."""
        if not times_s or times_s[0] != 0:
            raise ValueError(f"trace starts at {times_s[0] if times_s else None} s: it must start at 0")
        self._legs: list[Leg] = []
        before = 0.0
        for i in range(len(times_s) - 1):
            if not times_s[i + 1] > times_s[i]:
                raise ValueError(f"trace time {times_s[i + 1]} s follows {times_s[i]} s: times must increase")
            self._legs.append(leg_between(times_s[i], times_s[i + 1], points_m[i], points_m[i + 1], before))
            before += math.dist(points_m[i], points_m[i + 1])
        x, y, z = points_m[-1]
        self._legs.append(Leg(times_s[-1], math.inf, x, y, z, 0.0, 0.0, 0.0, before, 0.0))
        self._starts = [leg.start_s for leg in self._legs]
        self.max_speed_mps = max(leg.speed_mps for leg in self._legs)

    def leg_at(self, t_s: float) -> Leg:
        if t_s < 0:
            raise ValueError(f"position asked for at t = {t_s} s: time starts at 0")
        return self._legs[bisect_right(self._starts, t_s) - 1]


def read_traces(text: str, num_nodes: int, height_m: float = 1.5) -> list[Trace]:
    """The traces of nodes 0 .. num_nodes - 1 from CSV text.

    text: header `node,time_s,x_m,y_m` or `node,time_s,x_m,y_m,z_m`, then one row a point; per node the times start at 0 and
        increase; rows of different nodes may be mixed
    height_m: z where the file has no such column
    Raises ValueError with the line's number for anything else, and for a node without points.
    """
    rows = csv.reader(io.StringIO(text))
    header = [name.strip() for name in next(rows, [])]
    names = ["node", "time_s", "x_m", "y_m", "z_m"]
    if header not in (names, names[:4]):
        raise ValueError(f"trace line 1: {','.join(header)!r}; the header must be node,time_s,x_m,y_m or ...,z_m")
    times: list[list[float]] = [[] for _ in range(num_nodes)]
    points: list[list[tuple[float, float, float]]] = [[] for _ in range(num_nodes)]
    for row in rows:
        line = rows.line_num
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(f"trace line {line}: {len(row)} values where {len(header)} are needed")
        values = []
        for name, cell in zip(header, row):
            try:
                value = int(cell) if name == "node" else float(cell)
            except ValueError:
                raise ValueError(f"trace line {line}: {name} = {cell!r} is not a number") from None
            if not math.isfinite(value):
                raise ValueError(f"trace line {line}: {name} = {cell!r} is not finite")
            values.append(value)
        node, time_s = int(values[0]), values[1]
        if not 0 <= node < num_nodes:
            raise ValueError(f"trace line {line}: node {node}; nodes are 0 to {num_nodes - 1}")
        if not times[node] and time_s != 0:
            raise ValueError(f"trace line {line}: node {node} starts at {time_s} s; every node must start at 0")
        if times[node] and not time_s > times[node][-1]:
            raise ValueError(
                f"trace line {line}: node {node} at {time_s} s follows {times[node][-1]} s; times must increase"
            )
        times[node].append(float(time_s))
        points[node].append((values[2], values[3], values[4] if len(values) > 4 else height_m))
    for node in range(num_nodes):
        if not times[node]:
            raise ValueError(f"trace: node {node} has no points; nodes 0 to {num_nodes - 1} each need one at time 0")
    return [Trace(t, p) for t, p in zip(times, points)]
