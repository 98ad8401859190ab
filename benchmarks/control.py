"""Plain torch loops of FedAvg on control problems, as one would write them without a simulator: device after device, each with as many
objects as it has and so without padding. And WMMSE by itself.

The problems, their split, the first weights and the minibatches are those of a wsim run of the same seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.floor import Minibatches
from learners.control import data_sets
from learners.control.interference_channel import draw_interference
from learners.control.problem import Problem
from learners.control.wmmse import wmmse
from learners.data.partitions import iid
from learners.models.edge_equivariant import EdgeEquivariant
from learners.models.equivariant import Equivariant
from wsim.streams import Streams

STEPS = 5
LEARNING_RATE = 2e-3
TRAIN_SAMPLES, TEST_SAMPLES = 4000, 250
NOISE, MEAN_GAIN, BUDGET = 0.1, 5.0, 0.3
FLEETS = {"": (100, 8, 5), "_few": (8, 64, 20)}
"""End of a workload's name -> devices, samples a step, rounds."""


class EdgeLayer(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(o, i))
        self.V = nn.Parameter(torch.empty(o, 2 * i))
        self.b = nn.Parameter(torch.empty(o))

    def forward(self, h: Tensor, amplitudes: Tensor) -> Tensor:
        """h: [B, K, i]; amplitudes: [B, K, K] with a diagonal of zeros."""
        sums = torch.cat([amplitudes @ h, amplitudes.mT @ h], 2) / (h.shape[1] - 1)
        return F.linear(h, self.U, self.b) + F.linear(sums, self.V)


class PowerNetwork(nn.Module):
    """Power control: amplitudes [B, K, K] -> minus the sum rate [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EdgeLayer(i, o) for i, o in ((2, 32), (32, 32), (32, 32), (32, 1)))

    def forward(self, h: Tensor) -> Tensor:
        own = h.diagonal(dim1=1, dim2=2)
        cross = h * (1 - torch.eye(h.shape[1]))
        states = torch.stack([own, torch.ones_like(own)], 2)
        for layer in self.layers[:-1]:
            states = F.relu(layer(states, cross))
        powers = torch.sigmoid(self.layers[-1](states, cross)[..., 0])
        interference = (cross.square() @ powers[..., None])[..., 0]
        return -torch.log2(1 + own.square() * powers / (NOISE + interference)).sum(1)


class TwoMatrixLayer(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.empty(o, i))
        self.V = nn.Parameter(torch.empty(o, i))
        self.b = nn.Parameter(torch.empty(o))

    def forward(self, h: Tensor) -> Tensor:
        others = (h.sum(1, keepdim=True) - h) / (h.shape[1] - 1)
        return F.linear(h, self.U, self.b) + F.linear(others, self.V)


class SplitNetwork(nn.Module):
    """Power split: gains over their mean [B, K] -> minus the sum rate [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoMatrixLayer(i, o) for i, o in ((1, 16), (16, 16), (16, 16), (16, 1)))

    def forward(self, gains: Tensor) -> Tensor:
        states = gains[..., None]
        for layer in self.layers[:-1]:
            states = F.relu(layer(states))
        powers = BUDGET * gains.shape[1] * self.layers[-1](states)[..., 0].softmax(1)
        return -torch.log2(1 + MEAN_GAIN * gains * powers).sum(1)


NETWORKS: dict[str, tuple[Callable[..., Problem], Callable[[], nn.Module], Callable[..., Any]]] = {
    "power_control": (data_sets.interference_channel, PowerNetwork, EdgeEquivariant),
    "water_filling": (data_sets.parallel_channels, SplitNetwork, Equivariant),
}


@dataclass(frozen=True)
class Federation:
    """inputs: of each device, amplitudes [n, K, K] or gains [n, K] of its own number of objects K; tests: of each K, with the reference's
    mean rate."""

    network: nn.Module
    inputs: list[Tensor]
    batches: list[Minibatches]
    tests: list[tuple[Tensor, float]]


def fleet_of(workload: str) -> tuple[int, int, int]:
    return FLEETS["_few" if workload.endswith("_few") else ""]


def make_federation(workload: str, seed: int = 1) -> Federation:
    name = workload.removesuffix("_few")
    num_devices, batch_size, _ = fleet_of(workload)
    load, network_type, model_type = NETWORKS[name]
    streams = Streams(seed)
    problem = load(streams("split"), train_samples=TRAIN_SAMPLES, test_samples=TEST_SAMPLES)
    parts = iid(problem.train_labels, num_devices, streams("partition"))
    start = model_type(problem.input_shape, 1).initial(streams("initial_parameters", 0))
    network = network_type()
    nn.utils.vector_to_parameters(torch.tensor(start, dtype=torch.float32), network.parameters())
    return Federation(
        network,
        [features(problem.train_inputs[part], problem.first_scale(i)) for i, part in enumerate(parts)],
        [Minibatches(np.arange(len(part)), streams("batches", i), batch_size) for i, part in enumerate(parts)],
        [(features(problem.tests[scale].inputs, scale), problem.tests[scale].reference) for scale in problem.scales],
    )


def features(samples: np.ndarray, num_objects: int) -> Tensor:
    """Of the first objects of samples [n, K, width]: [n, num_objects, num_objects], or [n, num_objects] where width is 2."""
    k = num_objects
    return torch.tensor(samples[:, :k, 0] if samples.shape[2] == 2 else samples[:, :k, :k], dtype=torch.float32)


def run(federation: Federation, rounds: int) -> float:
    """Every round every device trains from the server's model, with Adam anew; the server averages. The share that the mean rates have of
    the reference's."""
    network, inputs = federation.network, federation.inputs
    server = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    total = sum(len(own) for own in inputs)
    for _ in range(rounds):
        average = {name: torch.zeros_like(tensor) for name, tensor in server.items()}
        for own, batches in zip(inputs, federation.batches, strict=True):
            network.load_state_dict(server)
            optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
            for _ in range(STEPS):
                optimizer.zero_grad()
                network(own[torch.from_numpy(batches.draw())]).mean().backward()
                optimizer.step()
            for name, tensor in network.state_dict().items():
                average[name] += len(own) / total * tensor
        server = average
    network.load_state_dict(server)
    with torch.no_grad():
        return float(np.mean([-network(test).mean().item() / reference for test, reference in federation.tests]))


def measure(workload: str, variant: str) -> tuple[float, float]:
    """(CPU seconds, share of the reference's rate at the end) of one loop, on one thread. variant: "plain"."""
    if variant != "plain":
        raise ValueError(f"variant = {variant!r}: plain")
    torch.set_num_threads(1)
    run(make_federation(workload), 1)  # torch sets itself up at first use
    federation = make_federation(workload)
    start = time.process_time()
    result = run(federation, fleet_of(workload)[2])
    return time.process_time() - start, result


def measure_wmmse() -> dict[str, float]:
    """CPU seconds of WMMSE powers of 1,000 channels of 30 links, 100 iterations each."""
    gains = draw_interference(np.random.default_rng(1), 1000, 30) ** 2 / NOISE
    wmmse(gains[:2])
    start = time.process_time()
    wmmse(gains)
    return {"cpu_s": time.process_time() - start}
