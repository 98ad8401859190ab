"""The algorithms as wholes, over the loopback network: fixed points, matrix forms, tabulated values.

Every test runs with the plain tensors of the eager executor and with the deferred values of the batched one.
"""

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.gossip import Gossip
from learners.federated.fedavg import FedAvg
from learners.mixing import mixing_matrix
from learners.protocol import SERVER
from tests.learners.oracle_runs import Minibatches, Quadratics, digits_task, golden_run, run, zeros


def test_fedavg_drifts_to_the_fixed_point_of_two_quadratics(executor: Any) -> None:
    """a = (1, 3), b = (0, 4), rate 0.1, 10 full-gradient steps: a client contracts by (1 - 0.1 a)^10 to its own optimum, so
    x* = sum b_i c_i / sum c_i with c_i = 1 - (1 - 0.1 a_i)^10, not the optimum 3 of the sum."""
    learner = FedAvg(Quadratics([1, 3], [0, 4]), Float32(), 20, 0.1, 1, local_steps=10)  # type: ignore[arg-type]
    models = run(learner, executor, [[0], [1]], zeros(2))[SERVER][:, 0]
    assert models[:3] == pytest.approx([1.943505, 2.309784, 2.378814], abs=5e-7)
    contraction = 1 - (1 - 0.1 * np.array([1, 3])) ** 10
    limit = contraction @ [0, 4] / contraction.sum()
    assert limit == pytest.approx(2.394844, abs=5e-7)
    assert models[-1] == pytest.approx(limit, abs=1e-12)


def test_fedavg_with_one_full_batch_step_is_gradient_descent_on_the_weighted_loss(executor: Any) -> None:
    """FedSGD: devices with 1 and 3 samples; the mean of all four samples' losses has its optimum at mean b = 4."""
    task: Any = Quadratics([1, 1, 1, 1], [1, 3, 5, 7])
    learner = FedAvg(task, Float32(), 5, 0.1, 3, local_epochs=1)
    models = run(learner, executor, [[0], [1, 2, 3]], zeros(2))[SERVER][:, 0]
    assert models == pytest.approx(4 * (1 - 0.9 ** np.arange(1, 6)), abs=1e-12)


def test_dpsgd_has_the_tabulated_values_on_a_ring_of_four(executor: Any) -> None:
    """f_i = (x - b_i)^2 / 2, b = (1, 2, 3, 6), rate 0.1, mixing weights 1/3; values worked out outside this code."""
    models = golden_run(Dpsgd, executor)
    assert models[2] == pytest.approx([0.608778, 0.630889, 0.866333, 1.146000], abs=5e-7)
    assert models[-1] == pytest.approx([2.799798, 2.808898, 3.060667, 3.330637], abs=5e-7)


def test_adapting_before_combining_has_the_tabulated_values(executor: Any) -> None:
    """The form "atc", without and with Nesterov's momentum (DSGDm-N, a buffer of the device's own); values as above."""
    models = golden_run(Dpsgd, executor, form="atc")
    assert models[2] == pytest.approx([0.793000, 0.694000, 0.885667, 0.879333], abs=5e-7)
    assert models[-1] == pytest.approx([2.978022, 2.879121, 3.073260, 3.069597], abs=5e-7)
    models = golden_run(Dpsgd, executor, 1000, form="atc", momentum=0.9, nesterov=True)
    assert models[2] == pytest.approx([1.972677, 1.637606, 2.256538, 2.205327], abs=5e-7)
    assert models[-1] == pytest.approx([3, 2, 11 / 3, 10 / 3], abs=5e-7)


@pytest.mark.parametrize("graph", [nx.random_regular_graph(4, 10, seed=1), nx.gnp_random_graph(10, 0.35, seed=4)])
def test_dpsgd_is_its_matrix_form(executor: Any, graph: nx.Graph) -> None:
    """X <- W X - lr G(X), all devices as rows of one matrix."""
    world = Minibatches()
    models = world.models(Dpsgd(digits_task(), Float32(), 5, 0.1, 16), executor, graph)

    gradients, matrix, x = world.gradients(), torch.tensor(mixing_matrix(graph)), torch.stack(world.initial)
    for k in range(5):
        x = matrix @ x - 0.1 * gradients(x)
        assert np.abs(models[k] - x.numpy()).max() < 1e-12


def test_dpsgd_keeps_the_average_on_its_path(executor: Any) -> None:
    """Equal gradients at the optimum of everybody: with a doubly stochastic W the mean of the models obeys
    mean <- mean - lr * mean gradient, here 0.9 mean + 0.1 b, on an irregular graph."""
    graph = nx.gnp_random_graph(8, 0.4, seed=2)
    initial = [torch.tensor([float(i)], dtype=torch.float64) for i in range(8)]
    learner = Dpsgd(Quadratics([1] * 8, [5] * 8), Float32(), 6, 0.1, 1)  # type: ignore[arg-type]
    models = run(learner, executor, [[i] for i in range(8)], initial, graph)
    means = np.mean([models[i][:, 0] for i in range(8)], axis=0)
    assert means == pytest.approx(5 + (3.5 - 5) * 0.9 ** np.arange(1, 7), abs=1e-12)


@pytest.mark.parametrize("merge", ["mean", "age"])
def test_gossip_contracts_to_the_common_optimum(executor: Any, merge: str) -> None:
    """All devices share the optimum 5. Training contracts a device's distance to it by 0.9, merging is convex, and a model
    that is merged was trained at most one period earlier: so the largest distance H obeys H(t + 1) <= 0.9 H(t - 1)."""
    task: Any = Quadratics([1] * 6, [5] * 6)
    learner = Gossip(task, Float32(), 100, 0.1, 1, period_s=1.0, merge=merge)
    initial = [torch.tensor([float(i)], dtype=torch.float64) for i in range(6)]
    models = run(learner, executor, [[i] for i in range(6)], initial, nx.cycle_graph(6))
    distance = np.abs(np.array([models[i][:, 0] for i in range(6)]) - 5)
    assert distance[:, -1].max() <= 5 * 0.9**49


def test_gossip_spreads_what_only_others_know(executor: Any) -> None:
    """Different optima: alone, every device goes to its own; exchanging, all get near the mean of all."""
    task: Any = Quadratics([1] * 6, [0, 0, 0, 10, 10, 10])
    learner = Gossip(task, Float32(), 200, 0.01, 1, period_s=1.0)
    models = run(learner, executor, [[i] for i in range(6)], zeros(6), nx.complete_graph(6))
    last = np.array([models[i][-1, 0] for i in range(6)])
    assert np.ptp(last) < 1
    assert 2 < last.mean() < 8
