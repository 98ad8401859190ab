"""RelaySGD: tabulated values, exact averages, lost sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.decentralized.relay_sgd import RelaySgd
from learners.protocol import Message
from tests.contract.recording import record
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Minibatches, Quadratics, digits_task, golden_run, run
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, vector

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


def test_what_has_not_arrived_in_the_first_round_is_filled_in(executor: Any) -> None:
    """Without gradients, on a tree of 7: the models of the neighbors, the own one for all others."""
    tree = nx.balanced_tree(2, 2)
    task: Any = Quadratics([0] * 7, [0] * 7)
    initial = [torch.tensor([float(i * i)], dtype=torch.float64) for i in range(7)]
    sgd = RelaySgd(task, Float32(), 1, 0.1, 1, fill="own")
    first = run(sgd, executor, [[i] for i in range(7)], initial, tree)
    for i in range(7):
        values = [float(j * j) for j in tree[i]]
        assert first[i][0, 0] == pytest.approx((i * i + sum(values) + (6 - len(values)) * i * i) / 7)


@dataclass
class OfSix(HandNode):
    num_devices: int = 6


@pytest.mark.parametrize("fill", ["initial", "own"])
def test_a_lost_sum_is_left_out_with_its_count(fill: str) -> None:
    """Of 6 devices this one has the neighbors 1 and 2; h = x - 0.1 (x - (1, 2, 3)). In round 0 both sums arrive, of 3 and 2 models;
    in round 1 that of 1 is lost. Each message holds h and what the other one sent in the round before."""
    hand = Hand(learner(RelaySgd, num_rounds=3, fill=fill).program(OfSix()))

    def sent() -> list[tuple[int, list[float], float]]:
        return [(send.to, send.payload.data[0].tolist(), float(send.payload.data[1])) for send in hand.sent[-2:]]

    def half(x: Tensor) -> Tensor:
        return 0.9 * x + 0.1 * vector(1, 2, 3)

    def average(h: Tensor, sums: Tensor, count: int) -> Tensor:
        return (h + sums + (5 - count) * (vector(0, 0, 0) if fill == "initial" else h)) / 6

    def close(values: Tensor) -> Any:
        return pytest.approx(values.tolist(), abs=1e-12)

    h = half(vector(0, 0, 0))
    assert sent() == [(1, close(h), 1), (2, close(h), 1)]
    hand.answer(
        Message(1, "sum", 0, (vector(3, 0, 3), torch.tensor(3))),
        Message(2, "sum", 0, (vector(2, 4, 0), torch.tensor(2))),
    )
    x = average(h, vector(5, 4, 3), 5)
    assert hand.reports[0].tolist() == close(x)
    h = half(x)
    assert sent() == [(1, close(h + vector(2, 4, 0)), 3), (2, close(h + vector(3, 0, 3)), 4)]
    hand.answer(Message(2, "sum", 1, (vector(1, 1, 1), torch.tensor(2))), missing=(1,))
    x = average(h, vector(1, 1, 1), 2)
    assert hand.reports[1].tolist() == close(x)
    h = half(x)
    assert sent() == [(1, close(h + vector(1, 1, 1)), 3), (2, close(h), 1)]


@pytest.mark.parametrize("fill", ["initial", "own"])
def test_relay_sgd_is_its_matrix_form(executor: Any, fill: str) -> None:
    """x_i(k) = 1/n sum_j h_j(k - (dist(i, j) - 1)): the model of a device at distance d is d - 1 rounds old, before there is one
    the fill takes its place."""
    twin = Minibatches(7)
    tree = nx.balanced_tree(2, 2)
    distance = dict(nx.all_pairs_shortest_path_length(tree))
    sgd = RelaySgd(digits_task(), Float32(), 5, 0.1, 16, fill=fill)  # type: ignore[arg-type]
    start = [twin.initial[0]] * 7
    models = run(sgd, executor, twin.parts, start, tree)
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
