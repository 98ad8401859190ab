"""AD-PSGD: pairs keep the sum of the models, whatever happens at the same time."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized.ad_psgd import AdPsgd
from tests.contract.recording import record, value_of
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Quadratics, golden_run, run


def test_pairs_keep_the_sum_and_agree(executor: Any) -> None:
    """No gradients: everybody ends at the mean of the starts, in whatever order the pairs met."""
    graph = nx.gnp_random_graph(7, 0.5, seed=3)
    initial = [torch.tensor([float(i * i)], dtype=torch.float64) for i in range(7)]
    task: Any = Quadratics([0] * 7, [0] * 7)
    models = run(AdPsgd(task, Float32(), 120, 0.1, 1), executor, [[i] for i in range(7)], initial, graph)
    ends = np.array([models[i][-1, 0] for i in range(7)])
    assert ends == pytest.approx([13.0] * 7, abs=1e-6)


def test_it_settles_around_the_optimum(executor: Any) -> None:
    """The mean of the models is within the size of a few steps of the optimum 3 of the sum; no device stays with its own."""
    models = golden_run(AdPsgd, executor, 400)
    assert models[200:].mean() == pytest.approx(3, abs=0.15)
    assert (np.abs(models[200:].mean(axis=0) - 3) < np.abs(np.array([1, 2, 3, 6]) - 3) + 0.05).all()


def test_pairs_keep_the_sum_while_messages_travel() -> None:
    """Simulated: messages take time, devices differ in speed and answer in the middle of their own work."""
    loaded = calm("ad_psgd", "stop.rounds=60", "algorithm.learning_rate=1e-12", "mac.kind=shared")
    result, recording = record(loaded)
    assert result.messages_sent >= 2 * 60 * 4
    last = {node: value for node, name, value in recording.reported if name == "model"}
    start = torch.stack([value_of(recording.nodes[i].initial_parameters) for i in range(6)])
    end = torch.stack([value_of(recording.nodes[i].state["x"]) for i in range(6)])
    assert len(last) == 6
    assert torch.allclose(end.mean(0), start.mean(0), atol=1e-9)
