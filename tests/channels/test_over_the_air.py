"""Errors of over-the-air sums against simulated superposition and numeric minimization."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from channels.over_the_air import (
    aligned_power,
    full_inversion,
    kept_fraction,
    optimum,
    sum_mse,
    truncated_inversion,
)

POWER_W, NOISE_W = 2.0, 0.5


@pytest.mark.parametrize("control", ["full", "truncated", "optimum"])
def test_mse_of_the_sum_is_that_of_superposed_signals(control: str) -> None:
    """y / sqrt(eta) - sum s over 200,000 draws of Gaussian signals; the error is Gaussian, so its square has the relative standard
    error sqrt(2 / n); 4 of them."""
    rng = np.random.default_rng(3)
    gains = rng.exponential(size=6)
    if control == "full":
        amplitudes, eta = full_inversion(gains, POWER_W)
    elif control == "truncated":
        eta = 0.6 * POWER_W
        amplitudes = truncated_inversion(gains, POWER_W, eta)
        assert 0 < (amplitudes > 0).sum() < 6
    else:
        amplitudes, eta = optimum(gains, POWER_W, NOISE_W)
    assert (amplitudes**2 <= POWER_W * gains * (1 + 1e-12)).all()
    n = 200_000
    signals, noise = rng.standard_normal((n, 6)), np.sqrt(NOISE_W) * rng.standard_normal(n)
    error = (signals @ amplitudes + noise) / np.sqrt(eta) - signals.sum(1)
    assert float(sum_mse(amplitudes, eta, NOISE_W)) == pytest.approx((error**2).mean(), rel=4 * np.sqrt(2 / n))


def test_full_inversion_has_the_closed_form() -> None:
    gains = np.array([0.2, 1.0, 3.0])
    mse = sum_mse(*full_inversion(gains, POWER_W), NOISE_W) / 3**2
    assert float(mse) == pytest.approx(NOISE_W / (3**2 * POWER_W * 0.2), rel=1e-12)


def test_the_optimum_is_the_minimum_over_all_scalings() -> None:
    """For a given eta everybody comes as near to it as the power allows: minimized over eta by a search, for 200 channels."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        gains = rng.exponential(size=int(rng.integers(1, 12)))
        noise_w = float(rng.exponential())

        def mse(log_eta: float, gains: np.ndarray = gains, noise_w: float = noise_w) -> float:
            eta = np.exp(log_eta)
            return float(sum_mse(np.minimum(np.sqrt(eta), np.sqrt(POWER_W * gains)), eta, noise_w))

        starts = np.linspace(-12.0, 6.0, 60)
        best = min(mse(start) for start in starts)
        center = starts[int(np.argmin([mse(start) for start in starts]))]
        best = min(best, float(minimize_scalar(mse, bounds=(center - 0.4, center + 0.4), method="bounded").fun))
        found = float(sum_mse(*optimum(gains, POWER_W, noise_w), noise_w))
        assert found <= best * (1 + 1e-9)
        assert found >= best * (1 - 1e-4)
        assert found <= float(sum_mse(*full_inversion(gains, POWER_W), noise_w)) * (1 + 1e-12)


def test_truncation_keeps_exp_minus_g_and_spends_the_mean_power() -> None:
    """Rayleigh, 400,000 links: the kept fraction (binomial error) and the mean transmit power rho E[1/|h|^2; kept] = P0; 4
    standard errors."""
    gains, g, n = np.random.default_rng(5).exponential(size=400_000), 0.3, 400_000
    rho = float(aligned_power(1.5, g))
    heard = truncated_inversion(gains, rho / g, rho) > 0  # the peak power that just reaches rho at the threshold
    kept = float(kept_fraction(g))
    assert heard.mean() == pytest.approx(kept, abs=4 * np.sqrt(kept * (1 - kept) / n))
    spent = np.where(heard, rho / gains, 0.0)
    assert spent.mean() == pytest.approx(1.5, abs=4 * spent.std() / np.sqrt(n))
