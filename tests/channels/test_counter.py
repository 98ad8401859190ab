"""Counter-based draws: a published sequence, the laws, and independence of the asking."""

import numpy as np
import pytest
from scipy import stats

from channels import counter


def test_consecutive_ids_are_a_splitmix64_sequence():
    """splitmix64 seeded with 1234567 begins with these numbers (the reference output given on rosettacode.org)."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert counter.hash_u64(1234567, np.arange(5)).tolist() == expected
    assert [counter.hash_int(1234567, i) for i in range(5)] == expected


def test_integers_and_arrays_give_the_same_words():
    key = 2**63 + 5
    words = counter.hash_u64(key, np.arange(3)[:, None], 7, np.arange(4))
    assert words.shape == (3, 4)
    assert words[2, 3] == counter.hash_int(key, 2, 7, 3)
    assert words[1, 2] == counter.hash_u64(key, 1, 7, 2)


def test_order_of_ids_and_key_matter():
    assert counter.hash_int(1, 2, 3) != counter.hash_int(1, 3, 2)
    assert counter.hash_int(1, 2) != counter.hash_int(2, 1)


def test_uniform_excludes_both_ends():
    extremes = counter.to_uniform(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert 0 < extremes[0] < extremes[1] < 1


@pytest.mark.parametrize(
    ("draw", "law"), [(counter.uniform, "uniform"), (counter.exponential, "expon"), (counter.normal, "norm")]
)
def test_laws_by_kolmogorov_smirnov(draw, law):
    """100,000 draws over two ids; the seed is fixed, and p > 1e-4 is what all but one seed in ten thousand would give."""
    values = draw(99, np.arange(100)[:, None], np.arange(1000)).ravel()
    assert stats.kstest(values, law).pvalue > 1e-4


def test_complex_normal_has_unit_power_and_independent_parts():
    z = counter.complex_normal(5, np.arange(100_000))
    assert stats.kstest(z.real * np.sqrt(2), "norm").pvalue > 1e-4
    assert stats.kstest(z.imag * np.sqrt(2), "norm").pvalue > 1e-4
    assert abs(np.mean(z * z)) < 4.5 * np.sqrt(2 / z.size)  # E z^2 = 0, E|z^2|^2 = 2


def test_neighboring_ids_are_uncorrelated():
    """Correlation of n = 90,000 pairs has standard error 1/sqrt(n) = 0.0033."""
    u = counter.uniform(3, np.arange(300)[:, None], np.arange(301))
    for a, b in ((u[:, :-1], u[:, 1:]), (u[:-1], u[1:])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4.5 / np.sqrt(a.size)
