"""Files that a scenario refers to: graphs, mixing matrices and movement traces, plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from learners.mixing import FILE
from wsim.errors import ScenarioError
from wsim.scenario.messages import nearest, shown
from wsim.scenario.root import Scenario

MAX_BYTES = 256 * 2**20


def read(path: Path, shown_name: str) -> str:
    """The text of a file, or a ScenarioError that says why there is none."""
    try:
        if path.exists() and not path.is_file():
            raise ScenarioError(f"{shown_name}: cannot be read: it is no ordinary file")
        if path.stat().st_size > MAX_BYTES:
            raise ScenarioError(f"{shown_name}: larger than {MAX_BYTES // 2**20} MiB, this is no scenario text")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        others = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ScenarioError(f"{shown_name}: no such file{nearest(path.name, others)}") from None
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{shown_name}: not UTF-8 text (byte {error.start})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ScenarioError(f"{shown_name}: cannot be read: {reason}") from None


def referenced(scenario: Scenario, source: str, directory: Path, known: dict[str, str]) -> dict[str, str]:
    """Texts of all files that the scenario uses, by name; relative names start at the scenario's directory.

    known: texts that need not be read again.
    """
    texts: dict[str, str] = {}
    if scenario.topology.kind == "file":
        name = scenario.topology.own["file"]
        texts[name] = (
            known[name] if name in known else read(directory / name, f"{source} [topology] file = {shown(name)}")
        )
    name = scenario.topology.mixing_matrix
    if name is not None and scenario.algorithm.hyperparameters.get("mixing_weights") == FILE:
        label = f"{source} [topology] mixing_matrix = {shown(name)}"
        texts[name] = known[name] if name in known else read(directory / name, label)
    for index, group in enumerate(scenario.devices):
        if group.mobility.kind == "trace":
            name = group.mobility.own["file"]
            label = f"{source} [devices.{index}.mobility] file = {shown(name)}"
            texts[name] = known[name] if name in known else read(directory / name, label)
        if group.churn.kind == "schedule" and group.churn.file is not None:
            name = group.churn.file
            label = f"{source} [devices.{index}.churn] file = {shown(name)}"
            texts[name] = known[name] if name in known else read(directory / name, label)
        if group.compute.jitter == "trace" and group.compute.jitter_file is not None:
            name = group.compute.jitter_file
            label = f"{source} [devices.{index}.compute] jitter_file = {shown(name)}"
            texts[name] = known[name] if name in known else read(directory / name, label)
    return texts


def edges(text: str, name: str, num_devices: int, directed: bool = False) -> list[tuple[int, int]]:
    """The edges of a graph file: two device numbers a line, from 0; # starts a comment.

    Returns each edge once, sorted: undirected ones as (lower, higher). Raises ScenarioError naming file and line.
    """
    found: set[tuple[int, int]] = set()
    for line, fields in lines(text):
        if len(fields) != 2 or not all(item.isascii() and item.isdigit() and len(item) < 10 for item in fields):
            raise ScenarioError(f'{name} line {line}: has to be two device numbers, such as "0 1"')
        a, b = (int(item) for item in fields)
        if max(a, b) >= num_devices:
            says = f"device {max(a, b)} does not exist, devices are 0 to {num_devices - 1}"
            raise ScenarioError(f"{name} line {line}: {says}")
        if a == b:
            raise ScenarioError(f"{name} line {line}: device {a} is joined to itself")
        found.add((a, b) if directed else (min(a, b), max(a, b)))
    return sorted(found)


def unreached(pairs: list[tuple[int, int]], num_devices: int, directed: bool = False) -> tuple[int, int] | None:
    """A device and another one to which it has no path, or None where the graph is (strongly) connected."""
    reverse = [(b, a) for a, b in pairs]
    for arcs, away in ((reverse, False), (pairs, True)) if directed else (((*pairs, *reverse), False),):
        lost = _not_reached(arcs, num_devices)
        if lost is not None:
            return (0, lost) if away else (lost, 0)
    return None


def _not_reached(arcs: Iterable[tuple[int, int]], num_devices: int) -> int | None:
    """The lowest device to which no path leads from device 0."""
    following: dict[int, list[int]] = {}
    for a, b in arcs:
        following.setdefault(a, []).append(b)
    reached, todo = {0}, [0]
    while todo:
        for other in following.get(todo.pop(), []):
            if other not in reached:
                reached.add(other)
                todo.append(other)
    return next((node for node in range(num_devices) if node not in reached), None)


def churn(text: str, name: str, count: int) -> dict[int, list[tuple[float, str]]]:
    """Comings and goings of a churn file: "node t_s join" or "node t_s leave" a line, comma or blank between; # starts a comment.

    node counts from 0 within its group of `count`; one without a line stays all the time. Returns {node: [(t_s, what), ...]} in
    increasing time, in turns. Raises ScenarioError naming file and line.
    """
    events: dict[int, list[tuple[float, str]]] = {}
    for line, fields in lines(text):
        try:
            node, time_s, what = int(fields[0]), float(fields[1]), fields[2]
        except (ValueError, IndexError):
            raise ScenarioError(
                f'{name} line {line}: has to be node t_s join or node t_s leave, such as "0 12.5 leave"'
            ) from None
        if len(fields) != 3 or what not in ("join", "leave") or not 0 <= time_s <= 1e9:
            raise ScenarioError(f"{name} line {line}: has to be node t_s join or node t_s leave, t_s from 0 to 1e9")
        if not 0 <= node < count:
            raise ScenarioError(f"{name} line {line}: node {node} does not exist, the group has 0 to {count - 1}")
        own = events.setdefault(node, [])
        if own and time_s <= own[-1][0]:
            raise ScenarioError(f"{name} line {line}: times of node {node} have to increase")
        if own and what == own[-1][1]:
            raise ScenarioError(f"{name} line {line}: node {node} has {'joined' if what == 'join' else 'left'} already")
        own.append((time_s, what))
    return events


def lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers, from 1, and the fields between commas and blanks; # starts a comment."""
    for line, content in enumerate(text.splitlines(), start=1):
        fields = content.partition("#")[0].replace(",", " ").split()
        if fields:
            yield line, fields
