"""What the arithmetic of scenarios/mnist_fedavg.toml costs alone: federated averaging of LeNet-5 on MNIST as a plain torch loop.

20 devices, 20 rounds of 30 steps of 32 images each, learning rate 0.05, plain SGD, the server's model evaluated on the 10,000
test images after every round. Data, split, first weights and minibatches are those of a wsim run of the same seed.
Training, evaluation and the drawing of minibatches are timed (CPU seconds, one thread); imports and the data are not.

    WSIM_DATA=... python -m benchmarks.mnist
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.floor import Minibatches, copy_state
from learners.data.mnist import mnist
from learners.data.partitions import dirichlet
from learners.data.samples import Samples
from learners.models.lenet5 import LeNet5
from wsim.streams import Streams

NUM_DEVICES, NUM_ROUNDS, NUM_STEPS = 20, 20, 30
BATCH_SIZE = 32
LEARNING_RATE = 0.05
ALPHA = 0.5
EVALUATED_AT_A_TIME = 500
"""Test images: of 100 to 10,000, the fastest on the machines where it was tried; all at once take twice as long."""


@dataclass(frozen=True)
class Problem:
    """The data, their split and the common start."""

    inputs: Tensor  # [60000, 1, 28, 28]
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    batches: list[Minibatches]  # one a device
    start: Tensor  # [num_params]


class Net(nn.Module):
    """The layers of `learners.models.lenet5`."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.full = nn.Sequential(
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
        )
        nn.utils.vector_to_parameters(start.clone(), self.parameters())

    def forward(self, images: Tensor) -> Tensor:
        return self.full(self.convolutions(images))


def make_problem(seed: int = 1) -> Problem:
    streams = Streams(seed)
    data = mnist(streams("split"))
    shards = dirichlet(data.train_labels, NUM_DEVICES, streams("partition"), alpha=ALPHA)
    samples = Samples(data, torch.float32)
    start = LeNet5(data.input_shape, data.num_classes).initial(streams("initial_parameters", 0))
    return Problem(
        inputs=samples.prepared(torch.from_numpy(data.train_inputs)),
        labels=torch.from_numpy(data.train_labels),
        test_inputs=samples.prepared(samples.test_inputs),
        test_labels=samples.test_labels,
        batches=[Minibatches(shard, streams("batches", i), BATCH_SIZE) for i, shard in enumerate(shards)],
        start=torch.tensor(start, dtype=torch.float32),
    )


@torch.no_grad()
def accuracy(model: nn.Module, problem: Problem) -> float:
    pieces = zip(problem.test_inputs.split(EVALUATED_AT_A_TIME), problem.test_labels.split(EVALUATED_AT_A_TIME))
    correct = sum(int((model(inputs).argmax(1) == labels).sum()) for inputs, labels in pieces)
    return correct / len(problem.test_labels)


def plain_fedavg(problem: Problem, rounds: int, steps: int) -> float:
    """Every round every device trains from the server's model; the server averages by sample count and is evaluated."""
    model = Net(problem.start)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    total = sum(len(batches.shard) for batches in problem.batches)
    server = copy_state(model)
    for _ in range(rounds):
        average = {name: torch.zeros_like(tensor) for name, tensor in server.items()}
        for batches in problem.batches:
            model.load_state_dict(server)
            for _ in range(steps):
                samples = torch.from_numpy(batches.draw())
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(problem.inputs[samples]), problem.labels[samples])
                loss.backward()
                optimizer.step()
            for name, tensor in model.state_dict().items():
                average[name] += len(batches.shard) / total * tensor
        server = average
        model.load_state_dict(server)
        result = accuracy(model, problem)
    return result


def measure(workload: str, variant: str) -> tuple[float, float]:
    """(CPU seconds, accuracy at the end) of the loop, on one thread."""
    torch.set_num_threads(1)
    problem = make_problem()
    plain_fedavg(problem, 1, 1)  # torch sets itself up at first use
    problem = make_problem()
    start = time.process_time()
    result = plain_fedavg(problem, NUM_ROUNDS, NUM_STEPS)
    return time.process_time() - start, result


if __name__ == "__main__":
    cpu_s, result = measure("mnist_fedavg", "plain")
    print(f"{cpu_s:.2f} CPU s, accuracy {result:.4f}")
