"""Where nodes are, as a pure function of time. One model a file:

    legs             the legs that every path is made of
    static           Static
    random_waypoint  RandomWaypoint, in its stationary law
    gauss_markov     GaussMarkov: a velocity that remembers itself
    manhattan        Manhattan: along the streets of a grid
    trace_file       TraceFile: from CSV, SUMO or BonnMotion files
    area             Area: the disc or square where random paths run
    positions        Positions: many nodes at once, what a `Channel` asks

A model is a frozen dataclass with its keys as fields and `path(rng) -> Path`, or `path(rng, start_m)` where the node starts at
its place (`chooses_start` is false). A path is any object with `max_speed_mps` and `leg_at(t_s) -> Leg`; `Positions` takes a
list of them.
"""

from __future__ import annotations

from .area import Area
from .gauss_markov import GaussMarkov
from .legs import ForwardPath, Leg, Path, leg_between
from .manhattan import Manhattan
from .positions import Positions
from .random_waypoint import RandomWaypoint
from .static import Static
from .trace import Trace
from .trace_file import TraceFile

__all__ = [
    "Area",
    "ForwardPath",
    "GaussMarkov",
    "Leg",
    "Manhattan",
    "Path",
    "Positions",
    "RandomWaypoint",
    "Static",
    "Trace",
    "TraceFile",
    "leg_between",
]
