"""Stochastic gradient push: directed averaging, and mass that losses do not take along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float16 import Float16
from learners.compression.float32 import Float32
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.sgp import Sgp
from learners.executors import EagerExecutor
from tests.contract.recording import Recording, record, value_of
from tests.contract.test_survival import walks
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Minibatches, Overheard, Quadratics, digits_task, golden_run, run
from wsim.engine import simulate
from wsim.errors import ScenarioError

DIRECTED = nx.DiGraph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 1), (4, 0), (2, 4)])


def push_matrix(graph: nx.DiGraph) -> Tensor:
    """P: columns share out evenly."""
    p = torch.zeros(len(graph), len(graph), dtype=torch.float64)
    for j in graph:
        for i in (j, *graph.successors(j)):
            p[i, j] = 1 / (1 + graph.out_degree(j))
    return p


@pytest.mark.parametrize("recovers", [True, False])
def test_averaging_over_one_way_links_reaches_the_mean(executor: Any, recovers: bool) -> None:
    """No gradients: z_i -> mean of the starts, although rows of P do not sum to 1."""
    initial = [torch.tensor([float(x)], dtype=torch.float64) for x in (1, 5, -2, 8, 3)]
    task: Any = Quadratics([0] * 5, [0] * 5)
    learner = Sgp(task, Float32(), 120, 0.1, 1, recovers=recovers)
    models = run(learner, executor, [[i] for i in range(5)], initial, DIRECTED)
    assert [models[i][-1, 0] for i in range(5)] == pytest.approx([3] * 5, abs=1e-9)


@pytest.mark.parametrize("recovers", [True, False])
def test_sgp_is_its_matrix_form(executor: Any, recovers: bool) -> None:
    """X <- P (X - lr G(Z)), v <- P v, Z = X / v."""
    twin = Minibatches(5)
    learner = Sgp(digits_task(), Float32(), 5, 0.1, 16, recovers=recovers)
    models = run(learner, executor, twin.parts, twin.initial, DIRECTED)
    p, gradients, x = push_matrix(DIRECTED), twin.gradients(), torch.stack(twin.initial)
    v, z = torch.ones(5, 1, dtype=torch.float64), x
    for k in range(5):
        x, v = p @ (x - 0.1 * gradients(z)), p @ v
        z = x / v
        assert np.abs(np.stack([models[i][k] for i in range(5)]) - z.numpy()).max() < 1e-9


def test_on_a_regular_graph_it_is_diffusion(executor: Any) -> None:
    """Degrees are equal: v stays 1, and the shares are the weights of D-PSGD in the form adapt, then combine."""
    sgp = golden_run(Sgp, executor, 30)
    assert sgp == pytest.approx(golden_run(Dpsgd, executor, 30, form="atc"), abs=1e-12)


def test_messages_are_the_model_and_one_weight() -> None:
    result, recording = record(calm("sgp", "topology={kind='exponential'}", "algorithm.recovers=false"))
    num_params = recording.nodes[0].task.num_params
    assert {payload.num_bits for payload in recording.sent} == {32 * (num_params + 1)}
    assert result.messages_sent == 6 * 3 * 5  # distances 1, 2 and 4
    assert not sum(result.messages_lost.values())


def test_codecs_that_round_are_for_shares_and_not_for_sums() -> None:
    """The sums of 400 rounds are 400 times a share: float16 would round them by more than what 3.0 and 2.9 differ. Shares keep their
    size, and the error of the limit is that of one message."""
    with pytest.raises(ValueError, match=r"^codec = Float16: .* float32, or recovers = false"):
        Sgp(digits_task(), Float16(), 1)
    exact = golden_run(Sgp, EagerExecutor(), 400, recovers=False)[-1]
    assert golden_run(Sgp, EagerExecutor(), 400, recovers=False, codec=Float16())[-1] == pytest.approx(exact, abs=0.01)
    with pytest.raises(ScenarioError, match=r'\[algorithm\] name = "sgp": .* recovers = false.*; codec = "float16"'):
        calm("sgp", "codec.name=float16")


@pytest.mark.parametrize("recovers", [True, False])
def test_losses_take_no_mass_along(recovers: bool) -> None:
    """Three of ten packets are lost, and training stops after the first round: everybody's z ends at the mean of the models
    after that round, to what is still on its way. Without recovery the mass that is lost bends the mean."""
    codec = Overheard()
    keys = ["topology={kind='ring', directed=true}", "stop.rounds=150", "channel.forced_loss={rate=0.3}"]
    loaded = calm("sgp", *keys, "transport.reliability=none", "algorithm.deadline_s=0.4")
    recorder = Recording(
        Sgp(
            None,  # type: ignore[arg-type]
            codec,
            150,
            learning_rate_schedule="step",
            decay_rounds=1,
            decay_factor=1e-12,
            deadline_s=0.4,
            recovers=recovers,
        )
    )

    def make(task: Any, *_: Any) -> Recording:
        recorder.learner = replace(recorder.learner, task=task)
        return recorder

    result = simulate(loaded, learner=make)
    assert sum(result.messages_lost.values()) > 150
    first = {}
    for node, share in codec.sent:
        first.setdefault(node, 2 * value_of(share)[:-1])  # the first share: half of a model, its weight 1 / 2
    mean = torch.stack(list(first.values())).mean(0)
    ends = torch.stack([value_of(value) for _, name, value in recorder.reported if name == "model"][-6:])
    spread = float(torch.stack(list(first.values())).sub(mean).norm())
    error = float((ends - mean).norm()) / spread
    assert error < 1e-6 if recovers else error > 1e-2


ONE_ROUND_OF_TRAINING = [
    "algorithm.learning_rate_schedule=step",
    "algorithm.decay_rounds=1",
    "algorithm.decay_factor=1e-12",
]


def test_one_peer_exponential_graph_averages_exactly() -> None:
    """8 devices, one message each and round: halves of halves of halves are the mean of all after 3 rounds, but not after 2."""
    keys = ["topology.kind=one_peer_exponential", "devices.0.count=8", "stop.rounds=3", *ONE_ROUND_OF_TRAINING]
    result, recording = record(calm("sgp", *keys, "algorithm.exchange=unicast"))
    assert result.messages_sent == result.messages_delivered_used == 8 * 3
    reported = [
        [value_of(value) for node, name, value in recording.reported if (node, name) == (i, "model")] for i in range(8)
    ]
    spreads = [float(torch.stack([models[k] for models in reported]).std(0).max()) for k in range(3)]
    assert min(spreads[:2]) > 1e-3
    assert spreads[2] < 1e-9


def test_comings_and_goings_take_no_mass_along(tmp_path: Path) -> None:
    """Everybody leaves and returns, some twice, and comes back rounds behind."""
    events = [
        (0, 0.03, 0.09),
        (3, 0.05, 0.2),
        (1, 0.06, 0.1),
        (5, 0.08, 0.3),
        (2, 0.15, 0.25),
        (4, 0.2, 0.4),
        (0, 0.3, 0.35),
    ]
    file = tmp_path / "churn.csv"
    file.write_text("\n".join(f"{i} {out} leave\n{i} {back} join" for i, out, back in events))
    assert_mass_is_kept(150, f'devices.0.churn={{kind="schedule", file="{file}"}}')


def test_a_graph_that_falls_apart_and_heals_takes_no_mass_along(tmp_path: Path) -> None:
    """While a fifth of all packets is lost."""
    losses = ["channel.forced_loss={rate=0.2}", "transport.reliability=none", "algorithm.deadline_s=0.05"]
    assert_mass_is_kept(60, *walks(tmp_path / "walk.csv"), *losses)


def assert_mass_is_kept(num_rounds: int, *keys: str) -> None:
    """Training stops after the first round, some messages are lost: everybody's z ends at the mean of the models after that round."""
    codec = Overheard()
    loaded = calm("sgp", *keys, f"stop.rounds={num_rounds}")
    deadline_s = loaded.scenario.algorithm.hyperparameters.get("deadline_s")
    training = {"learning_rate_schedule": "step", "decay_rounds": 1, "decay_factor": 1e-12}
    recorder = Recording(Sgp(None, codec, num_rounds, deadline_s=deadline_s, **training))  # type: ignore[arg-type]

    def make(task: Any, *_: Any) -> Recording:
        recorder.learner = replace(recorder.learner, task=task)
        return recorder

    result = simulate(loaded, learner=make)
    assert result.messages_delivered_used < result.messages_sent
    first: dict[int, Tensor] = {}
    for node, share in codec.sent:
        first.setdefault(node, value_of(share)[:-1] / value_of(share)[-1])
    mean = torch.stack(list(first.values())).mean(0)
    assert len(first) == 6
    ends = torch.stack([value_of(value) for _, name, value in recorder.reported if name == "model"][-6:])
    spread = float(torch.stack(list(first.values())).sub(mean).norm())
    assert float((ends - mean).norm()) < 1e-6 * spread
