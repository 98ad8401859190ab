"""Decisions, rates and objectives of control problems; samples of mixed scales in one padded call are those of unpadded ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from learners.control import data_sets
from learners.control.control_task import PRICED_SAMPLES, ControlTask
from learners.control.problem import Problem, packed, padded
from learners.control.rules import PowerControl, PowerSplit, SumRate, log_feature
from learners.models.flat import flatten, unflatten
from learners.registry import load

F64 = torch.float64
MODELS = {
    "interference_channel": "edge_equivariant",
    "link_activation": "message_passing",
    "parallel_channels": "equivariant",
}


def problem_of(name: str) -> Problem:
    make = getattr(data_sets, name)
    return make(np.random.default_rng(1), scales=(2, 5, 3), train_samples=12, test_samples=6)  # type: ignore[no-any-return]


def task_of(name: str) -> tuple[ControlTask, torch.Tensor]:
    """A task and parameters that are not saturated."""
    problem = problem_of(name)
    model = load("model", MODELS[name])(problem.input_shape, 1)
    return ControlTask(problem, model, "float64"), torch.tensor(model.initial(np.random.default_rng(2)), dtype=F64)


@pytest.mark.parametrize("name", MODELS)
def test_mixed_scales_in_one_call_are_the_unpadded_samples(name: str) -> None:
    task, x = task_of(name)
    rows, scales = torch.tensor([3, 0, 11, 3, 7]), torch.tensor([2, 5, 3, 1, 4])
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=F64)  # the last one is padding of the batch
    together = task.gradient.fn(x, rows + 12 * scales, weights)
    pool = torch.tensor(task.problem.train_inputs, dtype=F64)
    objective = SumRate(task.problem.rule)

    def loss(parameters: tuple[torch.Tensor, ...]) -> torch.Tensor:
        losses = []
        for row, k in zip(rows[:4].tolist(), scales[:4].tolist(), strict=True):
            columns = [*range(k), -1] if task.problem.kind == "matrix" else [0, 1]
            sample = pool[row, :k][:, columns].unsqueeze(0)
            losses.append(objective(task.model, parameters, sample, sample, sample.new_ones(1)))
        return torch.stack(losses).mean()

    alone = flatten(torch.func.grad(loss)(unflatten(x, task.model.shapes)))
    assert alone.abs().max() > 1e-4
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("K", [1, 5])
def test_the_price_of_a_step_by_hand(K: int) -> None:
    """Two operations a multiplication, of products of matrices only: forward, and backward to all parameters and to all layers' inputs but the
    first's. 1-16-16-16-1: two matrices an object. 2-32-32-32-1: three, and A and its transpose times 2 + 3 x 32 columns of states."""
    numbers = 16 + 256 + 256 + 16
    split, _ = task_of("parallel_channels")
    assert split.step_flops(K) == PRICED_SAMPLES * 2 * K * 2 * (3 * numbers - 16)
    numbers, columns = 2 * 32 + 2 * 1024 + 32, 2 + 3 * 32
    power, _ = task_of("interference_channel")
    assert power.step_flops(K) == PRICED_SAMPLES * 2 * K * (3 * (3 * numbers - 64) + 2 * K * (2 * columns - 2))


@pytest.mark.parametrize("name", MODELS)
def test_tests_of_all_scales_are_those_of_each(name: str) -> None:
    task, x = task_of(name)
    shares, losses = task.metric.fn(x, task.test_inputs, task.test_labels)
    for scale in (2, 3, 5):
        rows = torch.from_numpy(task.problem.test_scales == scale)
        share, loss = task.metric.fn(x, *task.of_scale(scale))
        torch.testing.assert_close(shares[rows], share, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(losses[rows], loss, rtol=1e-9, atol=1e-12)
        assert torch.allclose(share, -loss / task.problem.tests[scale].reference)


def test_the_reference_has_share_one_and_full_power_what_the_note_says() -> None:
    problem = problem_of("interference_channel")
    inputs, reference = problem.tests[5]
    samples = torch.from_numpy(inputs)
    powers = torch.from_numpy(data_sets.wmmse(problem.rule.gains(samples).numpy()))
    rates = problem.rule.rates(powers, samples).sum(-1)
    assert rates.mean().item() == pytest.approx(reference, rel=1e-12)
    full = problem.rule.rates(torch.ones(6, 5, dtype=F64), samples).sum(-1).mean().item()
    assert f"5: {reference:.3f} bit/s/Hz, {full / reference:.3f}" in problem.notes[0]


def test_powers_are_within_their_bounds_and_absent_objects_have_none() -> None:
    samples = torch.from_numpy(padded(packed(np.ones((2, 3, 3))), "matrix", 5))
    scores = torch.tensor([[-50.0, 0.0, 50.0, 9.0, 9.0]], dtype=F64).expand(2, 5)
    powers = PowerControl().decide(scores, samples)
    assert powers[0].tolist() == pytest.approx([0, 0.5, 1, 0, 0], abs=1e-12)
    assert PowerControl(rounded=True).applied(torch.tensor([0.2, 0.8])).tolist() == [0, 1]
    channels = torch.from_numpy(padded(packed(np.ones((2, 3))), "vector", 5))
    split = PowerSplit(budget=0.3).decide(scores, channels)
    assert split.sum(-1).tolist() == pytest.approx([0.9, 0.9], rel=1e-12)
    assert split[:, 3:].abs().max() == 0


@pytest.mark.parametrize("rule", [PowerControl(), PowerSplit()])
def test_baselines_spend_what_there_is(rule: PowerControl | PowerSplit) -> None:
    features = np.ones((2, 3, 3)) if rule.kind == "matrix" else np.ones((2, 3))
    samples = torch.from_numpy(padded(packed(features), rule.kind, 5))
    uniform = torch.rand(2, 5, dtype=F64, generator=torch.Generator().manual_seed(1))
    full, drawn = rule.full(samples), rule.drawn(uniform, samples)
    assert full[:, 3:].abs().max() == drawn[:, 3:].abs().max() == 0
    if rule.kind == "matrix":
        assert torch.equal(full[:, :3], torch.ones(2, 3, dtype=F64))
        assert torch.equal(drawn[:, :3], uniform[:, :3])
    else:
        assert full.sum(-1).tolist() == pytest.approx(drawn.sum(-1).tolist())
        assert full.sum(-1).tolist() == pytest.approx([0.9, 0.9])


@pytest.mark.parametrize("gain", [1e-9, 1e-3, 1.0, 1e3, 1e9])
def test_log_features_are_gains_again(gain: float) -> None:
    features = torch.tensor(packed(log_feature(np.full((1, 2, 2), gain))))
    assert PowerControl(feature="log").gains(features).flatten().tolist() == pytest.approx([gain] * 4, rel=1e-9)
    in_float32 = PowerControl(feature="log").gains(features.float())
    assert in_float32.flatten().tolist() == pytest.approx([gain] * 4, rel=3e-5)


class Scores:
    """A model that answers with these."""

    def forward(self, parameters: object, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.new_full(inputs.shape[:-1], 50.0)


def test_what_is_minimized_is_minus_the_sum_of_rates() -> None:
    """The specification's worked example: |H| = [[1, .5], [.4, .8]], sigma^2 = .1, full power: 3.738946 bit/s/Hz."""
    samples = torch.from_numpy(packed(np.array([[[1, 0.5], [0.4, 0.8]]])))
    loss = SumRate(PowerControl(noise=0.1))(Scores(), (), samples, samples, samples.new_ones(1))
    assert loss.item() == pytest.approx(-3.738946, abs=1e-6)


def test_noise_and_budget_are_those_of_the_keys() -> None:
    rng = np.random.default_rng(1)
    noisy = data_sets.interference_channel(rng, scales=(2,), train_samples=2, test_samples=2, noise=0.5)
    assert noisy.rule == PowerControl(0.5)
    split = data_sets.parallel_channels(rng, scales=(2, 5), train_samples=2, test_samples=6, mean_gain=3.0, budget=0.7)
    for scale, (inputs, reference) in split.tests.items():
        gains = 3 * inputs[..., 0]
        rates = np.log2(1 + gains * data_sets.water_filling(gains, 0.7 * scale)).sum(-1)
        assert reference == pytest.approx(rates.mean(), rel=1e-12)


def test_link_activation_is_tested_on_or_off() -> None:
    task, x = task_of("link_activation")
    inputs, references = task.of_scale(5)
    powers = task.problem.rule.decide(task.model.forward(unflatten(x, task.model.shapes), inputs), inputs)
    assert ((powers > 0.01) & (powers < 0.99)).any()
    rates = task.problem.rule.rates((powers > 0.5).to(F64), inputs).sum(-1)
    torch.testing.assert_close(task.metric.fn(x, inputs, references)[1], -rates)


def test_recorded_samples_are_trained_on_or_tested_by_their_first_links(tmp_path: Path) -> None:
    gains = np.random.default_rng(3).exponential(10.0, (10, 3, 3))
    np.savez(tmp_path / "my.npz", gains=gains)
    problem = data_sets.recorded_channels(np.random.default_rng(4), file=str(tmp_path / "my.npz"), scales=(2, 3))
    assert len(problem.train_inputs) == 8
    held = [*problem.train_inputs[:, :2, :2], *problem.tests[2].inputs[..., :2]]
    assert sorted(sample[0, 1] for sample in held) == pytest.approx(sorted(log_feature(gains[:, 0, 1])))
