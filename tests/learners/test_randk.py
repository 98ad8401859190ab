"""Rand-k: all subsets of the worked example, bits, and the forms of its indices."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.randk import RandK, keep_drawn, places_of, seed_of
from tests.learners.codec_cases import node, noise

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1], dtype=torch.float64)


def test_every_pair_of_places() -> None:
    """k = 2 of 8, over all 28 subsets: times 8 / 2 the mean is V and the variance (d/k - 1) ||V||^2 = 52.6875; as they are, the
    error is (1 - k/d) ||V||^2 = 13.171875."""
    pairs = [torch.tensor(pair) for pair in combinations(range(8), 2)]
    assert len(pairs) == 28
    scaled = torch.stack([keep_drawn(V, places, 4.0, 32) for places in pairs])
    plain = torch.stack([keep_drawn(V, places, 1.0, 32) for places in pairs])
    torch.testing.assert_close(scaled.mean(0), V, rtol=1e-12, atol=1e-12)
    assert float((scaled - V).square().sum(1).mean()) == pytest.approx(3 * 17.5625, rel=1e-12)
    assert float((plain - V).square().sum(1).mean()) == pytest.approx(13.171875, rel=1e-12)


def test_every_subset_has_the_same_chance() -> None:
    """28 pairs in n draws: the count of each within 4.5 standard errors (28 of them are looked at)."""
    n = 4000
    rng = np.random.default_rng(2)
    seeds = [seed_of(torch.from_numpy(rng.random(3, dtype=np.float32))) for _ in range(n)]
    counts: dict[tuple[int, ...], int] = {}
    for seed in seeds:
        pair = tuple(int(place) for place in places_of(seed, 8, 2))
        counts[pair] = counts.get(pair, 0) + 1
    assert set(counts) == set(combinations(range(8), 2))
    p = 1 / 28
    tolerance = 4.5 * (n * p * (1 - p)) ** 0.5
    assert all(abs(count - n * p) <= tolerance for count in counts.values())


def test_the_unbiased_form_multiplies_by_d_over_k() -> None:
    codec = RandK(0.25, unbiased=True, error_feedback=False)
    data = codec.payload(V, node()).data
    kept = data != 0
    assert torch.equal(data[kept], 4 * V[kept])
    assert kept.sum() <= 2


@pytest.mark.parametrize("keys", [{}, {"unbiased": True, "error_feedback": False}, {"index": "bitmap"}])
def test_all_values_are_the_identity(keys: dict[str, Any]) -> None:
    assert torch.equal(RandK(1.0, **keys).payload(V, node()).data, V)


def test_a_seed_is_three_numbers_of_noise() -> None:
    numbers = torch.tensor([1, 2, 3]) / 2**24
    assert seed_of(numbers.float()) == 1 + (2 << 24) + (3 << 48)
    assert seed_of(torch.full((3,), 1 - 2.0**-24)) == 2**64 - 1
    assert seed_of(torch.tensor([float("nan"), -1.0, 7.0])) == (2**24 - 1 << 48) % 2**64  # of an estimate: any
    assert np.array_equal(places_of(5, 100, 7), places_of(5, 100, 7))
    assert not np.array_equal(places_of(5, 100, 7), places_of(6, 100, 7))


def test_places_come_from_the_bytes_alone() -> None:
    codec = RandK(0.25)
    data = codec.encode(codec.compress(V.float(), noise(3)), (8,))
    assert len(data) == 8 + 2 * 4
    assert torch.equal(codec.decompress(codec.decode(data, (8,)), (8,)), codec.payload(V.float(), node()).data)


@pytest.mark.parametrize(("index", "num_bytes"), [("seed", 26_808), ("packed", 43_550)])
def test_bytes_of_one_percent_of_a_model(index: Any, num_bytes: int) -> None:
    assert RandK(0.01, index).num_bits((670_058,)) == 8 * num_bytes


def test_without_the_seed_nothing_can_be_read() -> None:
    payload = RandK(0.5).payload(V, node())
    places = payload.data != 0
    for lost, survivors in ((0, 0), (1, 0), (2, 3)):  # packets of 32 bits: two hold the seed, then a value each
        arrived = np.ones(6, dtype=bool)
        arrived[lost] = False
        mask = payload.codec.received_mask(arrived, 32, 8)
        assert mask.sum() == survivors
        assert not (mask & ~places.numpy() & (V != 0).numpy()).any()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"ratio": 0}, "ratio = 0: the part of the values"),
        ({"ratio": 0.1, "index": "rice"}, "index = 'rice': one of seed, packed, int32, bitmap"),
        ({"ratio": 0.1, "value_bits": 8}, "value_bits = 8: 32 or 16"),
        ({"ratio": 0.1, "unbiased": True}, "unbiased = True: .* error_feedback = false"),
    ],
)
def test_bad_keys_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RandK(**keys)
