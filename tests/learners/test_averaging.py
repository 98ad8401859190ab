"""Averages of received models against their sums written out."""

from typing import Any

import pytest
import torch

from learners.averaging import average, average_masked, fill, full_masks, mix, mix_masked
from learners.protocol import Message, Received

GENERATOR = torch.Generator().manual_seed(1)
BASE, X, *MODELS = torch.randn(7, 11, generator=GENERATOR, dtype=torch.float64)
WEIGHTS = torch.rand(5, generator=GENERATOR, dtype=torch.float64) / 5
MASKS = list(torch.rand(5, 11, generator=GENERATOR) < 0.5)


@pytest.mark.parametrize("m", [1, 4, 5])
def test_mix_adds_weighted_differences(m: int) -> None:
    expected = BASE + sum(w * (z - X) for w, z in zip(WEIGHTS[:m], MODELS[:m], strict=True))
    assert torch.allclose(mix(BASE, X, MODELS[:m], WEIGHTS[:m]), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("m", [1, 4, 5])
def test_a_missing_coordinate_returns_its_weight(m: int) -> None:
    mixed = mix_masked(X, X, MODELS[:m], WEIGHTS[:m], MASKS[:m])
    for c in range(11):
        arrived = [j for j in range(m) if MASKS[j][c]]
        own = 1 - sum(WEIGHTS[j] for j in arrived)
        expected = own * X[c] + sum(WEIGHTS[j] * MODELS[j][c] for j in arrived)
        assert float(mixed[c]) == pytest.approx(float(expected), abs=1e-14)


def test_the_mean_is_kept_where_both_ends_miss_each_other_and_moves_where_one_does() -> None:
    """Three devices, all neighbors, weights 1/3: what 0 does not take of 1, (x_1 - x_0) / 3, is missing in the sum."""
    x = list(torch.tensor([[1.0], [4.0], [-2.0]], dtype=torch.float64))

    def mean(lost: set[tuple[int, int]]) -> float:
        """lost: (receiver, sender)."""
        new = []
        for i in range(3):
            heard = [x[j] for j in range(3) if j != i and (i, j) not in lost]
            new.append(mix(x[i], x[i], heard, torch.full((len(heard),), 1 / 3, dtype=torch.float64)))
        return float(torch.stack(new).mean())

    assert mean(set()) == pytest.approx(1.0, abs=1e-12)
    assert mean({(0, 1), (1, 0)}) == pytest.approx(1.0, abs=1e-12)
    assert mean({(0, 1)}) == pytest.approx(1.0 - (4.0 - 1.0) / 3 / 3, abs=1e-12)


def test_masks_that_are_all_true_change_nothing() -> None:
    whole = [torch.ones(11, dtype=torch.bool)] * 5
    mixed = mix_masked(BASE, X, MODELS, WEIGHTS, whole)
    assert torch.allclose(mixed, mix(BASE, X, MODELS, WEIGHTS), rtol=0, atol=1e-14)
    assert torch.allclose(average_masked(MODELS, WEIGHTS, whole, X), average(MODELS, WEIGHTS), rtol=0, atol=1e-14)


def test_average_is_weighted_by_shares() -> None:
    expected = sum(n * z for n, z in zip((3, 1, 2), MODELS[:3], strict=True)) / 6
    shares = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    assert torch.allclose(average(MODELS[:3], shares), expected, rtol=0, atol=1e-14)
    pieces = [torch.where(mask, z, X) for mask, z in zip(MASKS[:3], MODELS[:3], strict=True)]
    expected = sum(n * z for n, z in zip((3, 1, 2), pieces, strict=True)) / 6
    assert torch.allclose(average_masked(MODELS[:3], shares, MASKS[:3], X), expected, rtol=0, atol=1e-14)


def test_fill_keeps_what_did_not_arrive() -> None:
    filled = fill(BASE, MASKS[0], X)
    assert torch.equal(filled[MASKS[0]], BASE[MASKS[0]])
    assert torch.equal(filled[~MASKS[0]], X[~MASKS[0]])


@pytest.mark.parametrize("m", [1, 3, 5])
def test_two_operations_a_received_value_are_charged(m: int) -> None:
    calls: list[Any] = [
        (mix, (X, X, MODELS[:m], WEIGHTS[:m])),
        (mix_masked, (X, X, MODELS[:m], WEIGHTS[:m], MASKS[:m])),
        (average, (MODELS[:m], WEIGHTS[:m])),
        (average_masked, (MODELS[:m], WEIGHTS[:m], MASKS[:m], X)),
    ]
    for op, args in calls:
        assert op.flops(*args) == 2 * m * 11


def test_whole_messages_have_no_masks_and_mixed_ones_all() -> None:
    whole, part = Message(0, "model", 0, X), Message(1, "model", 0, X, mask=MASKS[0])
    assert full_masks(Received((whole, whole))) is None
    masks = full_masks(Received((whole, part)))
    assert masks is not None
    assert masks[0].all()
    assert torch.equal(masks[1], MASKS[0])
