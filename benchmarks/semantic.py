"""A plain torch loop of semantic distributed learning, Algorithm I, as one would write it without a simulator: node after node.

The problem is that of benchmarks/semantic_10.toml. The class second moments of a batch are one product of matrices, and all
log-determinants of a node one batched call; nothing goes over the nodes together. The first weights are those of a wsim run of the
same seed; the order of full batches is of no account.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn

from learners.data.digits import digits
from learners.data.partitions import dirichlet
from learners.models.bias_mlp import BiasMlp
from wsim.streams import Streams

NUM_DEVICES, NUM_CLASSES, DIM = 10, 10, 32
HIDDEN = ((128,), (256,), (128, 128), (256, 256))
ROUNDS, STEPS, COMPONENTS = 60, 5, 3
BATCH_SIZE = 1000  # all of a node's samples
LEARNING_RATE, WEIGHT_DECAY, PENALTY, DUAL_STEP, DISTORTION = 1e-3, 1e-5, 5.0, 0.1, 0.5


class Encoder(nn.Module):
    def __init__(self, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = (64, *hidden)
        layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], DIM))

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(inputs), dim=1)


@dataclass(frozen=True)
class Problem:
    inputs: list[Tensor]  # of each node, [n, 64]
    members: list[Tensor]  # of each node, [K, n] 1 where the sample is of the class
    labels: list[Tensor]
    test_inputs: Tensor
    test_labels: Tensor
    encoders: list[Encoder]
    graph: nx.Graph


def make_problem(seed: int = 1) -> Problem:
    streams = Streams(seed)
    data = digits(streams("split"), test_fraction=0.2, centered=True)
    parts = dirichlet(data.train_labels, NUM_DEVICES, streams("partition"), alpha=1e6)
    encoders = []
    for i in range(NUM_DEVICES):
        which = i % len(HIDDEN)
        start = BiasMlp((64,), NUM_CLASSES, HIDDEN[which], DIM).initial(
            streams("initial_parameters", 0, *([1 + which] if which else []))
        )
        encoder = Encoder(HIDDEN[which])
        size = sum(parameter.numel() for parameter in encoder.parameters())  # the start has a head, too
        nn.utils.vector_to_parameters(torch.tensor(start[:size], dtype=torch.float32), encoder.parameters())
        encoders.append(encoder)
    labels = [torch.tensor(data.train_labels[part]) for part in parts]
    return Problem(
        [torch.tensor(data.train_inputs[part], dtype=torch.float32).flatten(1) for part in parts],
        [(own == torch.arange(NUM_CLASSES)[:, None]).float() for own in labels],
        labels,
        torch.tensor(data.test_inputs, dtype=torch.float32).flatten(1),
        torch.tensor(data.test_labels),
        encoders,
        nx.circulant_graph(NUM_DEVICES, [1, 3]),
    )


def second_moments(z: Tensor, members: Tensor) -> Tensor:
    """[K, d, d]"""
    return (members[:, :, None] * z).mT @ z / members.sum(1)[:, None, None]


def loss_of(z: Tensor, members: Tensor, anchors: list[Tensor], y: Tensor) -> Tensor:
    v, shares = second_moments(z, members), members.sum(1) / len(z)
    matrices = torch.cat([(z.T @ z / len(z))[None], v])
    factors = torch.linalg.cholesky(torch.eye(DIM) + DIM / DISTORTION * matrices)
    dets = factors.diagonal(dim1=1, dim2=2).log().sum(1)  # half of the logarithms of the determinants
    loss = (shares * dets[1:]).sum() - dets[0] + (y * v).sum()
    for anchor in anchors:
        loss = loss + PENALTY / 2 * (v - anchor).square().sum()
    return loss


def run(problem: Problem, rounds: int) -> float:
    """The mean nearest-subspace accuracy of the nodes at the end."""
    optimizers = [
        torch.optim.Adam(encoder.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for encoder in problem.encoders
    ]
    y = [torch.zeros(NUM_CLASSES, DIM, DIM) for _ in range(NUM_DEVICES)]
    for _ in range(rounds):
        with torch.no_grad():
            v = [second_moments(problem.encoders[i](problem.inputs[i]), problem.members[i]) for i in range(NUM_DEVICES)]
        for i in range(NUM_DEVICES):
            neighbors = list(problem.graph[i])
            y[i] = y[i] + DUAL_STEP * sum(v[i] - v[j] for j in neighbors)
            anchors = [(v[i] + v[j]) / 2 for j in neighbors]
            for _ in range(STEPS):
                optimizers[i].zero_grad()
                loss_of(problem.encoders[i](problem.inputs[i]), problem.members[i], anchors, y[i]).backward()
                optimizers[i].step()
    return accuracy(problem)


@torch.no_grad()
def accuracy(problem: Problem) -> float:
    found = []
    for encoder, inputs, members in zip(problem.encoders, problem.inputs, problem.members, strict=True):
        bases = torch.linalg.eigh(second_moments(encoder(inputs), members))[1][:, :, -COMPONENTS:]
        inside = torch.einsum("nd,kdr->nkr", encoder(problem.test_inputs), bases).square().sum(-1)
        found.append((inside.argmax(1) == problem.test_labels).float().mean().item())
    return float(np.mean(found))


def measure(workload: str, variant: str) -> tuple[float, float]:
    """(CPU seconds, accuracy at the end) of the loop, on one thread. workload: "semantic"; variant: "plain"."""
    if (workload, variant) != ("semantic", "plain"):
        raise ValueError(f"workload = {workload!r}, variant = {variant!r}: semantic, plain")
    torch.set_num_threads(1)
    run(make_problem(), 1)  # torch sets itself up at first use
    problem = make_problem()
    start = time.process_time()
    result = run(problem, ROUNDS)
    return time.process_time() - start, result
