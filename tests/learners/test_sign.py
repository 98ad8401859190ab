"""Signs with a scale, or with two means: the worked example, bits, the contraction with its exact factor, and the trace under error feedback."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.error_feedback import ErrorFeedback
from learners.compression.onebit import OneBit
from learners.compression.sign import Sign
from learners.loopback import LoopbackNode, loopback
from learners.protocol import Receive
from tests.learners.codec_cases import node
from tests.learners.odd_vectors import vectors
from tests.learners.test_quantization import CNN, NUM_PARAMS
from tests.learners.test_quantization import node as node_of

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])


def test_worked_example() -> None:
    """||V||_1 = 8.25, ||V||^2 = 17.5625: s = 8.25 / 8, delta = 8.25^2 / (8 * 17.5625). Zeros count as +1."""
    payload = Sign("message").payload(V, node())
    s = 1.03125
    assert payload.data.tolist() == [s, -s, s, s, -s, s, s, s]
    error = float((payload.data - V).square().sum())
    assert error == pytest.approx(9.054688, abs=1e-6)
    assert 1 - error / 17.5625 == pytest.approx(0.484431, abs=1e-6)
    assert payload.num_bits == 40


def test_kept_zeros_take_their_part_off_the_error() -> None:
    """Two zeros, s^2 each: 9.054688 - 2 * 1.03125^2, for two bits a value."""
    payload = Sign("message", zeros="kept").payload(V, node())
    s = 1.03125
    assert payload.data.tolist() == [s, -s, s, 0, -s, s, 0, s]
    assert float((payload.data - V).square().sum()) == pytest.approx(6.927734, abs=1e-6)
    assert payload.num_bits == 32 + 2 * 8
    encoding = Sign("message", zeros="kept").encoding(8, node())
    data = encoding.encode(encoding.compress(V), (8,))
    assert data == np.float32(s).tobytes() + bytes([1 | 3 << 2 | 1 << 4, 3 | 1 << 2 | 1 << 6])  # -1 is 11


def test_two_means_in_the_worked_example() -> None:
    """(-1 - 2.5) / 2 and (3 + .5 + 0 + .25 + 0 + 1) / 6, in 64 bits, and a bit a value."""
    payload, encoding = OneBit("message").payload(V, node()), OneBit("message").encoding(8, node())
    below, above = -1.75, 4.75 / 6
    expected = torch.tensor([above, below, above, above, below, above, above, above])
    torch.testing.assert_close(payload.data, expected, rtol=1e-6, atol=0)
    assert above == pytest.approx(0.791667, abs=1e-6)
    assert float((payload.data - V).square().sum()) == pytest.approx(7.677083, abs=1e-6)
    assert payload.num_bits == 8 + 64
    means = np.array([below, above], dtype=np.float32).tobytes()
    assert encoding.encode(encoding.compress(V), (8,)) == means + bytes([0b10010])


def test_two_means_have_the_least_error_of_all_pairs() -> None:
    """||C(p) - p||^2 = ||p||^2 - n_- m_-^2 - n_+ m_+^2, never more than with the pair (-s, s), so a contraction, too."""
    for v in vectors(1_000):
        error, total = (float(x.square().sum()) for x in (OneBit("message").payload(v, node()).data - v, v))
        halves = [half for half in (v[v < 0], v[v >= 0]) if len(half)]
        least = total - sum(len(half) * float(half.mean()) ** 2 for half in halves)
        assert error == pytest.approx(least, rel=1e-6, abs=1e-6 * total)
        assert error <= total - float(v.abs().sum()) ** 2 / len(v) + 1e-6 * total


def test_each_tensor_has_two_means_of_its_own() -> None:
    v = torch.tensor([1.0, -3.0, 2.0, 3.0, 0.25, -0.75, 0.5, -0.25])
    data = OneBit().payload(v, node_of(shapes=((4,), (1, 4)))).data
    assert data.tolist() == [2, -3, 2, 2, 0.375, -0.5, 0.375, -0.5]


def test_bytes_of_a_model_with_ten_tensors() -> None:
    """10 scales of 4 bytes and 83,757.25 bytes of signs; a second mean a tensor, or twice the signs."""
    for codec, num_bytes in ((Sign(), 83_798), (OneBit(), 83_838), (Sign(zeros="kept"), 167_555)):
        assert codec.encoding(NUM_PARAMS, node_of(shapes=CNN)).num_bits((NUM_PARAMS,)) == 8 * num_bytes


def test_bytes_of_the_worked_example() -> None:
    """Places 1 and 4 are negative: bits 1 and 4 of the byte behind the scale."""
    encoding = Sign("message").encoding(8, node())
    assert encoding.encode(encoding.compress(V), (8,)) == np.float32(1.03125).tobytes() + bytes([0b10010])


def test_error_is_what_the_norms_say() -> None:
    """||C(p) - p||^2 = ||p||^2 - ||p||_1^2 / d, the scale rounded to single precision; and a contraction by 1 - 1/d at least."""
    for v in vectors(1_000):
        data = Sign("message").payload(v, node()).data
        total, d = float(v.square().sum()), len(v)
        error = float((data - v).square().sum())
        assert error == pytest.approx(total - float(v.abs().sum()) ** 2 / d, rel=1e-6, abs=1e-6 * total)
        assert error <= (1 - 1 / d) * total + 1e-6 * total


@pytest.mark.parametrize("v", [[0.0, 0.0, 0.0], [2.5], [-3e38, 3e38, 3e38], [-1e-40, 1e-40]], ids=str)
def test_constant_magnitudes_are_exact(v: list[float]) -> None:
    """Also where a sum in single precision overflows."""
    values = torch.tensor(v)
    for codec in (Sign("message"), Sign("message", zeros="kept"), OneBit("message")):
        assert torch.equal(codec.payload(values, node()).data, values)


def test_minus_zero_counts_as_plus() -> None:
    assert Sign("message").payload(torch.tensor([-0.0, 1.0]), node()).data.tolist() == [0.5, 0.5]


def test_each_tensor_has_a_scale_of_its_own() -> None:
    v = torch.tensor([1.0, -3.0, 2.0, 2.0, 0.01, -0.03, 0.02, 0.02])
    data = Sign().payload(v, node_of(shapes=((4,), (1, 4)))).data
    torch.testing.assert_close(data, torch.tensor([2, -2, 2, 2, 0.02, -0.02, 0.02, 0.02]))


def test_trace_under_error_feedback() -> None:
    """Constant differences u = 0.1 V: the scale of each message and the square of the error's norm after it."""
    scales, squares = [], []

    def sender(n: Any) -> Any:
        feedback = ErrorFeedback(Sign("message"), n)
        for t in range(3):
            yield from feedback.send(1, "update", t, 0.1 * V)
            squares.append(float((yield from feedback.error()).square().sum()))

    def receiver(n: Any) -> Any:
        for t in range(3):
            message = (yield Receive([0], "update", t)).messages[0]
            scales.append(float(message.data.abs().max()))

    nodes = [LoopbackNode(i, (1 - i,), None, np.random.default_rng(i)) for i in (0, 1)]
    loopback(lambda n: sender(n) if n.id == 0 else receiver(n), nodes)
    assert scales == pytest.approx([0.103125, 0.16875, 0.20625], rel=1e-6)
    assert squares == pytest.approx([0.090547, 0.219453, 0.359297], abs=1e-6)


def test_bad_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="scale_per = 'row': one of message, tensor, packet"):
        Sign("row")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zeros = 'minus': one of plus, kept"):
        Sign(zeros="minus")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a packet has room for 32 bits, a scale and a value need 33"):
        Sign("packet").payload(V, node(32))
    with pytest.raises(ValueError, match="a packet has room for 64 bits, a scale and a value need 65"):
        OneBit("packet").payload(V, node(64))
