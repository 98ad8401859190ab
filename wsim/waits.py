"""Who has waited for whom: from the programs of a run to the columns of its record, and sums for tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from learners.protocol import SERVER
from wsim.clock import NS_PER_S
from wsim.record import ANYONE, PROGRAM_STATES, RunRecord

if TYPE_CHECKING:
    from wsim.driver.runner import Runner


def columns(runners: Iterable[Runner], server_index: int) -> dict[str, Any]:
    """The fields of a `RunRecord` that begin with `wait_`, sorted by who waits, then by for whom; of several programs of a node the
    sums."""
    rows: dict[tuple[int, int], Sequence[int]] = {}
    for runner in runners:
        for id, sums in runner.waits.by_awaited.items():
            awaited = ANYONE if id is None else server_index if id == SERVER else id
            key = runner.node.index, awaited
            rows[key] = [a + b for a, b in zip(rows.get(key, (0, 0, 0)), sums, strict=True)]
    table = np.array([(*key, *rows[key]) for key in sorted(rows)], dtype=np.int64).reshape(-1, 5)
    nodes, awaited_nodes, ns, counts, deadline_counts = np.ascontiguousarray(table.T)
    return {
        "wait_node": nodes,
        "wait_awaited": awaited_nodes,
        "wait_s": ns / NS_PER_S,
        "wait_count": counts,
        "wait_deadline_count": deadline_counts,
    }


def waited_s(record: RunRecord) -> np.ndarray:
    """[num_nodes] seconds that each node has waited."""
    return np.bincount(record.wait_node, record.wait_s, len(record.node_names))


def by_name_s(record: RunRecord) -> np.ndarray:
    """[num_nodes] seconds of these for certain nodes."""
    return np.bincount(record.wait_node, record.wait_s * (record.wait_awaited != ANYONE), len(record.node_names))


def for_anyone_s(record: RunRecord) -> np.ndarray:
    """[num_nodes] seconds of these for nobody in particular."""
    return np.bincount(record.wait_node, record.wait_s * (record.wait_awaited == ANYONE), len(record.node_names))


def receiving_s(record: RunRecord) -> np.ndarray:
    """[num_nodes] seconds that the programs of each node were receiving: what `waited_s` must be, to the nanosecond."""
    seconds = record.program_s[:, PROGRAM_STATES.index("receiving")]
    return np.bincount(record.program_node, seconds, len(record.node_names))


def longest(record: RunRecord) -> list[tuple[int, float] | None]:
    """Of each node, for which it has waited longest (the lowest of equals), and seconds; None where it has waited for none by
    name."""
    found: list[tuple[int, float] | None] = [None] * len(record.node_names)
    for node, awaited, seconds in zip(
        record.wait_node.tolist(), record.wait_awaited.tolist(), record.wait_s.tolist(), strict=True
    ):
        best = found[node]
        if awaited != ANYONE and (best is None or seconds > best[1]):
            found[node] = awaited, seconds
    return found
