"""Scores of many models at once against one model and one sample at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners import scoring
from learners.data.digits import digits
from learners.deferred import Op, op
from learners.executors import BatchedExecutor, EagerExecutor
from learners.models.lenet import LeNet
from learners.models.mlp import Mlp
from learners.scoring import Examples, Scorer, padded_length
from learners.task import Task

NUM_MODELS = 9
EXECUTORS = {"batched": BatchedExecutor, "eager": EagerExecutor}


def task_of(model: str, dtype: str = "float64") -> Task:
    dataset = digits(np.random.default_rng(1), test_fraction=0.2)
    make = Mlp if model == "mlp" else LeNet
    return Task(dataset, make(dataset.input_shape, 10), dtype)


def models(task: Task, executor: Any) -> list[Any]:
    rng = np.random.default_rng(4)
    return [executor.lift(task.initial_parameters(rng)) for _ in range(NUM_MODELS)]


def by_hand(task: Task, x: Tensor, inputs: Tensor, labels: Tensor) -> list[float]:
    """Sample by sample."""
    correct, losses = 0, 0.0
    for sample, label in zip(inputs, labels, strict=True):
        hit, loss = task.metric(x, sample[None], label[None])
        correct += int(hit)
        losses += float(loss)
    return [correct / len(inputs), losses / len(inputs)]


def numbers(value: Any) -> Tensor:
    return value.tensor() if not isinstance(value, Tensor) else value


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Any:
    return EXECUTORS[request.param]()


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_scores_are_those_of_one_sample_at_a_time(model: str, executor: Any) -> None:
    task = task_of(model)
    test = Examples(task.test_inputs[:60], task.test_labels[:60])
    values = models(task, executor)[:4]
    scores = Scorer(executor, task.dtype).score([(value, task.metric, test) for value in values])
    expected = [by_hand(task, numbers(value), test.inputs, test.labels) for value in values]
    np.testing.assert_allclose(scores[:, :2], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["mlp", "lenet"])
def test_own_samples_are_scored_in_few_calls(model: str) -> None:
    """Each device on rows of its own, as many as it has: none, one, or more than fit into one length."""
    task, executor = task_of(model), BatchedExecutor()
    rng = np.random.default_rng(6)
    labels = task.samples.train_labels
    sizes = [0, 1, 3, 4, 5, 7, 8, 30, 31]
    own = [Examples(task.samples.train_inputs, labels, rng.choice(len(labels), n, replace=False)) for n in sizes]
    values = models(task, executor)
    scores = Scorer(executor, task.dtype).score(
        [(value, task.metric, rows) for value, rows in zip(values, own, strict=True)]
    )
    assert np.isnan(scores[0]).all()
    for value, rows, score in list(zip(values, own, scores, strict=True))[1:]:
        expected = by_hand(task, numbers(value), task.samples.train_inputs[rows.rows], labels[rows.rows])
        np.testing.assert_allclose(score[:2], expected, rtol=0, atol=1e-12)
    if model == "mlp":
        assert executor.num_calls == len({padded_length(n) for n in sizes[1:]}) == 4


def test_lengths_are_few_and_at_most_half_as_many_again() -> None:
    lengths = [padded_length(n) for n in range(1, 2000)]
    assert all(n <= length <= max(4, 1.5 * n) for n, length in enumerate(lengths, 1))
    assert len(set(lengths)) == 19


@pytest.mark.parametrize("own", [False, True])
def test_pieces_that_fit_into_memory_give_the_same(own: bool, executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("mlp")
    rows = np.arange(5, 305) if own else None
    whole = Examples(task.samples.train_inputs, task.samples.train_labels, rows)
    value = models(task, executor)[0]
    expected = Scorer(executor, task.dtype).score([(value, task.metric, whole)])
    monkeypatch.setattr(scoring, "PIECE_BYTES", 200_000)
    cut = Examples(whole.inputs, whole.labels, rows)
    jobs = executor.num_jobs
    found = Scorer(executor, task.dtype).score([(value, task.metric, cut)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    (pieces,) = cut._pieces.values()
    assert len(pieces) > 3
    if isinstance(executor, BatchedExecutor):
        assert executor.num_jobs == jobs + len(pieces)


def test_accuracy_has_the_bits_of_a_mean_in_the_runs_own_dtype() -> None:
    """Counting rounds nothing: #correct / n in float64, rounded once, is torch's float32 mean for any count."""
    n = 360
    for count in range(n + 1):
        expected = float((torch.arange(n) < count).to(torch.float32).mean())
        assert float(np.float32(count / n)) == expected


@op
def mean_only(x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """A learner's own metric that gives no number a sample."""
    return (x.sum() * inputs.flatten(1).sum(1)).mean() + 0 * labels.sum()


@op
def hits_only(x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    return labels < 5


@pytest.mark.parametrize("metric", [mean_only, hits_only])
@pytest.mark.parametrize("own", [False, True])
def test_metrics_without_losses(metric: Op, own: bool, executor: Any) -> None:
    task = task_of("mlp")
    rows = np.arange(3, 16) if own else None
    labels = task.samples.train_labels
    samples = Examples(task.samples.train_inputs, labels, rows)
    value = models(task, executor)[0]
    (score,) = Scorer(executor, task.dtype).score([(value, metric, samples)])
    chosen = slice(None) if rows is None else rows
    expected = metric(numbers(value), task.samples.train_inputs[chosen], labels[chosen]).double().mean()
    assert score[0] == pytest.approx(float(expected), abs=1e-12)
    assert np.isnan(score[1])
    assert score[2] == 0, "no loss is no sign of divergence"


def test_a_diverged_models_padding_does_not_hide_its_loss(executor: Any) -> None:
    """inf * 0 would be nan."""
    task = task_of("mlp", "float32")
    x = executor.lift(task.initial_parameters(np.random.default_rng(1)) * 1e30)
    own = Examples(task.samples.train_inputs, task.samples.train_labels, np.arange(5))
    (score,) = Scorer(executor, task.dtype).score([(x, task.metric, own)])
    assert 0 <= score[0] <= 1
    assert score[2] == 1
    assert score[1] == np.inf or np.isnan(score[1]) == bool(
        torch.isnan(task.metric(numbers(x), task.samples.train_inputs[:5], own.labels[:5])[1]).any()
    )


def test_consensus_is_the_mean_and_the_distance_to_it(executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("mlp")
    values = models(task, executor)
    values = [*values, values[2], values[2]]  # three devices hold one model
    rows = torch.stack([numbers(value) for value in values])
    distance = float((rows - rows.mean(0)).square().sum(1).mean().sqrt())
    for chunk in (scoring.CHUNK_BYTES, 8 * task.num_params * 2):
        monkeypatch.setattr(scoring, "CHUNK_BYTES", chunk)
        mean, found = Scorer(executor, task.dtype).consensus(values)
        assert torch.allclose(numbers(mean), rows.mean(0), rtol=0, atol=1e-12)
        assert found == pytest.approx(distance, rel=1e-12)


def test_devices_that_hold_one_model_agree(executor: Any) -> None:
    value = models(task_of("mlp"), executor)[0]
    mean, distance = Scorer(executor, torch.float64).consensus([value] * 3)
    assert mean is value
    assert distance == 0.0


def test_consensus_counts_each_device(executor: Any) -> None:
    """1, 1 and 4: mean 2, distances 1, 1, 2: sqrt(2)."""
    one, four = executor.lift(torch.tensor([1.0])), executor.lift(torch.tensor([4.0]))
    mean, distance = Scorer(executor, torch.float32).consensus([one, four, one])
    assert float(numbers(mean)) == 2.0
    assert distance == pytest.approx(np.sqrt(2), rel=1e-12)


def test_the_losses_are_torchs_cross_entropy() -> None:
    task = task_of("mlp")
    executor = EagerExecutor()
    x = models(task, executor)[0]
    (score,) = Scorer(executor, task.dtype).score([(x, task.metric, Examples(task.test_inputs, task.test_labels))])
    w1, b1, w2, b2 = x[: 64 * 64].view(64, 64), x[4096:4160], x[4160:4800].view(10, 64), x[4800:]
    logits = torch.relu(task.test_inputs.flatten(1) @ w1.T + b1) @ w2.T + b2
    assert score[1] == pytest.approx(float(nn.functional.cross_entropy(logits, task.test_labels)), abs=1e-12)
