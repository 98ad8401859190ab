"""Runs of learners with a server in which every device has its own architecture: on the loopback bench, reports by node and name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.data.dataset import Dataset
from learners.data.digits import digits
from learners.executors import EagerExecutor
from learners.loopback import LoopbackNode, loopback
from learners.models.mlp import Mlp
from learners.protocol import SERVER
from learners.task import Task
from learners.tensors import set_threads

F64 = torch.float64
Reports = dict[tuple[int, str], list[Any]]


def matrix(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=F64)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=F64)


def two_points() -> Dataset:
    """Three times x = (1, 2) of class 1, once x = (2, 1) of class 0."""
    inputs, labels = np.array([(1.0, 2.0)] * 3 + [(2.0, 1.0)]), np.array([1, 1, 1, 0])
    return Dataset("two points", inputs, labels, inputs, labels, 2)


def small_digits(hidden: Sequence[int]) -> Task:
    """A multilayer perceptron on 8 x 8 digits, in float64."""
    return Task(digits(np.random.default_rng(1)), Mlp((1, 8, 8), 10, hidden), "float64")


def learner(cls: Any, task: Task, num_rounds: int = 1, **options: Any) -> Any:
    return cls(**({"task": task, "codec": Float32(), "num_rounds": num_rounds, "local_steps": 1} | options))


def starts_of(tasks: Sequence[Task]) -> list[Tensor]:
    return [task.initial_parameters(np.random.default_rng(10 + i)) for i, task in enumerate(tasks)]


def play(
    learner: Any,
    tasks: Sequence[Task],
    parts: Sequence[Sequence[int]],
    starts: Sequence[Tensor],
    theta: Tensor,
    executor: Any = None,
    uninvited: int = 1,
) -> Reports:
    """What was reported: (node, name) -> tensors in order, tuples of tensors where the value is one.

    uninvited: reports of a device by each name before its first download, which are left out

    tasks, parts, starts: by device, its architecture, samples and initial model; theta: the server's initial model."""
    set_threads(1)
    executor = executor or EagerExecutor()
    devices = tuple(range(len(parts)))
    nodes = [
        LoopbackNode(
            i,
            (SERVER,),
            executor.lift(starts[i].clone()),
            np.random.default_rng(100 + i),
            num_samples=len(part),
            devices=devices,
            stream=BatchStream(np.array(part), np.random.default_rng(i), F64),
            task=tasks[i],
            dtype=F64,
        )
        for i, part in enumerate(parts)
    ]
    server = LoopbackNode(SERVER, devices, executor.lift(theta.clone()), np.random.default_rng(99), dtype=F64)
    server.devices, server.samples_of, server.task = devices, [len(part) for part in parts], learner.task
    found: Reports = {}
    for node, name, value, _ in loopback(learner.program, [*nodes, server]).reports:
        found.setdefault((node, name), []).append(_tensors(executor, value))
    return {(node, name): values[0 if node == SERVER else uninvited :] for (node, name), values in found.items()}


def _tensors(executor: Any, value: Any) -> Any:
    if value is None or isinstance(value, tuple):
        return value and tuple(_tensors(executor, part) for part in value)
    return executor.materialize([value])[0].clone()
