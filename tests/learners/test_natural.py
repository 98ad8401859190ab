"""Natural compression: the variance of the specification, every exponent of single precision, unbiasedness and contraction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.natural import Natural
from tests.learners.codec_cases import node
from tests.learners.odd_vectors import vectors

V = torch.tensor([3, -1, 0.5, 0, -2.5, 0.25, 0, 1])
NUM_DRAWS = 100_000
LAST = 1 - 2.0**-24


def decoded(v: Tensor, noise: Tensor) -> Tensor:
    return Natural().decompress(Natural().compress(v, noise), v.shape)


def ends(v: Tensor) -> tuple[Tensor, Tensor]:
    """The powers above and below each value, float64."""
    up, down = (decoded(v, torch.full(v.shape, u)).double() for u in (0.0, LAST))
    return up, down


def test_variance_and_bits_of_the_worked_example() -> None:
    """3 is between 2 and 4, 2.5 too, all others are powers: (3 - 2) (4 - 3) + (2.5 - 2) (4 - 2.5) = 1.75, at most 17.5625 / 8."""
    up, down = ends(V)
    assert up.tolist() == [4, -1, 0.5, 0, -4, 0.25, 0, 1]
    assert down.tolist() == [2, -1, 0.5, 0, -2, 0.25, 0, 1]
    variance = float(((up - V) * (V - down)).sum())
    assert variance == 1.75 <= 17.5625 / 8 == pytest.approx(2.195313, abs=6e-7)
    assert Natural().payload(V, node()).num_bits == 9 * 8


def test_bytes_of_the_worked_example() -> None:
    """Sign and biased exponent, the exponent first and least significant bit first: 2 is 128, -1 is 127 and a sign, and so on."""
    codes = Natural().compress(V, torch.full((8,), LAST))
    data = Natural().encode(codes, (8,))
    number = sum(byte << 8 * i for i, byte in enumerate(data))
    assert [number >> 9 * i & 511 for i in range(8)] == [128, 127 + 256, 126, 0, 128 + 256, 125, 0, 127]


def test_unbiased_with_the_exact_variance() -> None:
    """4 standard errors over 1e5 draws. 3 errs by -1 or 1, so that every square is 1; -2.5 by .5, or, in a quarter of all draws, by -1.5: the
    squares .25 and 2.25 have the mean .75 and the variance 4 / 4 * 3 / 4."""
    noise = torch.from_numpy(np.random.default_rng(5).random(8 * NUM_DRAWS, dtype=np.float32))
    errors = (decoded(V.repeat(NUM_DRAWS), noise).view(NUM_DRAWS, 8) - V).double()
    assert (errors.mean(0).abs() <= 4 * torch.tensor([1, 0, 0, 0, 0.75, 0, 0, 0]).sqrt() / NUM_DRAWS**0.5).all()
    assert (errors[:, 0].square() == 1).all()
    assert abs(float(errors[:, 4].square().mean()) - 0.75) <= 4 * (0.75 / NUM_DRAWS) ** 0.5


def test_a_thousand_vectors_are_between_powers_and_a_contraction_in_the_mean() -> None:
    """f = (|v| - 2^e) / 2^e up and 1 - f down have the mean v and the variance (|v| - 2^e) (2^(e+1) - |v|), at most v^2 / 8. Up is drawn
    where u < f, for f that single precision holds."""
    v = torch.cat([found.float() for found in vectors(1_000)])
    up, down = ends(v)
    mantissa, _ = torch.frexp(v.double().abs())
    power = torch.where(v == 0, 0, v.double() / (2 * mantissa))
    assert torch.equal(down, power)
    f = torch.where(v == 0, 0, 2 * mantissa - 1)
    assert torch.equal(up, torch.where(f > 0, 2 * power, power))
    variance = power.square() * f * (1 - f)
    assert (variance <= v.double().square() / 8 * (1 + 1e-12)).all()
    u = torch.from_numpy(np.random.default_rng(6).random(len(v), dtype=np.float32))
    assert torch.equal(decoded(v, u).double(), torch.where(u < f, up, down))
    z = float((decoded(v, u).double() - v.double()).div(v.abs().clamp(min=1e-30)).sum())
    relative = variance / v.double().square().clamp(min=1e-60)
    assert abs(z) <= 4 * float(relative.sum()) ** 0.5


def test_every_power_and_the_ends_of_single_precision() -> None:
    powers = torch.tensor([2.0**e for e in range(-126, 128)])
    for u in (0.0, LAST):
        assert torch.equal(decoded(powers, torch.full(powers.shape, u)), powers)
        assert torch.equal(decoded(-powers, torch.full(powers.shape, u)), -powers)
    least, greatest = 2.0**-126, 2.0**127
    odd = torch.tensor([least / 4, -least / 4, 1.5 * greatest, -1.5 * greatest, 3.4e38])
    for u, small in ((0.2, least), (0.3, 0.0)):
        assert decoded(odd, torch.full((5,), u)).tolist() == [small, -small, greatest, -greatest, greatest]


def test_without_noise_it_is_refused() -> None:
    with pytest.raises(ValueError, match="noise = None: rounding is at random"):
        Natural().compress(V)
