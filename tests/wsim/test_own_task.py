"""`simulate(..., task=...)`: what is learned is the caller's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.data.dataset import Dataset
from learners.deferred import Op
from learners.models.mlp import Mlp
from learners.task import Task
from wsim.engine import simulate
from wsim.errors import ScenarioError
from wsim.scenario import load_text

DIM = 3

PEERS = """
scenario = { name = "own", seed = 1 }
stop = { rounds = 12 }
dtype = "float64"
area = { shape = "disc", radius_m = 50.0 }
topology = { kind = "complete" }
mac = { kind = "ideal" }
channel = { carrier_hz = 2.4e9, bandwidth_hz = 1e6 }
algorithm = { name = "dpsgd", exchange = "unicast", learning_rate = 0.3, batch_size = 5, mixing_weights = "uniform" }
[[devices]]
count = 4
compute = { effective_flops = 1e8 }
radio = { tx_power_dbm = 20.0 }
"""


class Quadratic:
    """f_i(x) = mean over the samples b of device i of |x - t_b|^2 / 2, with the targets t_b [num_train, DIM] as inputs."""

    dtype = torch.float64
    num_params = DIM

    def __init__(self, targets: np.ndarray, test_target: np.ndarray) -> None:
        inputs = torch.tensor(targets)
        self.train_labels = np.zeros(len(targets), dtype=np.int64)
        test = torch.tensor(test_target).unsqueeze(0)
        zeros = torch.zeros(len(targets), dtype=torch.int64)
        self.samples = SimpleNamespace(train_inputs=inputs, train_labels=zeros, test_inputs=test, test_labels=zeros[:1])

        def gradient(x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
            return (weights @ (x - inputs[indices])) / weights.sum()

        def sgd_step(x: Tensor, indices: Tensor, weights: Tensor, learning_rate: Any) -> Tensor:
            return x - learning_rate * gradient(x, indices, weights)

        def metric(x: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            losses = (x - inputs).square().sum(-1) / 2
            return losses < 1e-3, losses

        self.gradient, self.sgd_step, self.metric = (
            Op(fn, name=fn.__name__, flops=lambda x, *rest: 4 * x.numel()) for fn in (gradient, sgd_step, metric)
        )

    def initial_parameters(self, rng: np.random.Generator) -> Tensor:
        return torch.tensor(rng.standard_normal(DIM))


def test_a_task_from_scratch_converges_as_gradient_descent_on_its_mean_does() -> None:
    """Full batches and equal shares: whatever is mixed, the mean model follows x <- x - lr (x - t) with t the mean of all
    targets, so its loss |x - t|^2 / 2 falls by (1 - lr)^2 a round; in float64 to rounding."""
    targets = np.random.default_rng(3).standard_normal((20, DIM)) + 5.0
    task = Quadratic(targets, targets.mean(0))
    loaded = load_text(PEERS, ["evaluation.subjects=['mean_model']"], task=task)
    record = simulate(loaded, task=task)
    losses = record.test_loss
    assert len(losses) == 12
    assert losses[0] > 1.0
    np.testing.assert_allclose(losses[1:] / losses[:-1], (1 - 0.3) ** 2, rtol=1e-9)
    assert record.accuracy.tolist() == [0.0] * 12  # nothing is within 1e-3 yet
    assert "own task Quadratic" in str(record.handed_in)
    estimated = simulate(loaded, executor="null", task=task)
    assert (estimated.simulated_s, estimated.on_air_bits) == (record.simulated_s, record.on_air_bits)


def squared_error(model: Any, parameters: Any, inputs: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Brier score instead of cross-entropy."""
    wanted = (labels.unsqueeze(-1) == torch.arange(model.num_classes)).to(weights.dtype)
    errors = (model.forward(parameters, inputs) - wanted).square().sum(-1)
    return (weights * errors).sum() / weights.sum()


def brier(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    wanted = (labels.unsqueeze(-1) == torch.arange(logits.shape[-1])).to(logits.dtype)
    return logits.argmax(-1) == labels, (logits - wanted).square().sum(-1)


def own_classification() -> Task:
    rng = np.random.default_rng(5)
    inputs, labels = rng.standard_normal((60, 4)), np.arange(60) % 2
    inputs[:, 0] += 4.0 * labels
    dataset = Dataset("own", inputs[:40], labels[:40], inputs[40:], labels[40:], 2)
    return Task(dataset, Mlp((4,), 2, hidden=()), "float64", objective=squared_error, score=brier)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_an_own_data_set_model_objective_and_score(momentum: float) -> None:
    """A linear model under squared error and full batches has one minimum, that of least squares; the run comes close to it,
    with momentum too, which is another op."""
    task = own_classification()
    changes = [
        "stop.rounds=400",
        "algorithm.learning_rate=0.02",
        f"algorithm.momentum={momentum}",
        "evaluation.every_rounds=400",
        "evaluation.subjects=['mean_model']",
    ]
    record = simulate(load_text(PEERS, [*changes, "algorithm.batch_size=10"], task=task), task=task)
    samples = task.samples
    design = np.c_[samples.train_inputs.numpy(), np.ones(40)]
    wanted = np.eye(2)[samples.train_labels.numpy()]
    weights = np.linalg.lstsq(design, wanted, rcond=None)[0]
    errors = np.square(
        np.c_[samples.test_inputs.numpy(), np.ones(20)] @ weights - np.eye(2)[samples.test_labels.numpy()]
    )
    assert record.test_loss[-1] == pytest.approx(errors.sum(1).mean(), rel=0.05)  # a constant rate leaves a bias
    assert record.accuracy[-1] >= 0.9


def test_the_partition_is_checked_against_the_task() -> None:
    task = Quadratic(np.zeros((3, DIM)), np.zeros(DIM))
    with pytest.raises(ScenarioError, match=r"\[data\]: 4 devices cannot share 3 training samples"):
        load_text(PEERS, task=task)
    many = Quadratic(np.zeros((2000, DIM)), np.zeros(DIM))
    assert load_text(PEERS.replace("count = 4", "count = 1900"), task=many).scenario.num_devices == 1900


def test_another_dtype_than_the_scenarios_is_refused() -> None:
    task = Quadratic(np.zeros((20, DIM)), np.zeros(DIM))
    loaded = load_text(PEERS, ["dtype=float32"], task=task)
    with pytest.raises(ScenarioError, match='own dtype = "float32": the task\'s is float64'):
        simulate(loaded, task=task)
