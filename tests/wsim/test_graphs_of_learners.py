"""Graphs that a learner cannot work on are refused in one line, and those it is made for are not."""

from __future__ import annotations

import pytest

from tests.contract.worlds import calm
from wsim.engine import simulate
from wsim.errors import ScenarioError

ONE_PEER = 'topology.kind="one_peer_exponential"'
RING = "topology={kind='ring', directed=true}"


@pytest.mark.parametrize(
    ("learner", "topology", "words"),
    [
        ("relay_sgd", "topology.kind=ring", ['[algorithm] name = "relay_sgd"', "tree", '"chain"', '"binary_tree"']),
        ("relay_sgd", "topology.kind=radio", ['[topology] kind = "radio"', "changes", "relay_sgd"]),
        ("relay_sgd", RING, ["directed = true", "both ways"]),
        ("all_reduce", "topology.kind=chain", ['[algorithm] name = "all_reduce"', "ring", "i + 1", '"complete"']),
        ("all_reduce", "topology.kind=radio", ['[topology] kind = "radio"', "changes", "all_reduce"]),
        ("all_reduce", ONE_PEER, ['kind = "one_peer_exponential"', "changes", "all_reduce"]),
        ("choco", RING, ["directed = true", "choco is for links that work both ways"]),
        ("ad_psgd", RING, ["directed = true", "ad_psgd is for links that work both ways"]),
        ("ad_psgd", ONE_PEER, ['kind = "one_peer_exponential"', "both ways"]),
        ("d2", "algorithm.form=d2", ['[algorithm] form = "d2"', "-1/3"]),
    ],
)
def test_graphs_that_are_refused(learner: str, topology: str, words: list[str]) -> None:
    with pytest.raises(ScenarioError) as refused:
        simulate(calm(learner, topology), "null")
    for word in words:
        assert word in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("mac", ["ideal", "shared"])
@pytest.mark.parametrize(
    ("learner", "topology"),
    [
        ("sgp", RING),
        ("sgp", "topology.kind=exponential"),  # among 6 devices some are neighbors in both directions
        ("sgp", ONE_PEER),
        ("all_reduce", RING),
        ("all_reduce", "topology.kind=exponential"),
        ("relay_sgd", "topology.kind=binary_tree"),
    ],
)
def test_graphs_that_they_are_made_for(learner: str, topology: str, mac: str) -> None:
    record = simulate(calm(learner, topology, f"mac.kind={mac}"), "null")
    assert record.stop_reason == "rounds"
    assert record.messages_delivered_used == record.messages_sent > 0
