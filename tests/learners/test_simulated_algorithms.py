"""The algorithms through the simulator, over its air and by its executors, against slow plain twins on the same draws.

The twins share the random streams (split, first weights, graph, minibatches) with the run and nothing else: a module, autograd and
an optimizer instead of ops on flat vectors, a matrix instead of messages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.data.digits import digits
from learners.data.partitions import dirichlet
from learners.models.mlp import Mlp
from tests.contract.recording import Recording, record
from tests.contract.worlds import calm
from wsim.graphs.kind import Given
from wsim.graphs.random import ErdosRenyi
from wsim.streams import Streams

NUM_DEVICES = 5
NUM_ROUNDS = 5
NUM_HIDDEN = 12
BATCH_SIZE = 16
LEARNING_RATE = 0.1
SEED = 1
KEYS = [
    "data.name=digits",
    "data.partition=dirichlet",
    "data.alpha=0.5",
    f"model.hidden=[{NUM_HIDDEN}]",
    f"devices.0.count={NUM_DEVICES}",
    f"stop.rounds={NUM_ROUNDS}",
    f"algorithm.batch_size={BATCH_SIZE}",
    f"algorithm.learning_rate={LEARNING_RATE}",
    f"scenario.seed={SEED}",
]


class Twin:
    """What a researcher would write: one module whose parameters are loaded, trained and read back."""

    def __init__(self) -> None:
        self.streams = Streams(SEED)
        data = digits(self.streams("split"), test_fraction=0.2)
        self.inputs = torch.tensor(data.train_inputs, dtype=torch.float64).flatten(1)
        self.labels = torch.tensor(data.train_labels)
        self.shards = dirichlet(data.train_labels, NUM_DEVICES, self.streams("partition"), alpha=0.5)
        initial = Mlp((64,), 10, (NUM_HIDDEN,)).initial(self.streams("initial_parameters", 0))
        self.start = torch.tensor(initial, dtype=torch.float64)
        layers = nn.Linear(64, NUM_HIDDEN), nn.ReLU(), nn.Linear(NUM_HIDDEN, 10)
        self.model = nn.Sequential(*layers).to(torch.float64)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)
        self.draws = [Draws(shard, self.streams("batches", i)) for i, shard in enumerate(self.shards)]

    def train(self, x: Tensor, batches: list[np.ndarray]) -> Tensor:
        """x after one SGD step on each minibatch."""
        nn.utils.vector_to_parameters(x.clone(), self.model.parameters())
        for batch in batches:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(self.inputs[batch]), self.labels[batch]).backward()
            self.optimizer.step()
        return nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()

    def gradient(self, x: Tensor, batch: np.ndarray) -> Tensor:
        nn.utils.vector_to_parameters(x.clone(), self.model.parameters())
        loss = nn.functional.cross_entropy(self.model(self.inputs[batch]), self.labels[batch])
        return nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(self.model.parameters())))


@dataclass
class Draws:
    """One device's minibatches."""

    shard: np.ndarray
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.queue = self.shard[:0]

    def steps(self, num: int) -> list[np.ndarray]:
        """Full batches from reshuffled passes."""
        while len(self.queue) < num * BATCH_SIZE:
            self.queue = np.concatenate([self.queue, self.rng.permutation(self.shard)])
        taken, self.queue = self.queue[: num * BATCH_SIZE], self.queue[num * BATCH_SIZE :]
        return np.split(taken, num)

    def epochs(self, num: int) -> list[np.ndarray]:
        """Full passes; the last batch of each may be smaller."""
        passes = [self.rng.permutation(self.shard) for _ in range(num)]
        return [order[at : at + BATCH_SIZE] for order in passes for at in range(0, len(order), BATCH_SIZE)]


@pytest.mark.parametrize("executor", ["batched", "eager"])
@pytest.mark.parametrize("work", ["local_steps=3", "local_epochs=2"])
def test_fedavg_equals_a_plain_torch_loop(work: str, executor: str) -> None:
    keys = ["mac.kind=fdma", "devices.0.mobility.kind=random_waypoint", "devices.0.mobility.speed_mps=[1.0, 2.0]"]
    run, recording = record(calm("fedavg", *KEYS, *keys, f"algorithm.{work}"), executor)
    served = [value for (node, _, _), value in zip(recording.reported, recording.models()) if node == -1]

    twin = Twin()
    sizes = torch.tensor([len(shard) for shard in twin.shards], dtype=torch.float64)
    assert sizes.max() > 2 * sizes.min()
    w, num = twin.start, int(work[-1])
    assert len(served) == NUM_ROUNDS
    for k in range(NUM_ROUNDS):
        batches = [d.steps(num) if work.startswith("local_steps") else d.epochs(num) for d in twin.draws]
        trained = torch.stack([twin.train(w, device) for device in batches])
        w = (sizes[:, None] * trained).sum(0) / sizes.sum()
        assert float((served[k] - w).abs().max()) < 1e-9, f"round {k}"
    assert float((w - twin.start).abs().max()) > 0.05
    assert run.accuracy[-1] == pytest.approx(accuracy(twin, w), abs=1e-12)


def accuracy(twin: Twin, x: Tensor) -> float:
    data = digits(Streams(SEED)("split"), test_fraction=0.2)
    nn.utils.vector_to_parameters(x.clone(), twin.model.parameters())
    predicted = twin.model(torch.tensor(data.test_inputs, dtype=torch.float64).flatten(1)).argmax(1)
    return float((predicted == torch.tensor(data.test_labels)).double().mean())


@pytest.mark.parametrize("exchange", ["broadcast", "unicast"])
@pytest.mark.parametrize("executor", ["batched", "eager"])
def test_dpsgd_equals_its_matrix_form(executor: str, exchange: str) -> None:
    """X <- W X - lr G, row i of G the gradient of device i at its old model; W: Metropolis weights of an irregular graph."""
    keys = ["topology.kind=erdos_renyi", "topology.probability=0.5", f"algorithm.exchange={exchange}"]
    _, recording = record(calm("dpsgd", *KEYS, *keys, "algorithm.local_steps=1"), executor)
    models = by_device(recording)

    twin, w = graph_twin()
    x = twin.start.repeat(NUM_DEVICES, 1)
    for k in range(NUM_ROUNDS):
        g = torch.stack([twin.gradient(x[i], draws.steps(1)[0]) for i, draws in enumerate(twin.draws)])
        x = w @ x - LEARNING_RATE * g
        assert float((models[:, k] - x).abs().max()) < 1e-12, f"round {k}"
    assert float((x[0] - x[1]).abs().max()) > 1e-3, "all models are equal: the mixing was not tested"


def test_dpsgd_with_several_steps_equals_its_matrix_form() -> None:
    """X <- W X', row i of X' device i's model after 3 local steps."""
    keys = ["topology.kind=erdos_renyi", "topology.probability=0.5"]
    _, recording = record(calm("dpsgd", *KEYS, *keys, "algorithm.local_steps=3"))
    models = by_device(recording)
    twin, w = graph_twin()
    x = twin.start.repeat(NUM_DEVICES, 1)
    for k in range(NUM_ROUNDS):
        x = w @ torch.stack([twin.train(x[i], draws.steps(3)) for i, draws in enumerate(twin.draws)])
        assert float((models[:, k] - x).abs().max()) < 1e-12, f"round {k}"


def test_dpsgd_keeps_its_momentum_and_follows_its_schedule() -> None:
    """V <- 0.9 V + G, X <- W X - lr_k V: buffers stay where they are while the models are mixed; lr_k: a rise of two rounds."""
    keys = ["topology.kind=erdos_renyi", "topology.probability=0.5", "algorithm.local_steps=1"]
    keys += ["algorithm.momentum=0.9", "algorithm.warmup_rounds=2"]
    _, recording = record(calm("dpsgd", *KEYS, *keys))
    models = by_device(recording)
    twin, w = graph_twin()
    x = twin.start.repeat(NUM_DEVICES, 1)
    v = torch.zeros_like(x)
    for k in range(NUM_ROUNDS):
        v = 0.9 * v + torch.stack([twin.gradient(x[i], draws.steps(1)[0]) for i, draws in enumerate(twin.draws)])
        x = w @ x - LEARNING_RATE * min(1.0, (k + 1) / 3) * v
        assert float((models[:, k] - x).abs().max()) < 1e-12, f"round {k}"


def graph_twin() -> tuple[Twin, Tensor]:
    """The twin and W [num_devices, num_devices] of the run's graph, which is irregular: W_ij = 1 / (1 + max(d_i, d_j))."""
    twin = Twin()
    graph = ErdosRenyi(0.5).graph(Given(NUM_DEVICES, twin.streams("graph"), np.zeros((NUM_DEVICES, 3))))
    degree = dict(graph.degree)
    assert len(set(degree.values())) > 1
    w = torch.zeros(NUM_DEVICES, NUM_DEVICES, dtype=torch.float64)
    for i, j in graph.edges:
        w[i, j] = w[j, i] = 1 / (1 + max(degree[i], degree[j]))
    return twin, w + torch.diag(1 - w.sum(1))


def by_device(recording: Recording) -> Tensor:
    """[num_devices, num_rounds, num_params] reported models."""
    rows: list[list[Tensor]] = [[] for _ in range(NUM_DEVICES)]
    for (node, _, _), value in zip(recording.reported, recording.models()):
        rows[node].append(value)
    return torch.stack([torch.stack(row) for row in rows])
