"""What the arithmetic alone costs: each workload as a plain torch loop and as a hand-stacked loop, without a network.

    plain     what a researcher writes first: one module, an optimizer, state dicts that are loaded and averaged
    stacked   the parameters of all devices in one tensor [num_devices, num_params], forward and backward pass by hand

100 devices, an MLP 64-64-10 on scikit-learn's digits, minibatches of 16, learning rate 0.1, plain SGD. Both loops take the
split, the graph, the first weights and the minibatches of a wsim run of the same seed, so that all three end at the same
accuracy.
Training, evaluation and the drawing of minibatches are timed (CPU seconds, one thread); imports and the loading of the
data are not.

    python -m benchmarks.floor [--partition dirichlet]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from learners.data.digits import digits
from learners.data.partitions import dirichlet, iid
from learners.mixing import mixing_matrix
from learners.models.mlp import Mlp
from wsim.graphs.kind import Given
from wsim.graphs.random import RandomRegular
from wsim.streams import Streams

NUM_DEVICES = 100
NUM_FEATURES, NUM_HIDDEN, NUM_CLASSES = 64, 64, 10
BATCH_SIZE = 16
LEARNING_RATE = 0.1
DEGREE = 4


@dataclass(frozen=True)
class Problem:
    """The data, its split and the common start, the same for every loop."""

    inputs: Tensor  # [num_samples, 64]
    labels: Tensor  # [num_samples]
    test_inputs: Tensor
    test_labels: Tensor
    shards: list[np.ndarray]  # the training samples of each device
    start: Tensor  # [num_params], as W1, b1, W2, b2
    mixing: Tensor  # [num_devices, num_devices] Metropolis weights of a random 4-regular graph
    streams: Streams


def make_problem(partition: str = "iid", seed: int = 1) -> Problem:
    """partition: "iid" (equal shares) or "dirichlet" (label shares of concentration 0.3)."""
    streams = Streams(seed)
    data = digits(streams("split"), test_fraction=0.2)
    deal = iid if partition == "iid" else functools.partial(dirichlet, alpha=0.3)
    start = Mlp((NUM_FEATURES,), NUM_CLASSES, (NUM_HIDDEN,)).initial(streams("initial_parameters", 0))
    graph = RandomRegular(DEGREE).graph(Given(NUM_DEVICES, streams("graph"), np.zeros((NUM_DEVICES, 3))))
    return Problem(
        inputs=torch.tensor(data.train_inputs, dtype=torch.float32).flatten(1),
        labels=torch.tensor(data.train_labels),
        test_inputs=torch.tensor(data.test_inputs, dtype=torch.float32).flatten(1),
        test_labels=torch.tensor(data.test_labels),
        shards=deal(data.train_labels, NUM_DEVICES, streams("partition")),
        start=torch.tensor(start, dtype=torch.float32),
        mixing=torch.tensor(mixing_matrix(graph), dtype=torch.float32),
        streams=streams,
    )


class Minibatches:
    """Full batches from reshuffled passes over one device's shard."""

    def __init__(self, shard: np.ndarray, rng: np.random.Generator, size: int = BATCH_SIZE) -> None:
        self.shard, self.rng, self.size = shard, rng, size
        self.queue = shard[:0]

    def draw(self) -> np.ndarray:
        while len(self.queue) < self.size:
            self.queue = np.concatenate([self.queue, self.rng.permutation(self.shard)])
        batch, self.queue = self.queue[: self.size], self.queue[self.size :]
        return batch


def minibatches(problem: Problem) -> list[Minibatches]:
    return [Minibatches(shard, problem.streams("batches", i)) for i, shard in enumerate(problem.shards)]


# -- plain ------------------------------------------------------------------------------------------------------------


def make_model(problem: Problem) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(NUM_FEATURES, NUM_HIDDEN), nn.ReLU(), nn.Linear(NUM_HIDDEN, NUM_CLASSES))
    nn.utils.vector_to_parameters(problem.start.clone(), model.parameters())
    return model


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, problem: Problem, batches: Minibatches, steps: int
) -> None:
    for _ in range(steps):
        samples = torch.from_numpy(batches.draw())
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(problem.inputs[samples]), problem.labels[samples])
        loss.backward()
        optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, problem: Problem) -> float:
    return (model(problem.test_inputs).argmax(1) == problem.test_labels).float().mean().item()


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def plain_fedavg(problem: Problem, rounds: int, steps: int) -> float:
    """Every round every device trains from the server's model; the server averages by sample count and is evaluated."""
    model, drawn = make_model(problem), minibatches(problem)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    total = sum(len(shard) for shard in problem.shards)
    server = copy_state(model)
    for _ in range(rounds):
        average = {name: torch.zeros_like(tensor) for name, tensor in server.items()}
        for device in range(NUM_DEVICES):
            model.load_state_dict(server)
            train(model, optimizer, problem, drawn[device], steps)
            for name, tensor in model.state_dict().items():
                average[name] += len(problem.shards[device]) / total * tensor
        server = average
        model.load_state_dict(server)
        result = accuracy(model, problem)
    return result


def plain_dpsgd(problem: Problem, rounds: int, steps: int) -> float:
    """One step: every device averages the old models of its neighborhood and adds its own step. Several: every device trains,
    then averages the trained models. After a round all models are evaluated."""
    models, drawn = [make_model(problem) for _ in range(NUM_DEVICES)], minibatches(problem)
    optimizers = [torch.optim.SGD(model.parameters(), lr=LEARNING_RATE) for model in models]
    neighborhoods = [row.nonzero().flatten().tolist() for row in problem.mixing]  # each with itself
    for _ in range(rounds):
        sent = [copy_state(model) for model in models]
        for device, model in enumerate(models):
            train(model, optimizers[device], problem, drawn[device], steps)
        if steps > 1:
            sent = [copy_state(model) for model in models]
        for device, model in enumerate(models):
            weights = problem.mixing[device].tolist()
            mixed = {}
            for name, trained in model.state_dict().items():
                average = sum(weights[j] * sent[j][name] for j in neighborhoods[device])
                mixed[name] = average + trained - sent[device][name]
            model.load_state_dict(mixed)
        result = sum(accuracy(model, problem) for model in models) / NUM_DEVICES
    return result


# -- stacked ----------------------------------------------------------------------------------------------------------


def layers(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of x [n, num_params]: W1 [n, 64, 64], b1 [n, 1, 64], W2 [n, 10, 64], b2 [n, 1, 10]."""
    n = len(x)
    sizes = [NUM_HIDDEN * NUM_FEATURES, NUM_HIDDEN, NUM_CLASSES * NUM_HIDDEN, NUM_CLASSES]
    w1, b1, w2, b2 = x.split(sizes, 1)
    return (
        w1.view(n, NUM_HIDDEN, NUM_FEATURES),
        b1.view(n, 1, NUM_HIDDEN),
        w2.view(n, NUM_CLASSES, NUM_HIDDEN),
        b2.view(n, 1, NUM_CLASSES),
    )


def stacked_train(x: Tensor, problem: Problem, drawn: list[Minibatches], steps: int) -> None:
    """`steps` SGD steps of every row of x, in place."""
    w1, b1, w2, b2 = layers(x)
    rows = torch.arange(NUM_DEVICES)[:, None], torch.arange(BATCH_SIZE)[None, :]
    for _ in range(steps):
        samples = torch.from_numpy(np.stack([batches.draw() for batches in drawn]))  # [n, 16]
        inputs, labels = problem.inputs[samples], problem.labels[samples]
        hidden = torch.baddbmm(b1, inputs, w1.mT).relu_()  # [n, 16, 64]
        error = torch.baddbmm(b2, hidden, w2.mT).softmax(-1)  # [n, 16, 10]
        error[*rows, labels] -= 1
        error *= -LEARNING_RATE / BATCH_SIZE
        hidden_error = (error @ w2).mul_(hidden > 0)
        w2.baddbmm_(error.mT, hidden)
        b2 += error.sum(1, keepdim=True)
        w1.baddbmm_(hidden_error.mT, inputs)
        b1 += hidden_error.sum(1, keepdim=True)


def stacked_accuracy(x: Tensor, problem: Problem) -> float:
    """Mean over the rows of x [n, num_params]."""
    w1, b1, w2, b2 = layers(x)
    hidden = torch.baddbmm(b1, problem.test_inputs.expand(len(x), -1, -1), w1.mT).relu_()
    predicted = torch.baddbmm(b2, hidden, w2.mT).argmax(-1)
    return (predicted == problem.test_labels).float().mean().item()


def stacked_fedavg(problem: Problem, rounds: int, steps: int) -> float:
    """As plain_fedavg."""
    x, drawn = problem.start.repeat(NUM_DEVICES, 1), minibatches(problem)
    weights = torch.tensor([len(shard) for shard in problem.shards], dtype=torch.float32)
    weights /= weights.sum()
    for _ in range(rounds):
        stacked_train(x, problem, drawn, steps)
        server = weights @ x
        result = stacked_accuracy(server[None], problem)
        x.copy_(server.expand_as(x))
    return result


def stacked_dpsgd(problem: Problem, rounds: int, steps: int) -> float:
    """As plain_dpsgd."""
    x, drawn = problem.start.repeat(NUM_DEVICES, 1), minibatches(problem)
    mix_less_own = problem.mixing - torch.eye(NUM_DEVICES)
    for _ in range(rounds):
        if steps == 1:
            trained = x.clone()
            stacked_train(trained, problem, drawn, steps)
            x = torch.addmm(trained, mix_less_own, x)  # W x + (x' - x)
        else:
            stacked_train(x, problem, drawn, steps)
            x = problem.mixing @ x
        result = stacked_accuracy(x, problem)
    return result


# -- measuring --------------------------------------------------------------------------------------------------------

Loop = Callable[[Problem, int, int], float]

WORKLOADS: dict[str, tuple[int, int, dict[str, Loop]]] = {
    "fedavg": (20, 5, {"plain": plain_fedavg, "stacked": stacked_fedavg}),
    "dpsgd": (20, 5, {"plain": plain_dpsgd, "stacked": stacked_dpsgd}),
    "dpsgd_one_step": (100, 1, {"plain": plain_dpsgd, "stacked": stacked_dpsgd}),
}
"""Name -> rounds, local steps a round, loops."""


def measure(workload: str, variant: str, partition: str = "iid") -> tuple[float, float]:
    """(CPU seconds, accuracy at the end) of one loop, on one thread."""
    torch.set_num_threads(1)
    problem = make_problem(partition)
    rounds, steps, loops = WORKLOADS[workload]
    loops[variant](problem, 1, 1)  # torch sets itself up at first use
    start = time.process_time()
    result = loops[variant](problem, rounds, steps)
    return time.process_time() - start, result


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU seconds of the plain and the hand-stacked loops")
    parser.add_argument("--partition", choices=["iid", "dirichlet"], default="iid")
    partition = parser.parse_args().partition
    print(f"{'workload':16} {'loop':8} {'CPU s':>7} {'accuracy':>9}")
    for workload, (_, _, loops) in WORKLOADS.items():
        for variant in loops:
            seconds, result = measure(workload, variant, partition)
            print(f"{workload:16} {variant:8} {seconds:7.2f} {result:9.4f}")


if __name__ == "__main__":
    main()
