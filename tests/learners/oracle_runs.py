"""What tests of whole algorithms share: tasks whose answers are known, and runs over the loopback network.

`run` gives every reported model. `Minibatches` gives a twin in matrix form (all devices as rows of one tensor) the minibatches
that `run`'s devices draw; `Overheard` is the codec float32 that keeps what was sent, for invariants of what travels.
Every test takes the fixture `executor` (conftest.py): plain tensors of the eager executor, deferred ones of the batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.data.digits import digits
from learners.data.partitions import dirichlet
from learners.deferred import Op
from learners.executors import BatchedExecutor, EagerExecutor
from learners.loopback import LoopbackNode, loopback
from learners.models.mlp import Mlp
from learners.protocol import SERVER, Node, Payload, Value
from learners.task import Task

EXECUTORS: dict[str, Callable[[], Any]] = {"eager": EagerExecutor, "batched": BatchedExecutor}


# -- quadratics: everything is known ----------------------------------------------------------------------------------


def half_square(model: Any, parameters: Any, curvatures: Tensor, optima: Tensor, weights: Tensor) -> Tensor:
    """The objective of `Quadratics`, a weighted mean over samples."""
    losses = curvatures * (parameters[0] - optima) ** 2 / 2
    return (weights * losses).sum() / weights.sum()


class Quadratics:
    """f_i(x) = a_i / 2 (x - b_i)^2, x: [1]; sample i belongs to device i. What learners ask of a `learners.task.Task`."""

    num_params = 1
    num_classes = 1
    dtype = torch.float64
    objective = staticmethod(half_square)
    model = SimpleNamespace(shapes=((1,),), has_convolution=False, num_classes=1, feature_dim=1)

    def __init__(self, a: Sequence[float], b: Sequence[float]) -> None:
        self.curvatures, self.optima = torch.tensor(a, dtype=self.dtype), torch.tensor(b, dtype=self.dtype)
        self.zero_parameters = torch.zeros(1, dtype=self.dtype)
        self._ops: dict[Any, Op] = {}

        def gradient(x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
            gradients = self.curvatures[indices] * (x - self.optima[indices])
            return (weights * gradients).sum(0, keepdim=True) / weights.sum()

        def sgd_step(x: Tensor, indices: Tensor, weights: Tensor, learning_rate: float) -> Tensor:
            return x - learning_rate * gradient(x, indices, weights)

        self.gradient = Op(gradient, name="gradient", flops=lambda x, *_: 3 * x.numel())
        self.sgd_step = Op(sgd_step, name="sgd_step", flops=lambda x, *_: 4 * x.numel())

    def training_samples(self, indices: Tensor, change: Any = None) -> tuple[Tensor, Tensor]:
        return self.curvatures[indices], self.optima[indices]

    def op(self, key: Any, make: Callable[[], Op]) -> Op:
        """As `Task.op`; charged like a step, since torch counts no product of matrices in these ops."""
        if key not in self._ops:
            self._ops[key] = make()
            self._ops[key].formula = lambda *_: 4
        return self._ops[key]


RING_OPTIMA = (1.0, 2.0, 3.0, 6.0)


def golden_run(
    cls: Any,
    executor: Any,
    num_rounds: int = 400,
    graph: nx.Graph | None = None,
    initial: Sequence[float] = (0, 0, 0, 0),
    **options: Any,
) -> np.ndarray:
    """Models [num_rounds, 4] of the standard example: f_i = (x - b_i)^2 / 2 with b = (1, 2, 3, 6), so that the optimum is 3,
    rate 0.1, ring 0-1-2-3-0 (or `graph`), Metropolis weights: 1/3 each on the ring."""
    task = Quadratics([1] * 4, RING_OPTIMA)
    learner = cls(task, options.pop("codec", Float32()), num_rounds, options.pop("learning_rate", 0.1), 1, **options)
    start = [torch.tensor([x], dtype=torch.float64) for x in initial]
    models = run(learner, executor, [[0], [1], [2], [3]], start, graph or nx.cycle_graph(4))
    return np.stack([models[i][:, 0] for i in range(4)], axis=1)


def zeros(num_devices: int) -> list[Tensor]:
    return [torch.zeros(1, dtype=torch.float64)] * num_devices


# -- runs -------------------------------------------------------------------------------------------------------------


def run(
    learner: Any,
    executor: Any,
    parts: Sequence[Sequence[int]],
    initial: Sequence[Tensor],
    graph: nx.Graph | None = None,
    report: str = "model",
    edges: Sequence[Sequence[int]] = (),
) -> dict[int, np.ndarray]:
    """Every reported model (or other `report`): node -> [num_reports, num_params].

    parts: samples of each device. initial: its model [num_params]. graph: None for clients of a server. edges: the clients of
    each edge server."""
    devices = tuple(range(len(parts)))
    edge_ids = tuple(len(parts) + e for e in range(len(edges)))
    nodes = [
        LoopbackNode(
            i,
            tuple(sorted(graph[i])) if graph is not None else (SERVER,),
            executor.lift(initial[i].clone()),
            np.random.default_rng(100 + i),
            peers_of=None if graph is None or not graph.is_directed() else peers_of(graph, i),
            num_samples=len(part),
            devices=devices,
            stream=BatchStream(np.array(part), np.random.default_rng(i), torch.float64),
            task=learner.task,
            dtype=torch.float64,
        )
        for i, part in enumerate(parts)
    ]
    if learner.uses_server:
        for id, clients in [*zip(edge_ids, edges, strict=True), (SERVER, devices)]:
            server = LoopbackNode(id, tuple(clients), executor.lift(initial[0].clone()), np.random.default_rng(99))
            server.devices, server.samples_of, server.dtype = (
                tuple(clients),
                [len(part) for part in parts],
                torch.float64,
            )
            server.task, server.edges = learner.task, edge_ids
            nodes.append(server)
    bench = loopback(learner.program, nodes)
    reports = [reported for reported in bench.reports if reported.name == report and reported.value is not None]
    values = executor.materialize([reported.value for reported in reports])
    models: dict[int, list[np.ndarray]] = {}
    for reported, value in zip(reports, values, strict=True):
        models.setdefault(reported.node, []).append(value.numpy().copy())
    return {node: np.array(rows) for node, rows in models.items()}


def peers_of(graph: nx.DiGraph, i: int) -> Callable[[int], tuple[tuple[int, ...], tuple[int, ...]]]:
    """`Node.peers` on a directed graph."""
    return lambda k: (tuple(sorted(graph.successors(i))), tuple(sorted(graph.predecessors(i))))


@dataclass(frozen=True)
class Overheard(Float32):
    """Float32 that keeps what it was given: (node id, value) in the order of sending, and the bits of each."""

    sent: list[tuple[int, Value]] = field(default_factory=list, compare=False)
    bits: list[int] = field(default_factory=list, compare=False)

    def payload(self, x: Value, node: Node) -> Payload:
        self.sent.append((node.id, x))
        payload = super().payload(x, node)
        self.bits.append(payload.num_bits)
        return payload

    def rounds(self, executor: Any) -> np.ndarray:
        """[num_rounds, num_devices, num_values] of learners that send one message a device and round."""
        values = executor.materialize([value for _, value in self.sent])
        by_node: dict[int, list[np.ndarray]] = {}
        for (node, _), value in zip(self.sent, values, strict=True):
            by_node.setdefault(node, []).append(value.numpy().copy())
        return np.stack([by_node[i] for i in sorted(by_node)], axis=1)


# -- digits: twins in matrix form ---------------------------------------------------------------------------------------


@cache
def digits_task() -> Task:
    """A small MLP on the digits, in float64."""
    return Task(digits(np.random.default_rng(1)), Mlp((1, 8, 8), 10, [16]), "float64")


@dataclass(frozen=True)
class Minibatches:
    """Devices with heterogeneous digits and different initial models (`same_start`: the same), and the minibatches of 16 that
    `run` lets them draw. A learner of a twin is made with batch_size 16; `draw` once a local step, in the order of the steps.
    """

    num_devices: int = 10
    same_start: bool = False

    @property
    def parts(self) -> list[list[int]]:
        labels = digits_task().train_labels
        return [part.tolist() for part in dirichlet(labels, self.num_devices, np.random.default_rng(3), alpha=0.3)]

    @property
    def initial(self) -> list[Tensor]:
        seeds = [0] * self.num_devices if self.same_start else range(self.num_devices)
        return [digits_task().initial_parameters(np.random.default_rng(seed)) for seed in seeds]

    def gradients(self) -> Callable[[Tensor], Tensor]:
        """G: each call draws one minibatch a device and gives the gradients at the rows of x [num_devices, num_params]."""
        streams = [
            BatchStream(np.array(part), np.random.default_rng(i), torch.float64) for i, part in enumerate(self.parts)
        ]

        def at(x: Tensor) -> Tensor:
            draws = [stream.draw(16, steps=1) for stream in streams]
            task = digits_task()
            return torch.stack(
                [task.gradient(row, draw.indices[0], draw.weights[0]) for row, draw in zip(x, draws, strict=True)]
            )

        return at

    def models(self, learner: Any, executor: Any, graph: nx.Graph) -> np.ndarray:
        """[num_rounds, num_devices, num_params] of a run of the learner."""
        models = run(learner, executor, self.parts, self.initial, graph)
        return np.stack([models[i] for i in range(self.num_devices)], axis=1)
