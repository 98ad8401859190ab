"""Mobility from a file: CSV, SUMO's floating car data or BonnMotion.

Says which of its nodes are the devices, from when on, and what counts as a hole.
A device stands at its first point until that time, and stays at its last one: who enters or leaves a SUMO simulation has no
other place to be. Let it join and leave by churn, or take the vehicles that are there the longest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from .bounds import Bounds, DurationS
from .trace import Trace
from .trace_formats import FORMATS, Point, Points, format_of

CoordinateM = Annotated[float, Bounds(-1e9, 1e9, "coordinates are in m")]
TimeS = Annotated[float, Bounds(0.0, 1e9, "times are in s")]
FASTEST_MPS = 1e4
"""Of a trace: above, a point is wrong. The grid of the local mean is as fine as the fastest node needs, for all nodes."""


@dataclass(frozen=True)
class TraceFile:
    """Trace from a file: CSV, SUMO's floating car data (.xml) or BonnMotion (.movements), straight lines between its points.

    file: of the trace; a relative name starts at the scenario's folder.
    format: auto goes by the file's ending.
    pick: all means that the file has exactly the group's devices; longest takes those that are there the longest after start_s.
    start_s: the file's time at which the run begins.
    offset_m: added to x and y; the area is centered on the origin.
    max_gap_s: points of a node that lie further apart are a hole, and refused. So is, in any case, a leap at more than 10 km/s.
    """

    chooses_start: ClassVar[bool] = True

    file: str
    format: Literal["auto", "csv", "sumo_fcd", "bonnmotion"] = "auto"
    pick: Literal["all", "longest"] = "all"
    start_s: TimeS = 0.0
    offset_m: tuple[CoordinateM, CoordinateM] = (0.0, 0.0)
    max_gap_s: DurationS | None = None

    def paths(self, text: str, num_nodes: int, height_m: float) -> list[Trace]:
        """The paths of a group's devices from the text of the file.

        height_m: z where the file gives none; where it does, SUMO's is that of the road, and height_m is added.
        Raises ValueError, one line, for a damaged file, a hole, and a number of nodes that does not suit.
        """
        kind = format_of(self.file) if self.format == "auto" else self.format
        points = FORMATS[kind](text)
        if not points:
            raise ValueError("holds no point of any node")
        chosen = self._chosen(points, num_nodes, kind == "csv")
        end_s = max(own[-1][0] for _, own in chosen)
        if end_s < self.start_s:
            raise ValueError(f"ends at {end_s:g} s, before start_s = {self.start_s:g}")
        above_m = height_m if kind == "sumo_fcd" else 0.0
        return [self._path(name, own, height_m, above_m) for name, own in chosen]

    def _chosen(self, points: Points, num_nodes: int, numbered: bool) -> list[tuple[str, list[Point]]]:
        if self.pick == "longest":
            ends = {name: own[-1][0] - max(own[0][0], self.start_s) for name, own in points.items()}
            present = [name for name, duration_s in ends.items() if duration_s >= 0]
            if len(present) < num_nodes:
                says = f"{len(present)} nodes have points after start_s = {self.start_s:g}"
                raise ValueError(f"{says}, the group has {num_nodes} devices")
            longest = sorted(present, key=lambda name: -ends[name])[:num_nodes]
            return [(name, points[name]) for name in points if name in set(longest)]
        if numbered:
            for name in points:
                if int(name) >= num_nodes:
                    raise ValueError(f"node {name} does not exist, the group has 0 to {num_nodes - 1}")
            for node in range(num_nodes):
                if str(node) not in points:
                    raise ValueError(f"node {node} has no point; the group has 0 to {num_nodes - 1}")
            return [(str(node), points[str(node)]) for node in range(num_nodes)]
        if len(points) != num_nodes:
            says = f"holds {len(points)} nodes, the group has {num_nodes} devices"
            raise ValueError(f'{says}; count = {len(points)}, or pick = "longest"')
        return list(points.items())

    def _path(self, name: str, own: list[Point], height_m: float, above_m: float) -> Trace:
        for point, following in zip(own, own[1:]):
            speed_mps = math.dist(point[1:3], following[1:3]) / (following[0] - point[0])
            if speed_mps > FASTEST_MPS:
                says = f"goes at {speed_mps:.4g} m/s from {point[0]:g} s to {following[0]:g} s; at most {FASTEST_MPS:g} m/s"
                raise ValueError(f"node {name} {says} (x and y in m, times in s?)")
        if self.max_gap_s is not None:
            for (t, *_), (later, *_) in zip(own, own[1:]):
                if later - t > self.max_gap_s:
                    says = f"a hole of more than max_gap_s = {self.max_gap_s:g}"
                    raise ValueError(f"node {name} has no point between {t:g} s and {later:g} s: {says}")
        dx, dy = self.offset_m
        times = [t - self.start_s for t, *_ in own]
        places = [(x + dx, y + dy, height_m if math.isnan(z) else z + above_m) for _, x, y, z in own]
        later = next((i for i, t in enumerate(times) if t > 0), len(times))
        if later == 0:  # it stands at its first point until then
            return Trace([0.0, *times], [places[0], *places])
        before = later - 1
        if times[before] == 0.0 or later == len(times):
            here = places[before]
        else:
            share = -times[before] / (times[later] - times[before])
            x, y, z = (a + share * (b - a) for a, b in zip(places[before], places[later]))
            here = (x, y, z)
        return Trace([0.0, *times[later:]], [here, *places[later:]])
