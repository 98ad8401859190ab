"""Rates of powers, and WMMSE: worked examples, a plain twin, invariants, the mean sum rates of Rayleigh channels.

Numbers without a source here are those of the specification (an implementation independent of this one).
"""

from __future__ import annotations

import time
from math import sqrt

import numpy as np
import pytest
import torch

from learners.control.interference_channel import draw_interference
from learners.control.rates import link_rates, parallel_rates, sum_rates
from learners.control.wmmse import best_of_starts, filters_and_weights, wmmse

AMPLITUDES = np.array([[[1, 0.5], [0.4, 0.8]]])
ONE_OFF = np.array([[[1, 0.3], [1.5, 0.6]]])
STUCK = np.array([[[1, 1.2], [0.9, 0.8]]])
NOISE = 0.1


def sums(gains: np.ndarray, powers: np.ndarray) -> np.ndarray:
    return sum_rates(torch.from_numpy(gains), torch.from_numpy(powers)).numpy()


def gains_of(seed: int, num: int, num_links: int, noise: float = NOISE) -> np.ndarray:
    return draw_interference(np.random.default_rng(seed), num, num_links) ** 2 / noise


def plain_wmmse(h: np.ndarray, noise: float, num_iterations: int, alpha: np.ndarray) -> np.ndarray:
    """One channel, link after link, as the specification writes it. h: amplitudes [K, K]."""
    links = range(len(h))
    b = [1.0] * len(h)

    def respond() -> tuple[list[float], list[float]]:
        f = [h[k, k] * b[k] / (sum(h[k, j] ** 2 * b[j] ** 2 for j in links) + noise) for k in links]
        return f, [1 / (1 - f[k] * b[k] * h[k, k]) for k in links]

    f, w = respond()
    for _ in range(num_iterations):
        b = [
            min(
                alpha[k] * w[k] * f[k] * h[k, k] / sum(alpha[m] * w[m] * f[m] ** 2 * h[m, k] ** 2 for m in links),
                1.0,
            )
            for k in links
        ]
        f, w = respond()
    return np.square(b)


# -- rates ------------------------------------------------------------------------------------------------------------


def test_rates_of_the_worked_example() -> None:
    rates = link_rates(torch.from_numpy(AMPLITUDES**2 / NOISE), torch.ones(1, 2, dtype=torch.float64))
    assert rates[0].tolist() == pytest.approx([1.947533, 1.791413], abs=1e-6)
    assert sums(AMPLITUDES**2 / NOISE, np.ones((1, 2))) == pytest.approx([3.738946], abs=1e-6)


def test_padding_has_no_rate_and_changes_none() -> None:
    gains, powers = torch.rand(5, 3, 3, generator=torch.Generator().manual_seed(1)), torch.full((5, 3), 0.7)
    padded, ones = torch.zeros(5, 6, 6), torch.ones(5, 6)
    padded[:, :3, :3], ones[:, :3] = gains, powers
    rates = link_rates(padded, ones)
    assert torch.equal(rates[:, 3:], torch.zeros(5, 3))
    torch.testing.assert_close(rates[:, :3], link_rates(gains, powers))
    assert torch.equal(parallel_rates(torch.tensor([2.0, 0.0]), torch.tensor([0.5, 9.0])), torch.tensor([1.0, 0.0]))


def test_rates_keep_their_digits_beside_a_link_a_hundred_million_times_the_noise() -> None:
    """Interference 0.5 under a signal of 1e8: R = log2(1 + 1e8 / 1.5) in float32, too."""
    rates = link_rates(torch.tensor([[1e8, 0.5], [0.0, 1e-6]]), torch.ones(2))
    assert rates.tolist() == pytest.approx([np.log2(1 + 1e8 / 1.5), np.log2(1 + 1e-6)], rel=1e-6)


def test_rates_are_mapped_and_differentiated() -> None:
    gains = torch.from_numpy(gains_of(3, 4, 5))
    powers = torch.from_numpy(np.random.default_rng(4).uniform(0.1, 1, (4, 5)))
    torch.testing.assert_close(torch.func.vmap(sum_rates)(gains, powers), sum_rates(gains, powers))
    assert torch.autograd.gradcheck(lambda p: link_rates(gains, p), powers.requires_grad_())
    assert torch.autograd.gradcheck(lambda p: parallel_rates(gains[:, 0], p), powers)


# -- WMMSE ------------------------------------------------------------------------------------------------------------


def test_filters_and_weights_of_the_worked_example() -> None:
    f, w = filters_and_weights(AMPLITUDES**2, np.ones((1, 2)), NOISE)
    assert f[0] == pytest.approx([0.740741, 0.888889], abs=1e-6)
    assert w[0] == pytest.approx([3.857143, 3.461538], abs=1e-6)
    unclipped = [
        w[0, k] * f[0, k] * AMPLITUDES[0, k, k] / (w[0] * f[0] ** 2 * AMPLITUDES[0, :, k] ** 2).sum() for k in (0, 1)
    ]
    assert unclipped == pytest.approx([1.118689, 1.079846], abs=1e-6)
    assert wmmse(AMPLITUDES**2, noise=NOISE).tolist() == [[1, 1]]  # full power stays


@pytest.mark.parametrize(
    ("num_iterations", "power", "rate"), [(0, 1.0, 2.852522), (1, 0.134053, 3.340163), (2, 0.005981, 3.453714), (5, 0.0, 3.459431)]
)  # fmt: skip
def test_iterations_of_the_worked_example(num_iterations: int, power: float, rate: float) -> None:
    found = wmmse(ONE_OFF**2, noise=NOISE, num_iterations=num_iterations)
    assert found[0] == pytest.approx([1, power], abs=1e-6)
    assert sums(ONE_OFF**2 / NOISE, found) == pytest.approx([rate], abs=1e-6)


def test_log2_of_the_weights_is_the_rate() -> None:
    gains, powers = gains_of(5, 20, 6), np.random.default_rng(6).random((20, 6))
    _, w = filters_and_weights(gains, powers)
    rates = link_rates(torch.from_numpy(gains), torch.from_numpy(powers)).numpy()
    assert np.log2(w) == pytest.approx(rates, abs=1e-12)


def test_batched_wmmse_is_the_plain_loop() -> None:
    """Weighted, and in three blocks: 12 channels of 30 links are 86 kB."""
    h = draw_interference(np.random.default_rng(7), 5, 4)
    alpha = np.random.default_rng(8).uniform(0.5, 2, (5, 4))
    found = wmmse(h**2, weights=alpha, noise=NOISE, num_iterations=30)
    for i in range(5):
        assert found[i] == pytest.approx(plain_wmmse(h[i], NOISE, 30, alpha[i]), abs=1e-12)
    assert wmmse(h**2 / NOISE, weights=alpha, num_iterations=30) == pytest.approx(found, abs=1e-12)


def test_blocks_are_of_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = gains_of(9, 11, 5)
    whole = wmmse(gains, tolerance=1e-3)
    monkeypatch.setattr("learners.control.wmmse.BLOCK_BYTES", 4 * 8 * 25)
    assert np.array_equal(wmmse(gains, tolerance=1e-3), whole)


def test_the_weighted_sum_of_rates_never_falls() -> None:
    gains, alpha = gains_of(10, 50, 6), np.random.default_rng(11).uniform(0.2, 3, (50, 6))
    values = []
    for n in range(12):
        powers = torch.from_numpy(wmmse(gains, weights=alpha, num_iterations=n))
        values.append((link_rates(torch.from_numpy(gains), powers).numpy() * alpha).sum(1))
    assert (np.diff(values, axis=0) >= -1e-12).all()
    assert np.mean(values[-1] - values[0]) > 1


def test_a_channel_stops_by_itself() -> None:
    """At its first growth of at most 1e-3, found by running every number of iterations."""
    gains = gains_of(12, 30, 5)
    runs = [wmmse(gains, num_iterations=n) for n in range(101)]
    rates = np.array([sums(gains, powers) for powers in runs])
    ends = [next((n for n in range(1, 101) if rates[n, i] - rates[n - 1, i] <= 1e-3), 100) for i in range(30)]
    assert len(set(ends)) > 5
    found = wmmse(gains, tolerance=1e-3)
    assert found == pytest.approx(np.array([runs[end][i] for i, end in enumerate(ends)]), abs=1e-12)


@pytest.mark.parametrize("tolerance", [None, 1e-3])
def test_padding_takes_no_part(tolerance: float | None) -> None:
    gains = gains_of(13, 8, 6)
    presence = np.array([1, 1, 1, 1, 0, 0])
    found = wmmse(gains, presence, tolerance=tolerance)
    assert np.array_equal(found[:, 4:], np.zeros((8, 2)))
    assert found[:, :4] == pytest.approx(wmmse(gains[:, :4, :4], tolerance=tolerance), abs=1e-12)
    zeroed = gains * (presence[:, None] * presence)
    assert np.array_equal(wmmse(zeroed, tolerance=tolerance), found)  # gains of 0 say the same


def test_wmmse_is_equivariant() -> None:
    gains, order = gains_of(14, 6, 7), np.random.default_rng(15).permutation(7)
    assert wmmse(gains[:, order][:, :, order]) == pytest.approx(wmmse(gains)[:, order], abs=1e-9)


def test_a_stationary_point_is_not_the_optimum() -> None:
    """Full power stays, though link 2 had better be off; a random start finds that."""
    gains = STUCK**2 / NOISE
    found = wmmse(gains)
    assert found.tolist() == [[1, 1]]
    assert sums(gains, found) == pytest.approx([1.490], abs=5e-4)
    assert sums(gains, np.array([[1.0, 0.0]])) == pytest.approx([3.459], abs=5e-4)
    best = best_of_starts(gains, 10, np.random.default_rng(16))
    assert sums(gains, best) == pytest.approx([3.459], abs=5e-4)


def test_extremes() -> None:
    """A lone link, links that do not disturb each other (strong, weak, without a gain), and a pair that nothing tells apart."""
    assert wmmse(np.array([[[1e-12]]])).tolist() == [[1]]
    assert wmmse(np.diag([1e12, 1e-12, 0.0])[None]).tolist() == [[1, 1, 0]]
    twins = wmmse(np.array([[[10.0, 9.0], [9.0, 10.0]]]))
    assert twins[0, 0] == twins[0, 1]
    assert np.isfinite(wmmse(10.0 ** np.random.default_rng(17).uniform(-12, 12, (50, 8, 8)))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gains": -AMPLITUDES}, r"gains\[0, 0, 0\] = -1.0: gains are linear, finite and not negative"),
        ({"gains": AMPLITUDES * np.nan}, r"gains\[0, 0, 0\] = nan"),
        ({"gains": np.ones((3, 0, 0))}, r"gains has the shape \(3, 0, 0\): \[num, K, K\] with K = 0 objects, at least 1"),
        ({"gains": np.ones((3, 2))}, r"gains has the shape \(3, 2\): \[num, K, K\]"),
        ({"noise": 0.0}, "noise = 0.0: a positive finite number"),
        ({"start": np.full((1, 2), 1.5)}, "start: finite and not negative, at most 1"),
        ({"weights": np.array([[1.0, -1.0]])}, "weights: finite and not negative"),
        ({"weights": np.ones((1, 3))}, r"weights has the shape \(1, 3\): for gains of 1 channels of 2 links, \(1, 2\)"),
        ({"num_iterations": -1}, "num_iterations = -1"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wmmse(**{"gains": AMPLITUDES, **change})  # type: ignore[arg-type]


# WMMSE, full power, random power: mean sum rates of 1,000 channels
TABLE = {
    (1.0, 2): (1.301, 1.179, 0.781),
    (1.0, 5): (2.134, 1.424, 1.176),
    (1.0, 10): (2.809, 1.414, 1.290),
    (1.0, 20): (3.668, 1.461, 1.407),
    (1.0, 30): (4.098, 1.420, 1.388),
    (0.1, 2): (3.535, 2.296, 2.054),
    (0.1, 5): (4.611, 1.722, 1.768),
    (0.1, 10): (5.500, 1.564, 1.595),
    (0.1, 20): (6.700, 1.523, 1.542),
    (0.1, 30): (7.133, 1.477, 1.489),
}


@pytest.mark.parametrize(("noise", "num_links"), TABLE)
def test_mean_sum_rates_of_rayleigh_channels(noise: float, num_links: int) -> None:
    """Other channels than the table's 1,000: within four standard errors of a difference of two such means, 2 to 11 %. Full and random
    power are 3 % apart at K = 30, and at K = 2 by half."""
    num = 1000 if num_links > 10 else 2000
    rng = np.random.default_rng(18)
    gains = draw_interference(rng, num, num_links) ** 2 / noise
    powers = (wmmse(gains, tolerance=1e-3), np.ones(gains.shape[:2]), rng.random(gains.shape[:2]))
    for found, expected in zip(powers, TABLE[noise, num_links], strict=True):
        rates = sums(gains, found)
        standard_error = rates.std() * sqrt(1 / num + 1 / 1000)
        assert rates.mean() == pytest.approx(expected, abs=4 * standard_error + 5e-4)


def test_the_best_of_ten_starts_is_four_percent_better() -> None:
    """At K = 10, sigma^2 = 0.1: 4.0 % over 1,000 channels, where a channel's gain (over the mean sum rate) deviates by 7 %: three standard errors of
    the difference of two such means are 1.5 % here."""
    gains = gains_of(19, 250, 10)
    one, ten = (sums(gains, best_of_starts(gains, n, np.random.default_rng(20), tolerance=1e-3)) for n in (1, 10))
    assert np.array_equal(one, sums(gains, wmmse(gains, tolerance=1e-3)))
    assert (ten >= one).all()
    standard_error = (ten - one).std() / one.mean() * sqrt(1 / 250 + 1 / 1000)
    assert 0.002 < standard_error < 0.007
    assert ten.mean() / one.mean() - 1 == pytest.approx(0.040, abs=3 * standard_error)


def test_a_thousand_channels_of_thirty_links_take_less_than_three_seconds() -> None:
    """A hundred iterations on one core: 0.1 s of CPU time where it was written (`make bench` measures it)."""
    gains = gains_of(21, 1000, 30)
    start = time.process_time()
    wmmse(gains)
    assert time.process_time() - start < 3
