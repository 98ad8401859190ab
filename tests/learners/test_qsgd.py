"""QSGD and ternary values: worked examples, exact variances, bits, unbiasedness and contraction.

Means over n draws are compared within 4 standard errors; the draws are copies of one vector, each a group of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.groups import Groups, spread, sums
from learners.compression.qsgd import Qsgd
from learners.compression.qsgd_levels import variance_bound
from learners.compression.ternary import Ternary, clipped
from tests.learners.codec_cases import node
from tests.learners.odd_vectors import vectors
from tests.learners.test_quantization import CNN, NUM_PARAMS
from tests.learners.test_quantization import node as node_of

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
SQUARE = 17.5625
NUM_DRAWS = 100_000
TERNARY = Ternary(scale_per="message")


def decoded(codec: Any, v: Tensor, u: float) -> Tensor:
    """v as it arrives where every draw is u."""
    encoding = codec.encoding(len(v), node())
    return encoding.decompress(encoding.compress(v, torch.full(v.shape, u)), v.shape)


def variance(codec: Any) -> float:
    """E ||C(V) - V||^2, from the two levels that each value is rounded to."""
    up, down = decoded(codec, V, 0.0).double(), decoded(codec, V, 1 - 2.0**-24).double()
    step = (up - down).abs()
    f = (V.double() - down).abs() / step.where(step > 0, 1)
    return float((step**2 * f * (1 - f)).sum())


@pytest.mark.parametrize(
    ("s", "norm", "exact"),
    [
        (1, "l2", 17.0113),
        (2, "l2", 5.2111),
        (4, "l2", 0.958275),
        (7, "l2", 0.350771),
        (127, "l2", 0.001151),
        (1, "max", 7.1875),
        (4, "max", 0.625),
    ],
)
def test_exact_variance(s: int, norm: Any, exact: float) -> None:
    found = variance(Qsgd(s, norm, "message"))
    assert found == pytest.approx(exact, rel=5e-4 if s == 127 else 1e-5)
    assert found <= variance_bound(s, 8) * SQUARE


def test_bound_of_the_variance_in_the_worked_example() -> None:
    assert variance_bound(1, 8) * SQUARE == pytest.approx(49.67, abs=0.01)
    assert variance_bound(7, 512) == pytest.approx(3.23, abs=0.005)  # a bucket of 512, 4 bits


def test_worked_example() -> None:
    """Every u = .5, s = 4: ||V|| = 4.190764, a = (2.86, .95, .48, 0, 2.39, .24, 0, .95)."""
    codec = Qsgd(4, "l2", "message")
    encoding = codec.encoding(8, node())
    z, r = encoding.compress(V, torch.full((8,), 0.5))
    assert z.tolist() == [3, -1, 0, 0, -2, 0, 0, 1]
    assert float(r) == pytest.approx(4.190764, abs=1e-6)
    expected = torch.tensor([3.143073, -1.047691, 0, 0, -2.095382, 0, 0, 1.047691])
    torch.testing.assert_close(encoding.decompress((z, r), (8,)), expected, rtol=0, atol=1e-6)
    assert encoding.num_bits((8,)) == 64
    data = encoding.encode((z, r), (8,))
    assert data == r.numpy().tobytes() + bytes([3 | 15 << 4, 0, 14, 1 << 4])  # -1 is 1111, -2 is 1110


@pytest.mark.parametrize(
    ("s", "bits"), [(1, 2), (2, 3), (3, 3), (4, 4), (7, 4), (8, 5), (127, 8), (128, 9), (32_767, 16)]
)
def test_bits_of_a_level(s: int, bits: int) -> None:
    """ceil(log2(2 s + 1)), and the largest level of either sign comes through."""
    encoding = Qsgd(s, "l2", "message").encoding(2, node())
    assert encoding.layout.format.code_bits == bits == math.ceil(math.log2(2 * s + 1))
    for sign in (1.0, -1.0):
        tensors = encoding.compress(torch.tensor([sign, 0.0]), torch.zeros(2))
        z, r = encoding.decode(encoding.encode(tensors, (2,)), (2,))
        assert z.tolist() == [int(sign) * s, 0]
        assert encoding.decompress((z, r), (2,)).tolist() == [sign, 0.0]


@pytest.mark.parametrize(
    ("codec", "num_bytes"),
    [
        (Qsgd(127), 670_098),
        (Qsgd(7), 335_069),
        (Qsgd(7, scale_per="bucket", bucket_values=512), 340_265),
        (Ternary(), 167_555),
    ],
)
def test_bytes_of_a_model_with_ten_tensors(codec: Any, num_bytes: int) -> None:
    assert codec.encoding(NUM_PARAMS, node_of(shapes=CNN)).num_bits((NUM_PARAMS,)) == 8 * num_bytes


def test_bytes_of_a_model_in_base_three() -> None:
    """Five values a byte, the last byte of each tensor filled up: 134,053 bytes with ten scales, one more than the specification's
    134,052 for digits in one row; 134,016 with one scale and all digits in one row."""
    for scale_per, num_bytes in (("tensor", 134_053), ("message", 134_016)):
        encoding = Ternary("base3", scale_per).encoding(NUM_PARAMS, node_of(shapes=CNN))  # type: ignore[arg-type]
        assert encoding.num_bits((NUM_PARAMS,)) == 8 * num_bytes


def test_ternary_example() -> None:
    """s = 3; the variance is 3 * 8.25 - 17.5625; 2.75 = 8.25 / 3 values are expected not to be zero."""
    assert variance(TERNARY) == pytest.approx(7.1875, rel=1e-6)
    assert TERNARY.payload(V, node()).num_bits == 48
    noise = torch.from_numpy(np.random.default_rng(6).random(8 * NUM_DRAWS, dtype=np.float32))
    z, _ = copies_of(TERNARY).compress(V.repeat(NUM_DRAWS), noise)
    p = V.abs().double() / 3
    count = z.abs().sum() / NUM_DRAWS
    assert float(count) == pytest.approx(2.75, abs=4 * float((p * (1 - p)).sum() / NUM_DRAWS) ** 0.5)


def test_base_three_puts_five_values_in_a_byte() -> None:
    encoding = Ternary("base3", "message").encoding(7, node())
    tensors = torch.tensor([1, -1, 0, 0, 1, -1, -1], dtype=torch.int8), torch.tensor([3.0])
    data = encoding.encode(tensors, (7,))
    assert data[4:] == bytes([1 + 2 * 3 + 81, 2 + 2 * 3])
    assert torch.equal(encoding.decode(data, (7,))[0], tensors[0])


def test_clipping_at_standard_deviations() -> None:
    """Mean .15625, variance 17.5625 / 8 - .15625^2 = 1.473397^2: 2.5 of them are 3.683, more than any value; 1 of them is not."""
    assert torch.equal(clipped(V, 2.5, 8), V)
    expected = V.clamp(-1.473397, 1.473397)
    torch.testing.assert_close(clipped(V, 1.0, 8), expected, rtol=0, atol=1e-5)
    clip = Ternary(scale_per="message", clip_deviations=1.0)
    assert decoded(clip, V, 0.0)[0] == pytest.approx(1.473397, abs=1e-5)
    parts = torch.cat((clipped(V[:3], 1.0, 3), clipped(V[3:6], 1.0, 3), clipped(V[6:], 1.0, 2)))
    assert torch.equal(clipped(V, 1.0, 3), parts)


def copies_of(codec: Any, groups: Groups = 8) -> Any:
    """The encoding of copies of a vector of this length, or of vectors of these lengths, each with a scale of its own."""
    encoding = codec.encoding(8, node())
    return type(encoding)(
        type(encoding.layout)(encoding.layout.format, groups),
        *(getattr(encoding, name) for name in list(encoding.__dataclass_fields__)[1:]),
    )


class Rounding:
    """A thousand odd vectors behind each other, and the two levels up and down that each value is rounded to, up with probability
    f. tau: what they have been divided by [num_values]."""

    def __init__(self, codec: Any) -> None:
        found = [v.float() for v in vectors(1_000, outlier=1e6)]  # levels are found in single precision
        self.v, self.groups = torch.cat(found), tuple(len(v) for v in found)
        self.encoding, shape = copies_of(codec, self.groups), self.v.shape
        ends = [torch.full(shape, u) for u in (0.0, 1 - 2.0**-24)]
        self.up, self.down = (self.decoded(u).double() for u in ends)
        bounds = [
            1 + variance_bound(codec.levels, d) if getattr(codec, "contractive", False) else 1 for d in self.groups
        ]
        self.tau = spread(torch.tensor(bounds), self.groups, len(self.v))
        self.step = (self.up - self.down).abs()
        from_down = (self.v.double() / self.tau - self.down).abs()
        self.f = (from_down / self.step.where(self.step > 0, 1)).clamp(0, 1)
        self.variance = self.step**2 * self.f * (1 - self.f)

    def decoded(self, noise: Tensor) -> Tensor:
        return self.encoding.decompress(self.encoding.compress(self.v, noise), self.v.shape)

    def of_vectors(self, values: Tensor) -> Tensor:
        """Sums [num_vectors]."""
        return sums(values, self.groups)


@pytest.mark.parametrize(
    "codec", [Qsgd(4, "l2", "message"), Qsgd(1, "l2", "message"), Qsgd(7, "max", "message"), TERNARY], ids=str
)
def test_unbiased_with_the_exact_variance(codec: Any) -> None:
    """The squared error of a value has the mean step^2 f (1 - f) and the variance step^4 f (1 - f) (1 - 2 f)^2."""
    noise = torch.from_numpy(np.random.default_rng(5).random(8 * NUM_DRAWS, dtype=np.float32))
    encoding, n = copies_of(codec), 8 * NUM_DRAWS
    draws = encoding.decompress(encoding.compress(V.repeat(NUM_DRAWS), noise), (n,)).view(NUM_DRAWS, 8)
    errors = (draws - V).double()
    up, down = decoded(codec, V, 0.0).double(), decoded(codec, V, 1 - 2.0**-24).double()
    step = (up - down).abs()
    f = (V.double() - down).abs() / step.where(step > 0, 1)
    each = step**2 * f * (1 - f)
    assert (errors.mean(0).abs() <= 4 * (each / NUM_DRAWS).sqrt() + 1e-6).all()
    spread = (step**4 * f * (1 - f) * (1 - 2 * f) ** 2).sum()
    assert abs(float(errors.square().sum(1).mean()) - variance(codec)) <= 4 * float(spread / NUM_DRAWS) ** 0.5 + 1e-5


@pytest.mark.parametrize("codec", [Qsgd(4, "l2", "message"), Qsgd(7, "max", "message"), TERNARY], ids=str)
def test_a_thousand_vectors_are_unbiased_with_their_exact_variances(codec: Any) -> None:
    """z_i: the mean error of vector i along itself, in standard errors. None of a thousand is beyond 5 and their sum is within 4; so
    is the mean of all squared errors, each over the square of its vector's norm, whose variance is step^4 f (1 - f) (1 - 2 f)^2."""
    case, num_draws, rng = Rounding(codec), 10, np.random.default_rng(11)
    v = case.v.double()
    norms = case.of_vectors(v.square())
    weight = v / spread(norms, case.groups, len(v)).where(v != 0, 1).sqrt()
    bias, square = torch.zeros(2, len(norms), dtype=torch.float64)
    for _ in range(num_draws):
        error = case.decoded(torch.from_numpy(rng.random(len(v), dtype=np.float32))).double() - v
        bias += case.of_vectors(error * weight) / num_draws
        square += case.of_vectors(error.square()) / norms.where(norms > 0, 1) / num_draws
    spreads = (case.of_vectors(case.variance * weight.square()) / num_draws).sqrt()
    random = spreads > 1e-6 * norms.sqrt()
    z = bias[random] / spreads[random]
    assert len(z) > 900
    assert float(z.abs().max()) < 5
    assert abs(float(z.sum())) <= 4 * len(z) ** 0.5
    assert (bias[~random].abs() <= 1e-5 * norms[~random].sqrt()).all(), "what is a level comes through"
    scaled = case.variance / spread(norms.where(norms > 0, 1), case.groups, len(v))
    of_squares = (
        scaled * (1 - 2 * case.f).square() * case.step.square() / spread(norms, case.groups, len(v)).where(v != 0, 1)
    )
    assert abs(float(square.sum() - scaled.sum())) <= 4 * float(of_squares.sum() / num_draws) ** 0.5
    assert (case.of_vectors(case.variance) <= norms * bound_of(codec, case.groups) * (1 + 1e-5)).all()


def bound_of(codec: Any, groups: Any) -> Tensor:
    """Of the variance over ||v||^2; of ternary values, s ||v||_1 - ||v||^2 with s ||v||_1 <= sqrt(d) ||v||^2."""
    return torch.tensor([variance_bound(getattr(codec, "levels", 1), d) for d in groups], dtype=torch.float64)


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("s", [1, 4, 127])
def test_divided_by_tau_it_is_a_contraction_in_the_mean(s: int, norm: Any) -> None:
    """E ||C(v) / tau - v||^2 = Var / tau^2 + (1 - 1/tau)^2 ||v||^2 <= (1 - 1/tau) ||v||^2, exactly, for a thousand odd vectors."""
    case = Rounding(Qsgd(s, norm, "message", contractive=True))
    v = case.v.double()
    mean = case.f * case.up + (1 - case.f) * case.down
    error = case.of_vectors(case.variance + (mean - v).square())
    tau = 1 + bound_of(Qsgd(s), case.groups)
    assert (error <= (1 - 1 / tau) * case.of_vectors(v.square()) * (1 + 1e-5) + 1e-30).all()


@pytest.mark.parametrize("codec", [Qsgd(1, "l2", "message"), Qsgd(127, "l2", "message"), TERNARY], ids=str)
@pytest.mark.parametrize("v", [[3.0], [0.0, 0.0, -7.3], [0.0] * 4, [1e-30, 0.0], [3e38, -0.0]], ids=str)
def test_one_hot_and_zero_vectors_are_exact(v: list[float], codec: Any) -> None:
    for u in (0.0, 0.5, 1 - 2.0**-24):
        assert torch.equal(decoded(codec, torch.tensor(v), u), torch.tensor(v))


def test_a_norm_beyond_single_precision_stays_finite() -> None:
    data = decoded(Qsgd(127, "l2", "message"), torch.tensor([3e38, -3e38, 3e38]), 0.5)
    assert torch.isfinite(data).all()
    assert data.sign().tolist() == [1, -1, 1]


@pytest.mark.parametrize(
    ("make", "keys", "says"),
    [
        (Qsgd, {"levels": 0}, "levels = 0: a positive integer"),
        (Qsgd, {"levels": 40_000}, "levels = 40000: at most 32767"),
        (Qsgd, {"norm": "l1"}, "norm = 'l1': one of l2, max"),
        (Qsgd, {"scale_per": "row"}, "scale_per = 'row': one of message, tensor, packet, bucket"),
        (Qsgd, {"bucket_values": 64}, 'bucket_values = 64: only with scale_per = "bucket"'),
        (Qsgd, {"error_feedback": True}, "error_feedback = True: .* contractive = true"),
        (Ternary, {"packing": "base4"}, "packing = 'base4': one of fixed, base3"),
        (Ternary, {"clip_deviations": 0}, "clip_deviations = 0: a positive finite number"),
    ],
)
def test_bad_keys_are_refused(make: Any, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(**keys)


@pytest.mark.parametrize("codec", [Qsgd(), Ternary()], ids=["qsgd", "ternary"])
def test_rounding_at_random_needs_noise(codec: Any) -> None:
    with pytest.raises(ValueError, match="noise = None"):
        codec.encoding(8, node()).compress(V)
