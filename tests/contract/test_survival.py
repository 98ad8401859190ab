"""Every learner goes on where a neighbor dies, and where its graph falls apart into two halves and heals.

A fifth of all packets lost: see `test_loss`; comings and goings, batteries: `test_churn`.
"""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from tests.contract.learning import LEARNING, assert_books_close, assert_half_is_learned
from tests.contract.recording import Trace, record
from tests.contract.worlds import MANY, SENDERS, calm, has_key, says
from wsim.record import RunRecord

BETWEEN_DEVICES = [name for name in MANY if not says(name, "uses_server", False)]
HALF = {0, 1, 2}
"""Of 6 devices."""
LEAVES_S, IS_BACK_S = 0.15, 0.3
"""Runs take 0.8 s and longer."""


@pytest.mark.parametrize("learner", MANY)
def test_learner_goes_on_without_a_neighbor_that_died(learner: str, tmp_path: Path) -> None:
    """Device 2 is gone for good after a fifth of the run."""
    file = tmp_path / "churn.csv"
    file.write_text(f"2 {LEAVES_S} leave")
    run, recording = record(calm(learner, *LEARNING, f'devices.0.churn={{kind="schedule", file="{file}"}}'))
    assert run.stop_reason == "rounds"
    assert_books_close(run)
    assert_half_is_learned(learner, run, recording)
    models = [node for node, name, _ in recording.reported if name == "model"]
    if not says(learner, "uses_server", False):
        assert models.count(2) < 8 == models.count(1)


@pytest.mark.parametrize("learner", BETWEEN_DEVICES)
def test_learner_goes_on_when_its_graph_falls_apart_and_heals(learner: str, tmp_path: Path) -> None:
    """Three of six devices walk away and come back; on fixed graphs, those that join two halves are away for a while. The halves
    hear each other before and after."""
    if says(learner, "fixed_graph", False):
        joining = (3,) if learner == "relay_sgd" else (0, 3)  # of a chain, of a ring
        file = tmp_path / "churn.csv"
        file.write_text("\n".join(f"{i} {LEAVES_S} leave\n{i} {IS_BACK_S} join" for i in joining))
        keys = [f'devices.0.churn={{kind="schedule", file="{file}"}}']
    else:
        keys = [*walks(tmp_path / "walk.csv"), "output.topology_every_s=0.1"]
        if has_key(learner, "deadline_s"):
            keys.append("algorithm.deadline_s=0.15")
    run, recording = record(calm(learner, *LEARNING, *keys))
    assert run.stop_reason == "rounds"
    assert_books_close(run)
    assert_half_is_learned(learner, run, recording)
    if not says(learner, "fixed_graph", False):
        pieces = [pieces_at(run, snapshot) for snapshot in range(len(run.snapshot_time_s))]
        assert pieces[0] == pieces[-1] == 1
        assert max(pieces) == 2
    if learner in SENDERS:
        heard = heard_from_the_other_half(recording.traces)
        assert heard[0] > 0
        assert heard[-1] > 0


def walks(file: Path) -> list[str]:
    """Keys of the walk, which is written to `file`."""
    file.write_text("\n".join(lines(i) for i in range(6)))
    return [
        f'devices.0.mobility={{kind="trace", file="{file}"}}',
        'topology={kind="radio", neighbor_mean_snr_db=50.0, update_every_s=0.02}',
        "area.side_m=1000.0",
    ]


def lines(i: int) -> str:
    """Points of device i on a line, 10 m from each other; those of the second half are 200 m away for a while."""
    x_m = 10.0 * i - 25.0
    away_m = x_m if i in HALF else x_m + 200.0
    times = [(0.0, x_m), (LEAVES_S - 0.05, x_m), (LEAVES_S, away_m), (IS_BACK_S, away_m), (IS_BACK_S + 0.05, x_m)]
    return "\n".join(f"{i},{time_s},{place_m},0" for time_s, place_m in times)


def pieces_at(run: RunRecord, snapshot: int) -> int:
    graph = nx.empty_graph(run.num_devices)
    graph.add_edges_from(run.edges[run.edge_snapshot == snapshot].tolist())
    return nx.number_connected_components(graph)


def heard_from_the_other_half(traces: Trace) -> tuple[int, int]:
    """Messages from the other half among the first and the last third of what each device received."""
    early = late = 0
    for node, trace in traces.items():
        heard = [line[1] for line in trace if line[0] == "received"]
        others = [sum((sender in HALF) != (node in HALF) for sender in senders) for senders in heard]
        third = len(others) // 3
        early, late = early + sum(others[:third]), late + sum(others[-third:])
    return early, late
