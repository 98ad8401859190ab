"""Top-k against worked examples, a sort, and the contraction that its theory needs."""

from __future__ import annotations

from math import comb, log2
from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.topk import TopK
from tests.learners.codec_cases import node
from tests.learners.odd_vectors import vectors

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
NODE = node()


@pytest.mark.parametrize(
    ("k", "places", "error", "bound"),
    [(1, [0], 8.5625, 15.367), (2, [0, 4], 2.3125, 13.172), (3, [0, 1, 4], 1.3125, 10.977)],
)
def test_worked_example(k: int, places: list[int], error: float, bound: float) -> None:
    """|V| has two ones, at 1 and at 7: the first is kept."""
    codec = TopK(k / 8)
    assert codec.compress(V)[0].tolist() == places
    data = codec.payload(V, NODE).data
    assert float((data - V).square().sum()) == error <= bound
    assert (1 - k / 8) * 17.5625 == pytest.approx(bound, abs=5e-4)


@pytest.mark.parametrize(
    ("keys", "num_bits"),
    [
        ({"index": "int32"}, 128),
        ({"index": "packed"}, 72),  # 2 * (32 + 3) = 70, filled up to whole bytes
        ({"index": "bitmap"}, 72),
        ({"index": "packed", "value_bits": 16}, 40),  # 2 * (16 + 3) = 38
    ],
)
def test_bits_of_the_worked_example(keys: dict[str, Any], num_bits: int) -> None:
    assert TopK(2 / 8, **keys).payload(V, NODE).num_bits == num_bits


def test_no_places_take_fewer_bits_than_their_number_of_ways() -> None:
    """32 k + log2 binom(d, k) = 68.81 bits for 2 of 8."""
    limit = 2 * 32 + log2(comb(8, 2))
    assert limit == pytest.approx(68.81, abs=0.005)
    for index in ("int32", "packed", "bitmap"):
        assert TopK(2 / 8, index).payload(V, NODE).num_bits >= limit  # type: ignore[arg-type]


@pytest.mark.parametrize(("index", "num_bytes"), [("int32", 53_600), ("packed", 43_550), ("bitmap", 110_558)])
def test_bytes_of_one_percent_of_a_model(index: Any, num_bytes: int) -> None:
    """k = floor(1 % of 670,058) = 6,700; places of ceil(log2 670,058) = 20 bits."""
    codec = TopK(0.01, index)
    assert codec.num_kept(670_058) == 6700
    assert codec.num_bits((670_058,)) == 8 * num_bytes


@pytest.mark.parametrize(
    ("ratio", "num_values", "k"),
    [(0.01, 10, 1), (0.29, 100, 29), (0.1, 30, 3), (1.0, 7, 7), (1e-9, 5, 1), (0.999, 10, 9)],
)
def test_number_of_values_kept(ratio: float, num_values: int, k: int) -> None:
    codec = TopK(ratio)
    assert codec.num_kept(num_values) == k
    v = torch.from_numpy(np.random.default_rng(1).standard_normal(num_values))
    assert int((codec.payload(v, NODE).data != 0).sum()) == k


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 1.0])
def test_contraction_and_choice_against_a_sort(ratio: float) -> None:
    """||C(p) - p||^2 <= (1 - k/d) ||p||^2, and the places are the first k by (-magnitude, place)."""
    codec = TopK(ratio)
    for v in vectors(1_000):
        k = codec.num_kept(len(v))
        expected = sorted(sorted(range(len(v)), key=lambda i: (-abs(float(v[i])), i))[:k])
        assert codec.compress(v)[0].tolist() == expected
        data = codec.payload(v, NODE).data
        error, total = float((data - v).square().sum()), float(v.square().sum())
        assert error <= (1 - k / len(v)) * total * (1 + 1e-12)
        if k == len(v):
            assert torch.equal(data, v)


def test_equality_in_the_bound_for_constant_magnitudes() -> None:
    v = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1])
    data = TopK(0.25).payload(v, NODE).data
    assert data.tolist() == [1, -1, 0, 0, 0, 0, 0, 0]
    assert float((data - v).square().sum()) == (1 - 0.25) * 8


def test_half_precision_saturates() -> None:
    data = TopK(0.5, value_bits=16).payload(torch.tensor([1e6, 0.1]), NODE).data
    assert data.tolist() == [65504, 0]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"ratio": 0}, "ratio = 0: the part of the values"),
        ({"ratio": 1.5}, "ratio = 1.5: "),
        ({"ratio": True}, "ratio = True: "),
        ({"ratio": float("nan")}, "ratio = nan: "),
        ({"ratio": 0.1, "index": "gaps"}, "index = 'gaps': one of packed, int32, bitmap, rice"),
        ({"ratio": 0.1, "value_bits": 8}, "value_bits = 8: 32 or 16"),
    ],
)
def test_bad_keys_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TopK(**keys)
