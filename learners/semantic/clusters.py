"""Clusters of devices that together hold all classes, and the turns that their members take.

    clusters    an ordered list of ordered lists of devices: each covers all classes, each device is in one at least
    S_i         in how many of them device i is; more than one: it is a replica in the others
    turns       cluster by cluster in the order of the lists; a round has one a place

    greedy        open a cluster; the device in no cluster yet that adds most missing classes joins it, at equal numbers the first; where
                  none of those adds any, the device in a cluster already that adds most; until all classes are covered; the next
    enumeration   fewest replicas, of those most clusters, of those the first; clusters in which no device is spare, but one where it
                  fits no other

The reference code has its clusters by hand and a divisor "Si" that is 1 there; both rules and the meaning of S_i are reconstructed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Literal

import numpy as np

Clusters = tuple[tuple[int, ...], ...]
ClusterRule = Literal["greedy", "enumeration"]
Held = tuple[frozenset[int], ...]
"""The classes of each device."""

LARGEST_ENUMERATION = 8
"""Devices: of so many there are 255 sets."""


def held_classes(class_counts: np.ndarray) -> Held:
    """Of class_counts [num_devices, num_classes]."""
    return tuple(frozenset(np.flatnonzero(counts).tolist()) for counts in np.asarray(class_counts))


@lru_cache(maxsize=16)
def clusters_of(rule: ClusterRule | Clusters, held: Held, num_classes: int) -> Clusters:
    """By a rule, or the given ones. Raises ValueError that names what is missing where no cluster covers all classes, or a given one
    does not, names an unknown device, or leaves one out, and where a device has no class."""
    given = f"clusters = {shown(rule)}"
    missing = set(range(num_classes)) - set().union(*held)
    if missing:
        raise ValueError(
            f"{given}: no device holds {_classes(missing)}, so no cluster covers all {num_classes} classes; deal them to somebody"
        )
    if frozenset() in held:
        raise ValueError(
            f"{given}: device {held.index(frozenset())} holds no samples, so it is of no use to any cluster; deal it some"
        )
    if rule == "greedy":
        return _greedy(held, num_classes)
    if rule == "enumeration":
        return _fewest_replicas(held, num_classes)
    _check_given(rule, held, num_classes)
    return rule


def shown(rule: ClusterRule | Clusters) -> str:
    return rule if isinstance(rule, str) else str([list(members) for members in rule])


def _check_given(clusters: Clusters, held: Held, num_classes: int) -> None:
    given = f"clusters = {shown(clusters)}"
    for members in clusters:
        unknown = [device for device in members if not 0 <= device < len(held)]
        if unknown:
            raise ValueError(f"{given}: there is no device {unknown[0]}; 0 to {len(held) - 1}")
        missing = set(range(num_classes)).difference(*(held[device] for device in members))
        if missing:
            raise ValueError(f"{given}: in {list(members)} nobody holds {_classes(missing)}")
    left_out = [device for device in range(len(held)) if not any(device in members for members in clusters)]
    if left_out:
        raise ValueError(f"{given}: device {left_out[0]} is in none; every device is in one at least")


def _classes(missing: Collection[int]) -> str:
    return f"class{'es' if len(missing) > 1 else ''} {', '.join(map(str, sorted(missing)))}"


def _greedy(held: Held, num_classes: int) -> Clusters:
    unplaced, clusters = list(range(len(held))), []
    while unplaced:
        missing, members = set(range(num_classes)), []
        while missing:
            joins = max(unplaced, key=lambda i: len(held[i] & missing), default=-1)
            if joins < 0 or not held[joins] & missing:
                joins = max(range(len(held)), key=lambda i: len(held[i] & missing))
            else:
                unplaced.remove(joins)
            members.append(joins)
            missing -= held[joins]
        clusters.append(tuple(members))
    return tuple(clusters)


def _fewest_replicas(held: Held, num_classes: int) -> Clusters:
    n = len(held)
    if n > LARGEST_ENUMERATION:
        raise ValueError(
            f'clusters = enumeration: for {LARGEST_ENUMERATION} devices at most, and there are {n}; "greedy", or a list'
        )
    fitting = [
        members
        for size in range(1, n + 1)
        for members in combinations(range(n), size)
        if _covers(members, held, num_classes) and _num_spare(members, held, num_classes) <= 1
    ]
    found: list[tuple[int, int, Clusters]] = []

    def extend(clusters: Clusters, size: int, placed: frozenset[int]) -> None:
        if found and size > found[0][0]:
            return
        if len(placed) == n:
            found.append((size, -len(clusters), clusters))
            found[:] = [min(found)]
            return
        first = min(set(range(n)) - placed)
        for members in fitting:
            if first in members:
                extend((*clusters, members), size + len(members), placed | set(members))

    extend((), 0, frozenset())
    return found[0][2]


def _covers(members: Sequence[int], held: Held, num_classes: int) -> bool:
    return len(frozenset().union(*(held[i] for i in members))) == num_classes


def _num_spare(members: Sequence[int], held: Held, num_classes: int) -> int:
    """How many of them the cluster could do without, one at a time."""
    return sum(_covers([i for i in members if i != spare], held, num_classes) for spare in members)


@lru_cache(maxsize=16)
def turns_of(clusters: Clusters) -> Turns:
    """One object for all devices."""
    return Turns(clusters)


@dataclass(frozen=True)
class Turns:
    """The turns of a round, all clusters' in one order: turn t is that of device `owners[t]`."""

    clusters: Clusters

    @cached_property
    def owners(self) -> tuple[int, ...]:
        return tuple(device for members in self.clusters for device in members)

    @cached_property
    def others(self) -> tuple[tuple[int, ...], ...]:
        """Of each turn, the other members of its cluster, ascending."""
        return tuple(tuple(sorted(set(members) - {device})) for members in self.clusters for device in members)

    def num_clusters(self, device: int) -> int:
        """S_i."""
        return self.owners.count(device)

    def mates(self, device: int) -> tuple[int, ...]:
        """The other devices of its clusters, ascending."""
        together = {mate for members in self.clusters if device in members for mate in members}
        return tuple(sorted(together - {device}))

    def of(self, device: int) -> list[int]:
        """The turns that concern a device: its own and its mates', ascending."""
        concerned = {device, *self.mates(device)}
        return [turn for turn, owner in enumerate(self.owners) if owner in concerned]
