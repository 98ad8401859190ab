"""Plain torch loops of federated methods beside FedAvg, as one would write them without a simulator: device after device.

The problem, its split and the minibatches are those of benchmarks/floor.py; all 100 devices take part in every round. With FedProx and
SCAFFOLD the server's model is evaluated after every round. With FedMRL the devices have five architectures in turn, and every round
each one's fused model is evaluated with the shared part that it has just been sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.floor import (
    BATCH_SIZE,
    LEARNING_RATE,
    NUM_CLASSES,
    NUM_DEVICES,
    NUM_FEATURES,
    Minibatches,
    Problem,
    accuracy,
    copy_state,
    make_model,
    make_problem,
    minibatches,
)
from learners.models.flat import glorot_normal
from learners.models.mlp import Mlp

__all__ = ["BATCH_SIZE", "LEARNING_RATE", "METHODS", "NUM_DEVICES", "ROUNDS", "STEPS", "measure"]

PROXIMAL_WEIGHT = 0.1
SHARED_WIDTH = 16
VARIANTS = ((32,), (48,), (64,), (48, 48), (64, 64))  # hidden layers of the private models
ROUNDS, STEPS = 20, 5

State = dict[str, Tensor]


def shares(problem: Problem) -> list[float]:
    """Of the devices in all training samples."""
    total = sum(len(shard) for shard in problem.shards)
    return [len(shard) / total for shard in problem.shards]


def next_batch(problem: Problem, batches: Minibatches) -> tuple[Tensor, Tensor]:
    samples = torch.from_numpy(batches.draw())
    return problem.inputs[samples], problem.labels[samples]


def plain_fedprox(problem: Problem, rounds: int, steps: int) -> float:
    """FedAvg with the proximal term in the loss."""
    model, drawn, weights = make_model(problem), minibatches(problem), shares(problem)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    server = copy_state(model)
    for _ in range(rounds):
        average = {name: torch.zeros_like(tensor) for name, tensor in server.items()}
        for device in range(NUM_DEVICES):
            model.load_state_dict(server)
            for _ in range(steps):
                inputs, labels = next_batch(problem, drawn[device])
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(inputs), labels)
                for name, parameter in model.named_parameters():
                    loss = loss + PROXIMAL_WEIGHT / 2 * (parameter - server[name]).square().sum()
                loss.backward()
                optimizer.step()
            for name, tensor in model.state_dict().items():
                average[name] += weights[device] * tensor
        server = average
        model.load_state_dict(server)
        result = accuracy(model, problem)
    return result


def plain_scaffold(problem: Problem, rounds: int, steps: int) -> float:
    """Option II, plain means, server rate 1."""
    model, drawn = make_model(problem), minibatches(problem)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    server = copy_state(model)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in server.items()}
    common, own = copy_of(zeros), [copy_of(zeros) for _ in range(NUM_DEVICES)]
    for _ in range(rounds):
        moved, changed = copy_of(zeros), copy_of(zeros)
        for device in range(NUM_DEVICES):
            model.load_state_dict(server)
            for _ in range(steps):
                inputs, labels = next_batch(problem, drawn[device])
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs), labels).backward()
                for name, parameter in model.named_parameters():
                    assert parameter.grad is not None
                    parameter.grad += common[name] - own[device][name]
                optimizer.step()
            for name, y in model.state_dict().items():
                change = (server[name] - y) / (steps * LEARNING_RATE) - common[name]
                own[device][name] += change
                changed[name] += change / NUM_DEVICES
                moved[name] += (y - server[name]) / NUM_DEVICES
        server = {name: tensor + moved[name] for name, tensor in server.items()}
        common = {name: tensor + changed[name] for name, tensor in common.items()}
        model.load_state_dict(server)
        result = accuracy(model, problem)
    return result


def copy_of(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


class Fused(nn.Module):
    """A shared and a private network, their representations joined by a projector; the shared head sees the first numbers of the
    fused one."""

    def __init__(self, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = (NUM_FEATURES, *hidden)
        layers = [layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.shared = nn.Sequential(
            nn.Linear(NUM_FEATURES, SHARED_WIDTH), nn.ReLU(), nn.Linear(SHARED_WIDTH, NUM_CLASSES)
        )
        self.private = nn.Sequential(*layers, nn.Linear(widths[-1], NUM_CLASSES))
        self.projector = nn.Linear(SHARED_WIDTH + widths[-1], widths[-1])

    def heads(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat((self.shared[:-1](inputs), self.private[:-1](inputs)), 1)
        fused = self.projector(both)
        return self.shared[-1](fused[:, :SHARED_WIDTH]), self.private[-1](fused)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.heads(inputs)[1]


def fused_models(problem: Problem) -> list[Fused]:
    """Of all devices, starting as the scenario's do."""
    models = []
    streams = problem.streams
    for device in range(NUM_DEVICES):
        which = device % len(VARIANTS)
        model = Fused(VARIANTS[which])
        private = Mlp((NUM_FEATURES,), NUM_CLASSES, VARIANTS[which]).initial(
            streams("initial_parameters", 0, 1 + which)
        )
        put(model.private, torch.tensor(private, dtype=torch.float32))
        weight = glorot_normal(streams("learner", device), tuple(model.projector.weight.shape))
        with torch.no_grad():
            model.projector.weight.copy_(torch.tensor(weight))
            model.projector.bias.zero_()
        models.append(model)
    return models


def put(model: nn.Module, flat: Tensor) -> None:
    nn.utils.vector_to_parameters(flat, model.parameters())


def plain_fedmrl(problem: Problem, rounds: int, steps: int) -> float:
    """Every device trains its fused model on the sum of both heads' losses; the shared part is averaged by sample count."""
    models, drawn, weights = fused_models(problem), minibatches(problem), shares(problem)
    optimizers = [torch.optim.SGD(model.parameters(), lr=LEARNING_RATE) for model in models]
    start = Mlp((NUM_FEATURES,), NUM_CLASSES, (SHARED_WIDTH,)).initial(problem.streams("initial_parameters", 0))
    put(models[0].shared, torch.tensor(start, dtype=torch.float32))
    server = copy_state(models[0].shared)
    for _ in range(rounds):
        average = {name: torch.zeros_like(tensor) for name, tensor in server.items()}
        result = 0.0
        for device, model in enumerate(models):
            model.shared.load_state_dict(server)
            result += accuracy(model, problem) / NUM_DEVICES
            for _ in range(steps):
                inputs, labels = next_batch(problem, drawn[device])
                optimizers[device].zero_grad()
                coarse, fine = model.heads(inputs)
                loss = nn.functional.cross_entropy(coarse, labels) + nn.functional.cross_entropy(fine, labels)
                loss.backward()
                optimizers[device].step()
            for name, tensor in model.shared.state_dict().items():
                average[name] += weights[device] * tensor
        server = average
    return result


METHODS: dict[str, Callable[[Problem, int, int], float]] = {
    "fedprox": plain_fedprox,
    "scaffold": plain_scaffold,
    "fedmrl": plain_fedmrl,
}


def measure(workload: str, variant: str) -> tuple[float, float]:
    """(CPU seconds, accuracy at the end) of one loop, on one thread. variant: "plain"."""
    if variant != "plain":
        raise ValueError(f"variant = {variant!r}: plain")
    torch.set_num_threads(1)
    problem = make_problem("iid")
    METHODS[workload](problem, 1, 1)  # torch sets itself up at first use
    start = time.process_time()
    result = METHODS[workload](problem, ROUNDS, STEPS)
    return time.process_time() - start, result
