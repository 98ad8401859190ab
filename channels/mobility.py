"""Where nodes are, as a pure function of time. One model a file:

    legs             Static, and the legs that every path is made of
    random_waypoint  RandomWaypoint in a disc or a square (Area), in its stationary law
    trace            Trace, read_traces: points from CSV text
    positions        Positions: many nodes at once, what a `Channel` asks

A path is any object with `max_speed_mps` and `leg_at(t_s) -> Leg`; `Positions` takes a list of them.
"""

from __future__ import annotations

from .legs import Leg, Path, Static, leg_between
from .positions import Positions
from .random_waypoint import Area, RandomWaypoint, RandomWaypointPath
from .trace import Trace, read_traces

__all__ = [
    "MOBILITY",
    "Area",
    "Leg",
    "Path",
    "Positions",
    "RandomWaypoint",
    "RandomWaypointPath",
    "Static",
    "Trace",
    "leg_between",
    "read_traces",
]

MOBILITY: dict[str, type] = {"static": Static, "random_waypoint": RandomWaypoint, "trace": Trace}
