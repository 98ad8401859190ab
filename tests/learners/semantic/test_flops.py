"""What the processor is charged for, in numbers by hand: 64 -> 128 -> 32 features, 10 classes of digits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.protocol import Batches, Compute
from learners.semantic.block_rate import BlockRate
from learners.semantic.coding_rate import CodingRateReduction
from learners.semantic.compositional_mcr2 import SubspaceRate
from learners.semantic.consensus import PenalizedRate
from learners.semantic.moments import projected, second_moment_sums
from learners.semantic.semantic_mcr2 import SemanticMcr2
from tests.learners.semantic.digits_runs import DIM, tasks

OF_A_SAMPLE = 63_488
"""Forward 2 (64 * 128 + 128 * 32) = 24,576, the gradient in the weights as much again, that in the second layer's inputs 2 * 128 * 32
= 8,192; Z'Z and its gradient in both factors 3 * 2 * 32^2 = 6,144."""
V = torch.zeros(10, DIM, DIM)
PER_CLASS, ONE = torch.zeros(10), torch.ones(())
RATE = CodingRateReduction()
PENALIZED = PenalizedRate(RATE, 5.0)

STEPS: list[tuple[Any, tuple[Any, ...], int]] = [
    (RATE, (), 761_856),
    (PENALIZED, (V, V, PER_CLASS, PER_CLASS), 884_736),
    (BlockRate(PENALIZED, True), (V, PER_CLASS, ONE, ONE, V, V, PER_CLASS, PER_CLASS), 946_176),
    (SubspaceRate(RATE, 0.5), (V,), 802_816),
]
"""Objective, its arguments, and what a step costs whatever its batch: log-determinants of 10 classes and of all with their gradients 11
* 2 * 32^3 = 720,896; M of the V^k and back 2 * 2 * 10 * 32^2 = 40,960; and 0, 12, 12 + 6 and 4 operations for each of 10 * 32^2 numbers."""


def batches(num_samples: int, batch_size: int) -> Batches:
    return BatchStream(np.arange(num_samples), np.random.default_rng(0), torch.float32).draw(batch_size, epochs=1)


def charged(objective: Any, args: tuple[Any, ...], drawn: Batches) -> float:
    """Of one local training."""
    task = tasks()[0]
    node: Any = SimpleNamespace(task=task, state={})
    learner = SemanticMcr2(task, Float32(), 1, local_epochs=1)
    request = next(learner.train(node, task.zero_parameters, 0, drawn, objective, *args))
    assert isinstance(request, Compute)
    return request.op.flops(*request.args) * request.work


@pytest.mark.parametrize(("objective", "args", "of_a_step"), STEPS)
def test_a_step(objective: Any, args: tuple[Any, ...], of_a_step: int) -> None:
    assert charged(objective, args, batches(100, 100)) == 100 * OF_A_SAMPLE + of_a_step


@pytest.mark.parametrize(("objective", "args", "of_a_step"), STEPS)
def test_padding_spares_what_samples_cost_and_no_log_determinant(
    objective: Any, args: tuple[Any, ...], of_a_step: int
) -> None:
    """101 samples in batches of 100: two steps."""
    found = charged(objective, args, batches(101, 100))
    assert found == pytest.approx(101 * OF_A_SAMPLE + 2 * of_a_step, rel=1e-12)


def test_second_moments_and_their_projection() -> None:
    """Forward and Z'Z of each sample, 24,576 + 2 * 32^2; of a matrix 9 d^3 multiplications and additions for the eigenvalues, and d^3
    back from them."""
    task = tasks()[0]
    drawn = batches(100, 100)
    assert second_moment_sums(task).scan.flops(V, drawn.steps, task.zero_parameters) == 100 * 26_624
    assert projected.flops(V, PER_CLASS) == 10 * 20 * 32**3
