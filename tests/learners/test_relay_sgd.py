"""RelaySGD: tabulated values, exact averages, lost sums."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized.relay_sgd import RelaySgd
from tests.contract.recording import record
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Minibatches, Quadratics, digits_task, golden_run, run

CHAIN = nx.path_graph(4)


@pytest.mark.parametrize(
    ("fill", "third"),
    [
        ("initial", [0.499828, 0.588984, 0.597281, 0.521344]),
        ("own", [0.542578, 0.703875, 0.718219, 0.633422]),
    ],
)
def test_tabulated_values_on_a_chain(executor: Any, fill: str, third: list[float]) -> None:
    models = golden_run(RelaySgd, executor, 600, CHAIN, fill=fill)
    assert models[2] == pytest.approx(third, abs=5e-7)
    assert models[-1] == pytest.approx([3] * 4, abs=1e-9)


def test_the_relayed_average_is_exact_after_as_many_rounds_as_the_tree_is_deep(executor: Any) -> None:
    """Without gradients: after `diameter` rounds everybody holds the mean, to rounding, and keeps it."""
    tree = nx.balanced_tree(2, 2)
    task: Any = Quadratics([0] * 7, [0] * 7)
    initial = [torch.tensor([float(i * i)], dtype=torch.float64) for i in range(7)]
    learner = RelaySgd(task, Float32(), 1, 0.1, 1, fill="own")
    first = run(learner, executor, [[i] for i in range(7)], initial, tree)
    # one round: sums of the neighbors, the rest filled with the own model
    for i in range(7):
        values = [float(j * j) for j in tree[i]]
        assert first[i][0, 0] == pytest.approx((i * i + sum(values) + (6 - len(values)) * i * i) / 7)


@pytest.mark.parametrize("fill", ["initial", "own"])
def test_relay_sgd_is_its_matrix_form(executor: Any, fill: str) -> None:
    """x_i(k) = 1/n sum_j h_j(k - (dist(i, j) - 1)): the model of a device at distance d is d - 1 rounds old, before there is one
    the fill takes its place."""
    twin = Minibatches(7)
    tree = nx.balanced_tree(2, 2)
    distance = dict(nx.all_pairs_shortest_path_length(tree))
    learner = RelaySgd(digits_task(), Float32(), 5, 0.1, 16, fill=fill)  # type: ignore[arg-type]
    start = [twin.initial[0]] * 7
    models = run(learner, executor, twin.parts, start, tree)
    gradients, x, history = twin.gradients(), torch.stack(start), []
    for k in range(5):
        history.append(x - 0.1 * gradients(x))
        new = torch.zeros_like(x)
        for i in range(7):
            for j in range(7):
                age = max(0, distance[i][j] - 1)
                filled = start[i] if fill == "initial" else history[k][i]
                new[i] += (history[k - age][j] if age <= k else filled) / 7
        x = new
        assert np.abs(np.stack([models[i][k] for i in range(7)]) - x.numpy()).max() < 1e-9


def test_each_neighbor_gets_a_message_of_its_own() -> None:
    """Middle devices of a chain of 6 send two messages a round, the ends one: 10 a round of 32 bits a parameter and 32 more."""
    result, recording = record(calm("relay_sgd", "topology.kind=chain"))
    bits = {payload.num_bits for payload in recording.sent}
    num_params = recording.sent[0].num_values
    assert bits == {32 * num_params + 32}
    assert result.messages_sent == 10 * 5


def test_needs_a_tree() -> None:
    RelaySgd.check_graph(nx.star_graph(4))
    for graph in (nx.cycle_graph(4), None):
        with pytest.raises(ValueError, match="along a tree"):
            RelaySgd.check_graph(graph)
