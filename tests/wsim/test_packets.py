"""Segmentation into packets, and the law of controlled losses."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsim.packets import ForcedLoss, segment


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 10**6), st.integers(50, 3000), st.integers(0, 49))
def test_packets_hold_the_payload_and_a_header_each(num_bits, mtu_bytes, header_bytes):
    parts = segment(num_bits, mtu_bytes, header_bytes)
    sizes = parts.packet_bits()
    payload_bits = sizes - 8 * header_bytes
    assert len(sizes) == parts.num_packets >= 1
    assert sizes.sum() == parts.coded_bits
    assert payload_bits.sum() == -(-num_bits // 8) * 8
    assert (payload_bits[:-1] == parts.packet_payload_bits).all()
    assert (sizes[:-1] == mtu_bytes * 8).all()
    assert 0 < payload_bits[-1] <= parts.packet_payload_bits or num_bits == 0


@pytest.mark.parametrize(
    ("num_bits", "num_packets", "coded_bits"),
    [
        (0, 1, 44 * 8),  # an empty message still has a header
        (1, 1, 45 * 8),
        (1456 * 8, 1, 1500 * 8),
        (1456 * 8 + 1, 2, 1500 * 8 + 45 * 8),
        (153_920, 14, 153_920 + 14 * 44 * 8),  # 4,810 float32 parameters
    ],
)
def test_segmentation_by_hand(num_bits, num_packets, coded_bits):
    parts = segment(num_bits, 1500, 44)
    assert (parts.num_packets, parts.coded_bits) == (num_packets, coded_bits)


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_independent_losses_have_their_rate(rate):
    lost = ForcedLoss("packet", rate, 1.0).draw(np.random.default_rng(1), 50_000)
    assert lost.mean() == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / 50_000))


@pytest.mark.parametrize(("rate", "burst"), [(0.05, 4.0), (0.3, 2.0), (0.5, 10.0)])
def test_bursts_have_their_rate_and_mean_length(rate, burst):
    """Two-state chain. Its correlation from packet to packet is r = 1 - 1/L - 1/G, with G = L (1 - p) / p the mean run of
    good ones, so the variance of the loss rate over n packets is p (1 - p) / n (1 + r) / (1 - r); the lengths of bursts are
    geometric with variance L (L - 1). 4 standard errors of each."""
    n, law = 200_000, ForcedLoss("packet", rate, burst)
    lost = law.draw(np.random.default_rng(2), n)
    r = 1 - 1 / burst - rate / (burst * (1 - rate))
    assert lost.mean() == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / n * (1 + r) / (1 - r)))
    lengths = np.array([len(list(run)) for bad, run in groupby(lost.tolist()) if bad][1:-1])
    assert lengths.mean() == pytest.approx(burst, abs=4 * math.sqrt(burst * (burst - 1) / len(lengths)))


def test_bursts_begin_in_the_stationary_state():
    """The first packet of a message is lost as often as any other one."""
    rng, law = np.random.default_rng(3), ForcedLoss("packet", 0.2, 5.0)
    first = np.mean([law.draw(rng, 3)[0] for _ in range(20_000)])
    assert first == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 20_000))


def test_a_lost_message_loses_all_its_packets():
    rng, law = np.random.default_rng(4), ForcedLoss("message", 0.4, 1.0)
    draws = [law.draw(rng, 7) for _ in range(3000)]
    assert all(draw.all() or not draw.any() for draw in draws)
    assert np.mean([draw[0] for draw in draws]) == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / 3000))
