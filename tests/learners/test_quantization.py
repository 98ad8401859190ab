"""Uniform quantization against worked examples, exact variances and bounds.

Worked examples: `V` is a vector of 8 values whose codes were found by hand and by an independent calculation. Means over n
draws are compared within 4 standard errors.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.affine import Int4Affine, Int8Affine
from learners.compression.bfloat16 import BFloat16
from learners.compression.float16 import Float16
from learners.compression.groups import maxima, sizes_of, spread
from learners.compression.uniform import Uniform, levels
from learners.loopback import LoopbackNode

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
CNN = ((16, 3, 5, 5), (16,), (32, 16, 5, 5), (32,), (500, 800), (500,), (500, 500), (500,), (10, 500), (10,))
NUM_PARAMS = 670_058
NUM_DRAWS = 100_000
FORMS: list[dict[str, Any]] = [
    {"bits": bits, "scale_per": scale_per, "zero_point": zero_point}
    for bits in (2, 4, 8)
    for scale_per in ("message", "tensor", "packet")
    for zero_point in (False, True)
]


def node(packet_payload_bits: int = 11648, shapes: Any = ((4,), (1, 4))) -> LoopbackNode:
    num_params = sum(int(np.prod(shape)) for shape in shapes)
    task = SimpleNamespace(num_params=num_params, model=SimpleNamespace(shapes=shapes))
    rng = np.random.default_rng(0)
    return LoopbackNode(0, (), None, rng, task=task, packet_payload_bits=packet_payload_bits)


def squared_error(data: Tensor, v: Tensor = V) -> float:
    return float((data - v).square().sum())


# -- worked examples ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "step", "zero_point", "codes", "error", "num_bits"),
    [
        (Int8Affine("message"), 0.0215686, 116, (255, 70, 139, 116, 0, 128, 116, 162), 2.240e-4, 128),
        (Int4Affine("message"), 0.366667, 7, (15, 4, 8, 7, 0, 8, 7, 10), 0.060278, 96),
        (Uniform(4, "nearest", "message"), 0.428571, None, (7, -2, 1, 0, -6, 1, 0, 2), 0.082908, 64),
    ],
    ids=["affine int8", "affine int4", "symmetric int4"],
)
def test_codes_of_the_worked_example(
    codec: Any, step: float, zero_point: int | None, codes: tuple[int, ...], error: float, num_bits: int
) -> None:
    encoding, payload = codec.encoding(8, node()), codec.payload(V, node())
    tensors = encoding.compress(V)
    assert tuple(tensors[0].tolist()) == codes
    assert float(tensors[1]) == pytest.approx(step, rel=1e-5)
    if zero_point is not None:
        assert tensors[2].tolist() == [zero_point]
    assert squared_error(payload.data) == pytest.approx(error, abs=5e-7)
    assert payload.num_bits == num_bits


def test_affine_int4_decodes_the_worked_example() -> None:
    data = Int4Affine("message").payload(V, node()).data
    expected = torch.tensor([2.9333, -1.1, 0.3667, 0, -2.5667, 0.3667, 0, 1.1])
    torch.testing.assert_close(data, expected, rtol=0, atol=5e-5)


def test_int4_puts_two_values_in_a_byte_the_first_in_the_low_nibble() -> None:
    encoding = Int4Affine("message").encoding(8, node())
    data = encoding.encode(encoding.compress(V), (8,))
    assert data[:4] == np.float32(5.5 / 15).tobytes()
    assert data[4:8] == bytes([7, 0, 0, 0])
    assert list(data[8:]) == [15 | 4 << 4, 8 | 7 << 4, 0 | 8 << 4, 7 | 10 << 4]


@pytest.mark.parametrize(
    ("codec", "num_bytes"),
    [
        (Float16(), 1_340_116),
        (BFloat16(), 1_340_116),
        (Int8Affine(), 670_138),
        (Int4Affine(), 335_109),
        (Uniform(8), 670_098),
        (Uniform(4), 335_069),
        (Uniform(2), 167_555),  # 2 bits a value: the row of ternary codes
    ],
)
def test_bytes_of_a_model_with_ten_tensors(codec: Any, num_bytes: int) -> None:
    encoding = codec.encoding(NUM_PARAMS, node(shapes=CNN))
    assert encoding.num_bits((NUM_PARAMS,)) == 8 * num_bytes


def test_a_packet_holds_one_scale_and_as_many_values_as_fit() -> None:
    """1,456 bytes: a scale of 4 and 1,452 values, so 462 packets, the last with 670,058 - 461 * 1,452 = 686 values."""
    encoding = Uniform(8, scale_per="packet").encoding(NUM_PARAMS, node(shapes=CNN))
    assert encoding.num_bits((NUM_PARAMS,)) == 8 * (461 * 1456 + 4 + 686)
    assert encoding.groups == 1452
    lost = np.arange(462) == 100
    mask = encoding.received_mask(~lost, 11648, NUM_PARAMS)
    assert np.array_equal(np.flatnonzero(~mask), np.arange(100 * 1452, 101 * 1452))


def test_a_lost_first_packet_takes_all_values_of_a_message_with_one_scale_along() -> None:
    lost = np.arange(461) == 0
    for scale_per, num_lost in (("message", NUM_PARAMS), ("packet", 1452)):
        encoding = Uniform(8, scale_per=scale_per).encoding(NUM_PARAMS, node(shapes=CNN))  # type: ignore[arg-type]
        arrived = ~np.append(lost, False)
        assert (~encoding.received_mask(arrived, 11648, NUM_PARAMS)).sum() == num_lost


def test_each_tensor_has_a_scale_of_its_own() -> None:
    v = torch.tensor([1.0, -2.0, 0.5, 0.0, 0.01, -0.03, 0.02, 0.0])
    data = Uniform(8, "nearest", "tensor").payload(v, node()).data
    assert float(data[1]) == -2.0
    assert float(data[5]) == pytest.approx(-0.03, rel=1e-6)  # the largest of its tensor is exact
    assert float(Uniform(8, "nearest", "message").payload(v, node()).data[5]) == pytest.approx(-2 * 2 / 127, rel=1e-6)
    one = Uniform(8, "nearest", "tensor").encoding(7, node())
    assert one.groups == 7, "a message of another length than the model is one tensor"
    model = Uniform(8, "nearest", "tensor").encoding(8, node()).groups
    two = Uniform(8, "nearest", "tensor").encoding(16, node())
    assert two.groups == model * 2, (
        "a model and what travels with it, such as a tracked gradient, have their own scales"
    )
    assert two.num_bits((16,)) == 2 * (2 * 32 + 8 * 8)


# -- rounding ----------------------------------------------------------------------------------------------------------


def step_of(codec: Uniform, v: Tensor) -> Tensor:
    """[num_values] the step of each value's group."""
    encoding = codec.encoding(len(v), node(200))
    _, s, _ = levels(v, torch.zeros_like(v), codec.bits, codec.zero_point, encoding.groups)
    return spread(s, encoding.groups, len(v))


@pytest.mark.parametrize("keys", FORMS)
def test_stochastic_rounding_is_unbiased_with_the_variance_of_its_fractions(keys: dict[str, Any]) -> None:
    """E q s = v and Var q s = s^2 f (1 - f), each within 4 standard errors over 1e5 draws. The squared error has mean
    s^2 f (1 - f) and a variance of its own, s^4 f (1 - f) (1 - 2 f)^2."""
    codec = Uniform(rounding="stochastic", **keys)
    encoding = codec.encoding(8, node(200))
    noise = torch.from_numpy(np.random.default_rng(5).random((NUM_DRAWS, 8), dtype=np.float32))

    def draw(u: Tensor) -> Tensor:
        return encoding.decompress(levels_as_sent(encoding, u), (8,))

    def levels_as_sent(encoding: Any, u: Tensor) -> tuple[Tensor, ...]:
        return levels(V, u, encoding.bits, encoding.zero_point, encoding.groups)

    errors = (torch.func.vmap(draw)(noise) - V).double()
    s = step_of(codec, V).double()
    f = (V.double() / s).frac().abs()
    f = torch.where(f > 1 - 1e-6, 0, f)  # a whole number of steps but for the rounding of the division
    variance = s**2 * f * (1 - f)
    tolerance = 4 * (variance / NUM_DRAWS).sqrt() + 1e-6
    assert (errors.mean(0).abs() <= tolerance).all()
    spread_of_squares = s**4 * f * (1 - f) * (1 - 2 * f) ** 2
    assert ((errors.square().mean(0) - variance).abs() <= 4 * (spread_of_squares / NUM_DRAWS).sqrt() + 1e-6).all()
    assert (errors.abs() < s + 1e-6).all()


@pytest.mark.parametrize("zero_point", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_nearest_rounding_is_within_half_a_step(bits: int, zero_point: bool) -> None:
    v = torch.from_numpy(np.random.default_rng(3).standard_normal(2000)).float()
    codec = Uniform(bits, "nearest", "packet", zero_point)
    encoding = codec.encoding(2000, node(2000))
    _, s, _ = levels(v, None, bits, zero_point, encoding.groups)
    error = (codec.payload(v, node(2000)).data - v).abs()
    slack = 4e-7 * v.abs().max()  # of single precision
    # an affine zero point is rounded, which moves both ends of the range alike
    assert (error <= 0.5 * spread(s, encoding.groups, 2000) + slack).all()


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_halves_round_to_even(bits: int) -> None:
    largest = 2 ** (bits - 1) - 1
    v = torch.tensor([float(largest), 0.5, -0.5, 0.0])
    assert Uniform(bits, "nearest", "message").payload(v, node()).data.tolist() == [largest, 0, 0, 0]


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("zero_point", [False, True])
@pytest.mark.parametrize("v", [[3.0], [0.0, 0.0, -7.5], [1e-30, -1e-30], [3e38, -3e38], [2.0] * 9], ids=str)
def test_extreme_vectors(v: list[float], zero_point: bool, rounding: Any) -> None:
    """One value, one-hot, tiny, huge (the range overflows single precision), constant: finite, within a step."""
    values = torch.tensor(v)
    data = Uniform(8, rounding, "message", zero_point).payload(values, node()).data
    assert torch.isfinite(data).all()
    span = values.max().clamp(min=0).double() - values.min().clamp(max=0).double()
    assert ((data.double() - values.double()).abs() <= span / 127 * 1.001).all()
    if not zero_point and len(set(map(abs, v))) == 1:
        torch.testing.assert_close(data, values, rtol=2e-7, atol=0)


# -- groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3, 10, 17, (4, 1, 5), (10,)])
def test_groups_against_a_loop(groups: Any) -> None:
    v = torch.from_numpy(np.random.default_rng(4).standard_normal(10)).float()
    sizes = sizes_of(groups, 10)
    assert sum(sizes) == 10
    parts, start = [], 0
    for size in sizes:
        parts.append(v[start : start + size])
        start += size
    expected = torch.stack([part.max().clamp(min=0) for part in parts])
    assert torch.equal(maxima(v, groups), expected)
    each = torch.cat([value.repeat(size) for value, size in zip(expected, sizes, strict=True)])
    assert torch.equal(spread(expected, groups, 10), each)


# -- bad keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"bits": 0}, "bits = 0: a whole number from 1 to 16"),
        ({"bits": 17}, "bits = 17: "),
        ({"bits": True}, "bits = True: "),
        ({"bits": 1}, "bits = 1: leaves no level beside zero; 2, or"),
        ({"bits": 1, "zero_point": True}, "bits = 1: "),
        ({"rounding": "up"}, "rounding = 'up': one of stochastic, nearest"),
        ({"scale_per": "row"}, "scale_per = 'row': one of message, tensor, packet"),
    ],
)
def test_bad_keys_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Uniform(**keys)


def test_a_packet_without_room_for_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="a packet has room for 32 bits, a scale and a value need 40"):
        Uniform(scale_per="packet").payload(V, node(32))


def test_rounding_at_random_needs_noise() -> None:
    with pytest.raises(ValueError, match="noise = None"):
        Uniform().encoding(8, node()).compress(V)
