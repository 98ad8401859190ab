"""Sparse ternary compression: the worked example, its bits, the contraction, and streams in packets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.stc import Stc
from learners.compression.topk import TopK
from tests.learners.codec_cases import node
from tests.learners.odd_vectors import vectors

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
KEYS: list[dict[str, Any]] = [{"index": "rice"}, {"index": "packed"}]


@pytest.mark.parametrize("keys", KEYS)
def test_worked_example(keys: dict[str, Any]) -> None:
    """(3 + 2.5) / 2 at 0 and at 4: ||V||^2 - 2 mu^2 = 17.5625 - 15.125."""
    payload = Stc(2 / 8, **keys).payload(V, node())
    assert payload.data.tolist() == [2.75, 0, 0, 0, -2.75, 0, 0, 0]
    assert float((payload.data - V).square().sum()) == 2.4375
    assert payload.num_bits == 40


def test_bytes_of_the_worked_example() -> None:
    """mu, then 0 in three bits and a plus; a gap of 4 = 1 + 1 * 2 + 1 (b = round(log2(2.77)) = 1: a one, a zero, a one) and a minus.
    Packed: a plus and 0, a minus and 4."""
    mu = np.float32(2.75).tobytes()
    for index, bits in (("rice", "000" + "0" + "101" + "1"), ("packed", "0" + "000" + "1" + "001")):
        encoding = Stc(2 / 8, index).encoding(8, node())  # type: ignore[arg-type]
        assert encoding.encode(encoding.compress(V), (8,)) == mu + bytes([int(bits[::-1], 2)])


def test_bytes_of_one_percent_of_a_model() -> None:
    """6,700 of 670,058: a mean, and 21 bits each; or 32 + 6,700 (1 + 8.11) bits, and for each packet a mean and what a place in 20 bits is
    longer than a gap."""
    assert Stc(0.01, "packed").num_bits((670_058,)) == 8 * (4 + -(-6_700 * 21 // 8))
    v = torch.from_numpy(np.random.default_rng(3).standard_normal(670_058)).float()
    num_bits = Stc(0.01).payload(v, node(11_648)).num_bits
    packets = -(-num_bits // 11_648)
    assert packets == 6
    assert num_bits == pytest.approx(6_700 * 9.11 + packets * (32 + 12), rel=0.003)
    assert num_bits == pytest.approx(Stc(0.01).encoding(670_058, node(11_648)).num_bits((670_058,)), rel=0.01)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 1.0])
def test_a_contraction_at_the_places_of_top_k(ratio: float) -> None:
    """||C(p) - p||^2 = ||p||^2 - k mu^2 <= (1 - 1/d) ||p||^2, all of one magnitude: top-k's mean."""
    codec = Stc(ratio)
    for v in vectors(1_000):
        k, d = codec.num_kept(len(v)), len(v)
        data, top = codec.payload(v, node()).data, TopK(ratio).payload(v, node()).data
        assert torch.equal(data != 0, top != 0) or (v == 0).any()
        error, total = float((data - v).square().sum()), float(v.square().sum())
        mu = float(top.abs().sum()) / k
        assert float(data.abs().max()) == pytest.approx(mu, rel=1e-6)
        assert error == pytest.approx(total - k * mu**2, rel=1e-6, abs=1e-6 * total)
        assert error <= (1 - 1 / d) * total + 1e-6 * total


def test_every_packet_can_be_read_without_the_others() -> None:
    codec = Stc(0.5)
    v = torch.from_numpy(np.random.default_rng(4).standard_normal(241)).float()
    payload = codec.payload(v, node(160))
    num_packets = -(-payload.num_bits // 160)
    assert num_packets >= 3
    alone = [np.asarray(payload.codec.received_mask(np.arange(num_packets) == p, 160, 241)) for p in range(num_packets)]
    assert all(mask.any() for mask in alone)
    assert np.sum(alone) == codec.num_kept(241)


@pytest.mark.parametrize("packet_bits", [65, 66, 71, 99])
def test_packets_of_odd_lengths(packet_bits: int) -> None:
    for num_values in (1, 2, 9, 100):
        v = torch.from_numpy(np.random.default_rng(5).standard_normal(num_values)).float()
        encoding, shape = Stc(0.4).encoding(num_values, node(packet_bits)), (num_values,)
        data = encoding.encode(encoding.compress(v), shape)
        payload = Stc(0.4).payload(v, node(packet_bits))
        assert payload.num_bits == 8 * len(data)
        assert torch.equal(encoding.decompress(encoding.decode(data, shape), shape), payload.data)


def test_bad_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="index = 'bitmap': one of rice, packed"):
        Stc(0.1, "bitmap")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ratio = 0: the part of the values"):
        Stc(0)
    with pytest.raises(ValueError, match="has room for 64 bits, a mean, a place and a sign need 65"):
        Stc(0.1).payload(V, node(64))
