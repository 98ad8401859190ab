"""Local training against torch.optim.SGD on the same minibatches, and what its hyper-parameters refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.data.dataset import Dataset
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.qg_dsgdm import QgDsgdm
from learners.deferred import Op
from learners.executors import BatchedExecutor
from learners.federated.fedavg import FedAvg
from learners.federated.fedopt import FedOpt
from learners.local_sgd import LocalSgd
from learners.local_step import Rule, local_step
from learners.loopback import LoopbackNode
from learners.models.lenet import LeNet
from learners.models.mlp import Mlp
from learners.protocol import Compute, Node, Value
from learners.task import Task, cross_entropy
from tests.learners.test_augmentation import cropped

RULES = {
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "weight decay": {"weight_decay": 0.01},
    "all": {"momentum": 0.7, "nesterov": True, "weight_decay": 0.02},
    "adam": {"local_optimizer": "adam", "weight_decay": 0.02},
}


def dataset(input_shape: tuple[int, ...] = (1, 8, 8)) -> Dataset:
    rng = np.random.default_rng(5)
    inputs, labels = rng.random((60, *input_shape)), rng.integers(0, 10, 60)
    return Dataset("random", inputs, labels, inputs[:12], labels[:12], 10)


def task_of(model: str = "mlp") -> Task:
    built = Mlp((1, 8, 8), 10, [12]) if model == "mlp" else LeNet((1, 8, 8), 10, [12])
    return Task(dataset(), built, "float64")


def module_of(model: str) -> nn.Module:
    if model == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).double()
    first = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).double()


def node_of(task: Task) -> LoopbackNode:
    stream = BatchStream(np.arange(50), np.random.default_rng(3), torch.float64, lambda: np.random.default_rng(4))
    start = task.initial_parameters(np.random.default_rng(2))
    return LoopbackNode(0, (1,), start, np.random.default_rng(0), stream=stream, task=task, dtype=torch.float64)


def trained(learner: LocalSgd, node: Node, num_rounds: int, executor: Any = None) -> list[Tensor]:
    """The model after each of some local trainings, one after the other."""
    x: Value = node.initial_parameters if executor is None else executor.lift(node.initial_parameters)
    models = []
    for k in range(num_rounds):
        program = learner.train(node, x, k, learner.batches(node))
        request = next(program)
        assert isinstance(request, Compute)
        with pytest.raises(StopIteration) as end:
            program.send(request.op(*request.args))
        x = end.value.value
        models.append(x if isinstance(x, Tensor) else x.tensor())
    return models


class Twin:
    """The same minibatches through a torch module and torch.optim.SGD, or torch.optim.Adam."""

    def __init__(self, node: LoopbackNode, model: str, **options: Any) -> None:
        self.module = module_of(model)
        nn.utils.vector_to_parameters(node.initial_parameters.clone(), self.module.parameters())
        self.inputs, self.labels = torch.tensor(node.task.dataset.train_inputs), torch.tensor(node.task.train_labels)
        self.stream = node_of(node.task).stream
        self.optimizer_class = torch.optim.Adam if options.pop("local_optimizer", "sgd") == "adam" else torch.optim.SGD
        self.options = options
        self.restart()

    def restart(self) -> None:
        """A new optimizer: the momentum buffer is zero again."""
        self.optimizer = self.optimizer_class(self.module.parameters(), **self.options)

    def train(self, rate: float, crop_padding: int | None = None, **how: Any) -> Tensor:
        self.optimizer.param_groups[0]["lr"] = rate
        batches = self.stream.draw(8, **how, crop_padding=crop_padding)
        for indices, weights, *drawn in zip(*batches.steps, strict=True):
            real = indices[weights > 0]
            inputs = self.inputs[real]
            if crop_padding is not None:
                offsets, flips = (part[weights > 0].numpy() for part in drawn)
                images = [cropped(image, *place, crop_padding) for image, place in zip(inputs.numpy(), offsets)]
                mirrored = [image[:, :, ::-1] if mirror else image for image, mirror in zip(images, flips)]
                inputs = torch.tensor(np.stack(mirrored))
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.module(inputs), self.labels[real]).backward()
            self.optimizer.step()
        return nn.utils.parameters_to_vector(self.module.parameters()).detach().clone()


@pytest.mark.parametrize("executor", [None, BatchedExecutor])
@pytest.mark.parametrize("work", [{"local_steps": 4}, {"local_epochs": 2}])
@pytest.mark.parametrize("model", ["mlp", "lenet"])
@pytest.mark.parametrize("rule", RULES)
def test_steps_equal_those_of_torch(rule: str, model: str, work: dict[str, int], executor: Any) -> None:
    """The momentum of FedAvg's clients starts from zero in every round, that of D-PSGD's devices goes on."""
    node = node_of(task_of(model))
    how = {key.removeprefix("local_"): value for key, value in work.items()}
    for cls, keeps in ((FedAvg, False), (Dpsgd, True)):
        node = node_of(task_of(model))
        rate, tolerance = (0.01, 1e-9) if rule == "adam" else (0.1, 1e-12)  # it divides by roots of almost nothing
        learner: Any = cls(node.task, Float32(), 3, rate, 8, **work, **RULES[rule])
        models = trained(learner, node, 3, executor and executor())
        twin = Twin(node, model, lr=rate, **RULES[rule])
        for x in models:
            assert float((x - twin.train(rate, **how)).abs().max()) < tolerance
            if not keeps:
                twin.restart()
        assert float((models[-1] - node.initial_parameters).abs().max()) > 0.01


def test_the_rate_of_a_round_is_that_of_its_schedule() -> None:
    node = node_of(task_of())
    learner = FedAvg(
        node.task, Float32(), 5, 0.2, 8, local_steps=2, learning_rate_schedule="cosine", warmup_rounds=1, momentum=0.5
    )
    twin = Twin(node, "mlp", lr=0.1, momentum=0.5)
    rates = [0.1, *(0.2 * (1 + np.cos(np.pi * n / 4)) / 2 for n in range(4))]
    for x, rate in zip(trained(learner, node, 5), rates, strict=True):
        assert float((x - twin.train(rate, steps=2)).abs().max()) < 1e-12
        twin.restart()


@pytest.mark.parametrize("executor", [None, BatchedExecutor])
@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_augmented_steps_equal_torch_on_changed_images(model: str, executor: Any) -> None:
    node = node_of(task_of(model))
    learner = FedAvg(node.task, Float32(), 5, 0.1, 8, local_epochs=1, augmentation="crop_flip", crop_padding=2)
    twin = Twin(node, model, lr=0.1)
    plain = Twin(node, model, lr=0.1)
    for x in trained(learner, node, 2, executor and executor()):
        assert float((x - twin.train(0.1, 2, epochs=1)).abs().max()) < 1e-12
        assert float((x - plain.train(0.1, epochs=1)).abs().max()) > 1e-3


def test_a_plain_step_is_the_op_of_the_task_with_a_number_for_its_rate() -> None:
    """The path that everybody takes by default stays as it is: one scan of `Task.sgd_step`, the rate in its signature."""
    node = node_of(task_of())
    learner = FedAvg(node.task, Float32(), 5, 0.25, 8, local_steps=3)
    request = next(learner.train(node, node.initial_parameters, 0, learner.batches(node)))
    assert request.op is node.task.sgd_step.scan
    assert request.args[2] == 0.25
    assert isinstance(request.args[2], float)


def test_rates_that_change_share_their_op_and_signature() -> None:
    task, executor = task_of(), BatchedExecutor()
    learner = FedAvg(task, Float32(), 50, 0.25, 8, local_steps=3, learning_rate_schedule="cosine")
    nodes = [node_of(task) for _ in range(8)]
    results = []
    for k, node in enumerate(nodes):
        request = next(learner.train(node, executor.lift(node.initial_parameters), k, learner.batches(node)))
        results.append(request.op(*request.args))
    executor.flush()
    assert (executor.num_jobs, executor.num_calls) == (24, 3)


def test_devices_of_a_task_share_the_op_of_one_rule() -> None:
    task, rule = task_of(), Rule(momentum=0.9)
    assert local_step(task, cross_entropy, rule) is local_step(task, cross_entropy, Rule(momentum=0.9))
    assert local_step(task, cross_entropy, rule) is not local_step(task, cross_entropy, Rule(momentum=0.8))
    assert local_step(task, cross_entropy, rule) is not local_step(task_of(), cross_entropy, rule)


def test_momentum_weight_decay_and_augmentation_cost_the_flops_of_the_plain_step() -> None:
    node = node_of(task_of("lenet"))
    plain = next(FedAvg(node.task, Float32(), 1, local_steps=3).train(node, node.initial_parameters, 0, draw(node)))
    learner = FedAvg(node.task, Float32(), 1, local_steps=3, momentum=0.9, weight_decay=0.1, augmentation="crop_flip")
    request = next(learner.train(node, node.initial_parameters, 0, learner.batches(node)))
    assert isinstance(request.op.op, Op)
    assert request.op.flops(*request.args) == plain.op.flops(*plain.args) > 0


def draw(node: LoopbackNode) -> Any:
    return node.batches(16, steps=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum = 1.0: less than 1"),
        ({"momentum": -0.1}, "momentum = -0.1: a non-negative"),
        ({"nesterov": True}, "nesterov = True: needs momentum above 0"),
        ({"weight_decay": float("inf")}, "weight_decay = inf"),
        ({"warmup_rounds": -1}, "warmup_rounds = -1: a non-negative integer"),
        ({"learning_rate_schedule": "linear"}, "learning_rate_schedule = 'linear': one of constant, step, cosine"),
        ({"decay_rounds": 3}, "decay_rounds = 3: only with a schedule that is not constant"),
        ({"decay_factor": 0.5, "learning_rate_schedule": "cosine"}, "decay_factor = 0.5: only with the step schedule"),
        ({"final_learning_rate": 0.1}, "final_learning_rate = 0.1: only with the cosine schedule"),
        ({"learning_rate_schedule": "step"}, "decay_rounds = None: the step schedule needs a number of rounds"),
        ({"learning_rate_schedule": "cosine", "num_rounds": None}, "decay_rounds = None: the cosine schedule needs"),
        ({"learning_rate_schedule": "cosine", "warmup_rounds": 5}, "warmup_rounds = 5: fewer than the 5 rounds"),
        ({"crop_padding": 4}, "crop_padding = 4: only with augmentation by crop_flip"),
        ({"local_optimizer": "lamb"}, "local_optimizer = 'lamb': one of sgd, adam"),
        ({"local_optimizer": "adam", "momentum": 0.5}, 'momentum = 0.5: of local_optimizer = "sgd" only'),
        ({"augmentation": "mixup"}, "augmentation = 'mixup': one of none, crop_flip"),
    ],
)
def test_a_bad_field_is_named(options: dict[str, Any], message: str) -> None:
    keys: Any = {"task": None, "codec": Float32(), "num_rounds": 5, "local_steps": 1} | options
    with pytest.raises(ValueError, match=message):
        FedAvg(**keys)


def test_adam_is_refused_by_methods_that_work_on_gradients() -> None:
    for cls in (QgDsgdm, FedOpt):
        with pytest.raises(
            ValueError, match='local_optimizer = "adam": this method works on the gradients of plain SGD'
        ):
            cls(None, Float32(), 5, local_steps=1, local_optimizer="adam")  # type: ignore[arg-type]


def test_augmentation_needs_images() -> None:
    task = Task(dataset((64,)), Mlp((64,), 10))
    with pytest.raises(ValueError, match="needs images, samples have the shape"):
        FedAvg(task, Float32(), 5, local_steps=1, augmentation="crop_flip")


def test_what_is_left_out_is_filled_in() -> None:
    step = FedAvg(None, Float32(), 5, local_steps=1, learning_rate_schedule="step", decay_rounds=2)  # type: ignore[arg-type]
    assert (step.decay_factor, step.final_learning_rate) == (0.1, None)
    cosine = FedAvg(None, Float32(), 5, local_steps=1, learning_rate_schedule="cosine", warmup_rounds=2)  # type: ignore[arg-type]
    assert (cosine.decay_rounds, cosine.final_learning_rate) == (3, 0.0)
    assert FedAvg(None, Float32(), 5, local_steps=1, augmentation="crop_flip").crop_padding == 4  # type: ignore[arg-type]
