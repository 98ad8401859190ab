"""Everything that a scenario can name: our own lists, and what installed plug-ins add to them.

A plug-in is any installed distribution with an entry point in one of the groups below:

    [project.entry-points."wsim.learners"]
    pairwise = "my_package.pairwise:Pairwise"

Its names are known from the distribution's metadata; its code is imported when a scenario names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from channels.registry import FADINGS, MOBILITIES, PATH_LOSSES, SHADOWINGS
from learners import registry
from wsim.graphs.registry import TOPOLOGIES
from wsim.mac.registry import MACS
from wsim.summaries import summary


@dataclass(frozen=True)
class Kind:
    """noun: in messages. group: of entry points, None for what plug-ins cannot add to. built_in: name -> "module:attribute"."""

    noun: str
    group: str | None
    built_in: Mapping[str, str]


KINDS = {
    "learner": Kind("algorithm", "wsim.learners", registry.LEARNERS),
    "codec": Kind("codec", "wsim.codecs", registry.CODECS),
    "model": Kind("model", "wsim.models", registry.MODELS),
    "dataset": Kind("data set", "wsim.datasets", registry.DATASETS),
    "partition": Kind("partition", "wsim.partitions", registry.PARTITIONS),
    "path_loss": Kind("path loss", "wsim.path_losses", PATH_LOSSES),
    "shadowing": Kind("shadowing", None, SHADOWINGS),
    "fading": Kind("fading", None, FADINGS),
    "mobility": Kind("mobility", None, MOBILITIES),
    "mac": Kind("medium access", "wsim.macs", MACS),
    "topology": Kind("topology", "wsim.topologies", TOPOLOGIES),
}


LISTED = {  # the kinds behind each word of `wsim list`
    "learners": ("learner",),
    "channels": ("path_loss", "shadowing", "fading"),
    "mobilities": ("mobility",),
    "macs": ("mac",),
    "topologies": ("topology",),
    "codecs": ("codec",),
    "data": ("dataset",),
    "models": ("model",),
    "partitions": ("partition",),
}


@lru_cache
def entries(kind: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Where each name of a kind comes from, our own first. More than one place is a clash."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    group = KINDS[kind].group or ""
    for name, value in KINDS[kind].built_in.items():
        found[name] = (EntryPoint(name, value, group),)
    plug_ins = entry_points(group=group) if group else ()
    for plug_in in sorted(plug_ins, key=lambda entry: (entry.name, entry.value)):
        known = found.get(plug_in.name, ())
        if plug_in not in known:  # a distribution may lie on the path twice
            found[plug_in.name] = (*known, plug_in)
    return found


def names_of(kind: str) -> list[str]:
    """All names of a kind, plug-ins included, without importing any."""
    return list(entries(kind))


def summaries(kind: str) -> dict[str, str]:
    """One line about each item of a kind, without importing any."""
    modules = Counter(entry.module for other in KINDS for found in entries(other).values() for entry in found)
    return {name: summary(found[0], modules[found[0].module] == 1) for name, found in entries(kind).items()}


def is_plug_in(kind: str, name: str) -> bool:
    return name not in KINDS[kind].built_in


def find(kind: str, name: str) -> Any:
    """The class or function of this name. Raises ValueError, one line: an unknown name, a name that is taken twice, a
    plug-in that cannot be imported."""
    found = entries(kind).get(name)
    if found is None:
        near = get_close_matches(name, entries(kind), n=1)
        hint = f" ({near[0]}?)" if near else ""
        raise ValueError(f"unknown {KINDS[kind].noun}{hint}, known: {', '.join(sorted(entries(kind)))}")
    if len(found) > 1:
        places = " and ".join(f"{entry.value} of {_origin(entry)}" for entry in found)
        raise ValueError(f"{KINDS[kind].noun} {name} is registered twice, as {places}; one of them has to go")
    try:
        item = found[0].load()
    except Exception as error:
        if not is_plug_in(kind, name):
            raise
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{found[0].value} of plug-in {_origin(found[0])} cannot be imported: {why}") from error
    if not callable(item):
        raise ValueError(f"{found[0].value} of plug-in {_origin(found[0])} is neither a class nor a function")
    return item


def importable(kind: str) -> dict[str, Any]:
    """All items of a kind but those that cannot be imported, which are an error where they are named."""
    items = {}
    for name in names_of(kind):
        try:
            items[name] = find(kind, name)
        except ValueError:
            continue
    return items


def _origin(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "wsim"
