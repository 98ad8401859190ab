"""Every registered codec: real bytes, exact lengths, and what packet loss leaves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from learners import registry
from learners.compression.bfloat16 import BFloat16, to_bfloat16
from learners.compression.codec import values_received
from learners.compression.float16 import Float16, to_half
from learners.decentralized.gossip import AGE_BITS, AgeFirst
from learners.executors import BatchedExecutor, NullExecutor
from tests.learners.codec_cases import KEYS, NUM_PARAMS, cases, node, noise, read_what_arrived

VALUES = torch.tensor(np.random.default_rng(1).standard_normal(NUM_PARAMS), dtype=torch.float32)
NODE = node()
CASES = cases()


@pytest.fixture(params=[codec for _, codec in CASES], ids=[name for name, _ in CASES])
def codec(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_every_registered_codec_is_in_the_table() -> None:
    assert list(KEYS) == list(registry.CODECS)
    assert all(KEYS.values())


def by_values(codec: Any) -> bool:
    return bool(getattr(codec, "value_dependent", False))


@pytest.mark.parametrize("num_values", [1, 2, 7, 64, 240, 241])
def test_num_bits_is_the_length_of_the_encoding(codec: Any, num_values: int) -> None:
    values = VALUES[:num_values]
    payload, encoding = codec.payload(values, NODE), codec.encoding(num_values, NODE)
    encoded = encoding.encode(encoding.compress(values, noise(num_values)), (num_values,))
    assert payload.num_bits == 8 * len(encoded)
    assert by_values(codec) or payload.num_bits == encoding.num_bits((num_values,))
    assert payload.num_values == num_values
    assert payload.codec is not None


@pytest.mark.parametrize("num_values", [1, 2, 241])
def test_decode_inverts_encode(codec: Any, num_values: int) -> None:
    encoding, shape = codec.encoding(num_values, NODE), (num_values,)
    tensors = encoding.compress(VALUES[:num_values], noise(num_values))
    decoded = encoding.decode(encoding.encode(tensors, shape), shape)
    assert len(decoded) == len(tensors)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(decoded, tensors, strict=True))


@pytest.mark.parametrize("num_values", [1, 2, 241])
def test_payload_holds_what_the_bytes_say(codec: Any, num_values: int) -> None:
    values, encoding, shape = VALUES[:num_values], codec.encoding(num_values, NODE), (num_values,)
    data = encoding.encode(encoding.compress(values, noise(num_values)), shape)
    payload = codec.payload(values, NODE)
    assert torch.equal(payload.data, encoding.decompress(encoding.decode(data, shape), shape))
    everything = np.ones(-(-payload.num_bits // 400), dtype=bool)
    found, read = read_what_arrived(codec, encoding, data, everything, 400, num_values)
    assert np.array_equal(np.where(found, read, 0), payload.data.numpy())


def test_values_keep_their_shape_and_precision(codec: Any) -> None:
    square = VALUES[:240].reshape(12, 20)
    assert codec.payload(square, NODE).data.shape == (12, 20)
    assert torch.equal(codec.payload(square, NODE).data.flatten(), codec.payload(VALUES[:240], NODE).data)
    assert codec.payload(VALUES.double(), NODE).data.dtype == torch.float64


@pytest.mark.parametrize("packet_bits", [80, 128, 400, 11648])
@pytest.mark.parametrize("first_bit", [0, 32])
def test_what_a_message_leaves_is_what_its_surviving_bytes_say(codec: Any, packet_bits: int, first_bit: int) -> None:
    """first_bit: something else of 32 bits comes first, as the age of a model does."""
    n, sender = 100, node(packet_bits)
    if packet_bits == 80 and getattr(codec, "code", "") == "elias":
        with pytest.raises(ValueError, match="a packet has room for 80 bits, a stream of one value needs 1"):
            codec.payload(VALUES, sender)
        return
    values, encoding = VALUES[:n], codec.encoding(100, sender)
    data = bytes(first_bit // 8) + encoding.encode(encoding.compress(values, noise(n)), (n,))
    payload = codec.payload(values, sender)
    rng = np.random.default_rng(2)
    for rate in (0.0, 0.1, 0.3, 0.6, 1.0):
        arrived = rng.random(-(-8 * len(data) // packet_bits)) >= rate
        mask = np.asarray(payload.codec.received_mask(arrived, packet_bits, n, first_bit))
        found, read = read_shifted(codec, encoding, data, arrived, packet_bits, n, first_bit)
        assert np.array_equal(mask, found)
        assert np.array_equal(payload.data.numpy()[mask], read[mask])


def read_shifted(
    codec: Any, encoding: Any, data: bytes, arrived: np.ndarray, packet_bits: int, n: int, first_bit: int
) -> Any:
    """Packets that count from the beginning of the message, for a decoder that starts at first_bit: by single bits."""
    bit_arrived = np.repeat(arrived, packet_bits)[first_bit : 8 * len(data)]
    return read_what_arrived(codec, encoding, data[first_bit // 8 :], bit_arrived, 1, n)


def test_what_is_lost_depends_on_no_values_that_are_unknown(codec: Any) -> None:
    """In a run values come later: a mask is known at once, or deferred like the values."""
    executor = BatchedExecutor()
    payload = codec.payload(executor.lift(VALUES), NODE)
    arrived = np.random.default_rng(3).random(-(-payload.num_bits // 400)) < 0.6
    mask = payload.codec.received_mask(arrived, 400, NUM_PARAMS)
    direct = codec.payload(VALUES, NODE)
    expected = direct.codec.received_mask(arrived, 400, NUM_PARAMS)
    assert torch.equal(executor.read(payload.data), direct.data)
    found = mask if isinstance(mask, np.ndarray) else executor.read(mask)
    assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_an_estimate_needs_shapes_only(codec: Any) -> None:
    executor = NullExecutor()
    estimate, payload = codec.payload(executor.lift(VALUES), NODE), codec.payload(VALUES, NODE)
    expected = codec.encoding(NUM_PARAMS, NODE).num_bits((NUM_PARAMS,))
    assert (estimate.num_bits, estimate.num_values, estimate.flops) == (expected, payload.num_values, payload.flops)
    assert payload.num_bits == (pytest.approx(expected, rel=0.15) if by_values(codec) else expected)
    assert estimate.data.shape == payload.data.shape
    assert estimate.data.dtype == payload.data.dtype


def test_work_of_encoding_is_declared_but_for_changes_of_format(codec: Any) -> None:
    flops = codec.payload(VALUES, NODE).flops
    if type(codec).__name__ in ("Float32", "Float16", "BFloat16"):
        assert flops == 0
    elif type(codec).__name__ == "RandK":
        assert flops == 2 * codec.num_kept(NUM_PARAMS), "what is not drawn is not looked at"
    else:
        assert 3 * NUM_PARAMS <= flops <= 11 * NUM_PARAMS


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_lossy_codecs_refuse_values_that_are_not_finite(codec: Any, bad: float) -> None:
    """Where they are known; where they come later, what is decoded from them is not finite either."""
    if type(codec).__name__ == "Float32":
        return
    values = VALUES.clone()
    values[17] = bad
    with pytest.raises(ValueError, match=r"value 17 of 241 is -?(nan|inf) \(1 are not finite\)"):
        codec.payload(values, NODE)
    with pytest.raises(ValueError, match="value 17"):
        codec.encoding(NUM_PARAMS, NODE).compress(values, noise(NUM_PARAMS))
    executor = BatchedExecutor()
    data = executor.read(codec.payload(executor.lift(values), NODE).data)
    assert not torch.isfinite(data[17])


def test_zeros_stay_zeros(codec: Any) -> None:
    zeros = torch.zeros(NUM_PARAMS)
    assert torch.equal(codec.payload(zeros, NODE).data, zeros)
    if type(codec).__name__ in ("Sign", "OneBit") and getattr(codec, "zeros", "plus") == "plus":
        return  # one bit has no room for a zero beside other values
    some = VALUES * (torch.arange(NUM_PARAMS) % 3 == 0)
    assert (codec.payload(some, NODE).data[some == 0] == 0).all()


def test_no_values_are_no_bits(codec: Any) -> None:
    payload = codec.payload(torch.zeros(0), NODE)
    assert (payload.num_bits, payload.num_values, payload.flops) == (0, 0, 0)
    assert payload.data.shape == (0,)


def test_float16_rounds_to_nearest_and_saturates() -> None:
    data = Float16().payload(VALUES.double(), NODE).data
    assert data.dtype == torch.float64
    assert ((data - VALUES).abs() <= 2.0**-11 * VALUES.abs().clamp(min=2.0**-14)).all()
    assert Float16().payload(torch.tensor([1e6, -1e6]), NODE).data.tolist() == [65504, -65504]


def test_half_precision_hides_no_infinity_and_keeps_the_bits_of_finite_values() -> None:
    beyond = torch.tensor([math.inf, -math.inf, math.nan, 3.4e38, -65520.0, 65519.0, 65504.0])
    half = to_half(beyond)
    assert half[:2].tolist() == [math.inf, -math.inf]
    assert half[2].isnan()
    assert half[3:].tolist() == [65504, -65504, 65504, 65504]
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)  # all there are
    same = to_half(halves.float())
    assert torch.equal(same.view(torch.int16)[~halves.isnan()], halves.view(torch.int16)[~halves.isnan()])
    assert torch.equal(same.isnan(), halves.isnan())


def test_bfloat16_rounds_to_nearest_even_and_saturates() -> None:
    data = BFloat16().payload(VALUES.double(), NODE).data
    assert data.dtype == torch.float64
    assert ((data - VALUES).abs() <= 2.0**-8 * VALUES.abs()).all()
    values = torch.tensor(
        [1 + 2.0**-8, 1 + 3 * 2.0**-8, 3.402e38, -3.402e38, 1e-40]
    )  # two ties, two beyond the largest
    expected = [1.0, 1 + 2.0**-6, 255 * 2.0**120, -255 * 2.0**120]
    data = BFloat16().payload(values, NODE).data
    assert data[:4].tolist() == expected
    assert float(data[4]) == pytest.approx(1e-40, rel=2.0**-6)  # a subnormal
    bad = to_bfloat16(torch.tensor([math.inf, -math.inf, math.nan]))
    assert bad[:2].tolist() == [math.inf, -math.inf]
    assert bad[2].isnan()
    encoding = BFloat16().encoding(1, NODE)
    assert encoding.encode(encoding.compress(torch.tensor([1.0])), (1,)) == bytes([0x80, 0x3F])


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
