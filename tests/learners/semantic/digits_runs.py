"""The digits set-up of the check values: 8 x 8 digits, bias MLPs to 32 dimensions in turn, and what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.data.digits import digits
from learners.data.partitions import dirichlet
from learners.executors import BatchedExecutor
from learners.loopback import Loopback, LoopbackNode, loopback
from learners.models.bias_mlp import BiasMlp
from learners.models.encoder import Headless
from learners.models.flat import unflatten
from learners.semantic.coding_rate import CodingRateReduction, class_sums, moments, rate_reduction
from learners.task import Task

HIDDEN = ([128], [256], [128, 128], [256, 256])
NUM_CLASSES, DIM, COMPONENTS = 10, 32, 3


@cache
def tasks(dtype: str = "float32", feature_dim: int = DIM) -> list[Task]:
    """One a distinct architecture."""
    dataset = digits(np.random.default_rng(0), centered=True)
    models = [Headless(BiasMlp((1, 8, 8), NUM_CLASSES, hidden, feature_dim)) for hidden in HIDDEN]
    first = Task(dataset, models[0], dtype, objective=CodingRateReduction())
    return [first, *(first.with_model(model) for model in models[1:])]


def with_heads() -> list[Task]:
    """The same encoders with linear heads, for the cross-entropy."""
    dataset = digits(np.random.default_rng(0), centered=True)
    models = [BiasMlp((1, 8, 8), NUM_CLASSES, hidden, DIM) for hidden in HIDDEN]
    first = Task(dataset, models[0], "float32")
    return [first, *(first.with_model(model) for model in models[1:])]


def equal_shares(num_devices: int) -> list[np.ndarray]:
    """Samples of each device, the same shares of every class up to one sample."""
    return dirichlet(tasks()[0].train_labels, num_devices, np.random.default_rng(1), alpha=1e9)


def ring_with_chord(num_devices: int) -> nx.Graph:
    graph = nx.cycle_graph(num_devices)
    graph.add_edge(0, 3)
    return graph


def run(
    learner: Any,
    parts: Sequence[np.ndarray],
    graph: nx.Graph,
    dtype: str = "float32",
    feature_dim: int = DIM,
    seed: int = 0,
    of_architecture: Sequence[Task] = (),
) -> tuple[Loopback, list[Task]]:
    """The learner's programs over the loopback network, and the devices' tasks, of which there is one an architecture."""
    of_architecture = of_architecture or tasks(dtype, feature_dim)
    of_devices = [of_architecture[i % len(of_architecture)] for i in range(len(parts))]
    labels, executor = of_devices[0].train_labels, BatchedExecutor()
    counts = [np.bincount(labels[part], minlength=NUM_CLASSES) for part in parts]
    nodes = [
        LoopbackNode(
            i,
            tuple(sorted(graph[i])),
            executor.lift(task.initial_parameters(np.random.default_rng([seed, i]))),
            np.random.default_rng([seed, 100 + i]),
            num_samples=len(part),
            devices=tuple(range(len(parts))),
            stream=BatchStream(part, np.random.default_rng([seed, 200 + i]), task.dtype),
            task=task,
            dtype=task.dtype,
            class_counts=counts,
        )
        for i, (part, task) in enumerate(zip(parts, of_devices, strict=True))
    ]
    return loopback(learner.program, nodes), of_devices


def last_models(bench: Loopback, num_devices: int) -> list[Tensor]:
    last = {reported.node: reported.value for reported in bench.reports if reported.name == "model"}
    return [last[i].tensor() for i in range(num_devices)]


def features(task: Task, x: Tensor, inputs: Tensor) -> Tensor:
    inputs = task.samples.prepared(inputs).reshape(-1, *task.model.input_shape)
    return task.model.representation(unflatten(x, task.model.shapes), inputs)


def measured(models: Sequence[Tensor], of_devices: Sequence[Task], parts: Sequence[np.ndarray]) -> dict[str, float]:
    """The columns of the tables: coding rates, gap, effective rank, nearest-subspace accuracy, own and of the other devices."""
    samples = of_devices[0].samples
    train = [
        (features(task, x, samples.train_inputs[part]), samples.train_labels[part])
        for task, x, part in zip(of_devices, models, parts, strict=True)
    ]
    test = [features(task, x, samples.test_inputs) for task, x in zip(of_devices, models, strict=True)]
    v = [moments(*class_sums(z, labels, torch.ones_like(z[:, 0]), NUM_CLASSES)) for z, labels in train]
    mean = torch.stack(v).mean(0)
    everything, labels = torch.cat([z for z, _ in train]), torch.cat([labels for _, labels in train])
    eigenvalues = torch.linalg.eigvalsh(torch.stack(v)).clamp(min=1e-12)
    entropy = -(eigenvalues * eigenvalues.log()).sum(-1)
    bases = [torch.linalg.eigh(part)[1][:, :, -COMPONENTS:] for part in v]  # [K, d, r]

    def accuracy(z: Tensor, basis: Tensor) -> float:
        nearest = torch.einsum("nd,kdr->nkr", z, basis).square().sum(-1).argmax(1)
        return float((nearest == samples.test_labels).double().mean())

    n = len(models)
    return {
        "local": float(np.mean([rate_reduction(z, labels, NUM_CLASSES) for z, labels in train])),
        "pooled": rate_reduction(everything, labels, NUM_CLASSES),
        "gap": float(sum((part - mean).square().sum() for part in v) / n),
        "rank": float(entropy.exp().mean()),
        "own": float(np.mean([accuracy(test[i], bases[i]) for i in range(n)])),
        "cross": float(np.mean([accuracy(test[j], bases[i]) for i in range(n) for j in range(n) if i != j])),
    }
