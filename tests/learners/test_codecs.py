"""Codecs: real bytes, exact lengths, and what packet loss leaves."""

from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.codec import values_received
from learners.compression.float16 import Float16
from learners.decentralized.gossip import AGE_BITS, AgeFirst
from learners.loopback import LoopbackNode
from learners.registry import CODECS, load

VALUES = torch.tensor(np.random.default_rng(1).standard_normal(241), dtype=torch.float32)
NODE = LoopbackNode(0, (), None, np.random.default_rng(1))


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Any:
    return load("codec", request.param)()


@pytest.mark.parametrize("num_values", [1, 7, 241])
def test_num_bits_is_the_length_of_the_encoding(codec: Any, num_values: int) -> None:
    values = VALUES[:num_values]
    payload = codec.payload(values, NODE)
    assert payload.num_bits == codec.num_bits(values.shape) == 8 * len(codec.encode(codec.compress(values)))
    assert payload.num_values == num_values
    assert payload.codec is codec


def test_decode_inverts_encode(codec: Any) -> None:
    tensors = codec.compress(VALUES)
    decoded = codec.decode(codec.encode(tensors), VALUES.shape)
    assert len(decoded) == len(tensors)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(decoded, tensors, strict=True))


def test_payload_holds_what_the_bytes_say(codec: Any) -> None:
    received = codec.decompress(codec.decode(codec.encode(codec.compress(VALUES)), VALUES.shape))
    assert torch.equal(codec.payload(VALUES, NODE).data, received)


def test_float16_rounds_to_nearest_and_saturates() -> None:
    data = Float16().payload(VALUES.double(), NODE).data
    assert data.dtype == torch.float64
    assert ((data - VALUES).abs() <= 2.0**-11 * VALUES.abs().clamp(min=2.0**-14)).all()
    assert Float16().payload(torch.tensor([1e6, -1e6]), NODE).data.tolist() == [65504, -65504]


@pytest.mark.parametrize("packet_payload_bits", [8, 24, 32, 40, 100, 11648])
def test_a_value_survives_iff_all_packets_with_its_bits_do(codec: Any, packet_payload_bits: int) -> None:
    num_values = 50
    num_bits = codec.num_bits((num_values,))
    arrived = np.random.default_rng(2).random(-(-num_bits // packet_payload_bits)) < 0.7
    bit_arrived = np.repeat(arrived, packet_payload_bits)[:num_bits]
    expected = bit_arrived.reshape(num_values, -1).all(axis=1)
    assert np.array_equal(codec.received_mask(arrived, packet_payload_bits, num_values), expected)


def test_a_model_whose_age_is_lost_is_lost() -> None:
    codec = AgeFirst(Float16())
    bits = AGE_BITS + 16 * 9
    arrived = np.random.default_rng(3).random((40, -(-bits // 20))) < 0.6
    for row in arrived:
        bit_arrived = np.repeat(row, 20)[:bits]
        expected = bit_arrived[AGE_BITS:].reshape(9, 16).all(axis=1) & bit_arrived[:AGE_BITS].all()
        assert np.array_equal(codec.received_mask(row, 20, 9), expected)


def test_too_few_packets_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 packets given where 10 values need 4"):
        values_received(np.ones(2, dtype=bool), 100, 10, 32)
