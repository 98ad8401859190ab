"""What a kind of topology is, and those without a graph of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import networkx as nx
import numpy as np


@dataclass(frozen=True)
class Given:
    """What a graph may be made from. places_m: [num_devices, 3] of the devices at the start. edges: of a file, in its order."""

    num_devices: int
    rng: np.random.Generator
    places_m: np.ndarray
    edges: Sequence[tuple[int, int]] = ()


class TopologyKind(Protocol):
    """See the package."""

    directed: bool

    def check(self, num_devices: int) -> None: ...

    def graph(self, given: Given) -> nx.Graph: ...


@dataclass(frozen=True)
class Star:
    """Every device's neighbor is the server."""

    directed: ClassVar[bool] = False


@dataclass(frozen=True)
class Radio:
    """Who is in range now, by the local mean SNR with hysteresis."""

    directed: ClassVar[bool] = False
    changes: ClassVar[bool] = True


def needs_at_least(least: int, num_devices: int) -> None:
    """ValueError, of the kind itself, where there are too few devices."""
    if num_devices < least:
        raise ValueError(f"kind = {least}: needs at least {least} devices, there are {num_devices}")
