"""All-reduce: exact means, bit-equal at all devices, at the price of the ring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized.all_reduce import AllReduce
from tests.contract.recording import record, value_of
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Minibatches, digits_task, golden_run, run


def test_everybody_takes_the_mean_gradient_step(executor: Any) -> None:
    """The optimum of the sum is 3, the curvature 1: x <- x - 0.1 (x - 3)."""
    models = golden_run(AllReduce, executor, 100)
    assert models[:, 0] == pytest.approx(3 - 3 * 0.9 ** np.arange(1, 101), abs=1e-12)
    assert (models == models[:, :1]).all()


def test_all_reduce_is_its_matrix_form(executor: Any) -> None:
    twin = Minibatches(6)
    learner = AllReduce(digits_task(), Float32(), 5, 0.1, 16)
    models = run(learner, executor, twin.parts, twin.initial, nx.cycle_graph(6))
    gradients, x = twin.gradients(), torch.stack(twin.initial)
    for k in range(5):
        x = (x - 0.1 * gradients(x)).mean(0, keepdim=True).expand_as(x)
        rows = np.stack([models[i][k] for i in range(6)])
        assert np.abs(rows - x.numpy()).max() < 1e-12
        assert (rows == rows[0]).all()


def test_price_of_the_ring() -> None:
    """2 (n - 1) pieces of ceil(M / n) numbers of 32 bits, and 32 bits each for a count."""
    result, recording = record(calm("all_reduce"))
    num_params = recording.nodes[0].task.num_params
    assert result.messages_sent == 5 * 6 * 10
    assert {payload.num_bits for payload in recording.sent} == {32 * -(-num_params // 6) + 32}


def test_needs_a_ring() -> None:
    for graph in (nx.cycle_graph(5), nx.complete_graph(5), nx.cycle_graph(5, nx.DiGraph)):
        AllReduce.check_graph(graph)
    for graph in (nx.path_graph(5), None):
        with pytest.raises(ValueError, match="around a ring"):
            AllReduce.check_graph(graph)


def test_the_ring_closes_again_after_an_absence(tmp_path: Path) -> None:
    """While a device is away the others have averages over fewer; some rounds after its return all are equal to the last bit."""
    file = tmp_path / "churn.csv"
    file.write_text("2 0.03 leave\n2 0.15 join")
    result, recording = record(
        calm("all_reduce", f'devices.0.churn={{kind="schedule", file="{file}"}}', "stop.rounds=60")
    )
    assert result.stop_reason == "rounds"
    reported = [
        [value_of(value) for node, name, value in recording.reported if (node, name) == (i, "model")] for i in range(6)
    ]
    assert len(reported[2]) < 60
    assert any(not torch.equal(one, other) for one, other in zip(reported[0], reported[1], strict=True))
    assert all(torch.equal(reported[i][-1], reported[0][-1]) for i in range(6))
