"""Errors of over-the-air sums: what a receiver gets who adds up by superposition.

    y = sum_k h_k b_k s_k + z,     |b_k|^2 <= P,  E s_k^2 = 1,  E z^2 = sigma^2,  the receiver takes y / sqrt(eta) for sum_k s_k

    MSE = sum_k (|h_k| |b_k| / sqrt(eta) - 1)^2 + sigma^2 / eta             of the sum; of the mean of K: divided by K^2

    full inversion       b_k = sqrt(eta) / h_k with eta = P min_k |h_k|^2
    optimum, one antenna the weakest k send with full power, the others invert: eta = ((sigma^2 + P sum_{i<=k} h_i^2) /
                         (sqrt(P) sum_{i<=k} h_i))^2 for the best k.  Cao, Zhu, Xu and Huang, "Optimized power control for
                         over-the-air computation in fading channels", IEEE Trans. Wireless Commun. 19 (2020); Liu, Zang, Li and
                         Vucetic, "Over-the-air computation systems: optimization, analysis and scaling laws", same volume
    truncated inversion  b_k = sqrt(eta) / h_k where P |h_k|^2 >= eta, else silent.  Zhu, Wang and Huang, "Broadband analog
                         aggregation for low-latency federated edge learning", same volume

Perfect channel knowledge and timing, signals independent of each other with zero mean.
"""

from __future__ import annotations

import numpy as np
from scipy.special import exp1


def sum_mse(amplitudes: np.ndarray, eta: float | np.ndarray, noise_w: float) -> np.ndarray:
    """[...] MSE of the sum. amplitudes: [..., K] received |h_k| |b_k|, sqrt(W); eta: [...] W; noise_w: sigma^2, W."""
    scale = np.sqrt(np.asarray(eta, dtype=np.float64))
    mse: np.ndarray = ((amplitudes / scale[..., None] - 1.0) ** 2).sum(-1) + noise_w / scale**2
    return mse


def full_inversion(gains: np.ndarray, power_w: float) -> tuple[np.ndarray, float]:
    """Received amplitudes [K] and eta. gains: [K] |h_k|^2; power_w: P."""
    eta = power_w * float(gains.min())
    return np.full(len(gains), np.sqrt(eta)), eta


def truncated_inversion(gains: np.ndarray, power_w: float, eta: float) -> np.ndarray:
    """Received amplitudes [..., K] of gains [..., K]: sqrt(eta) of who reaches it, else 0."""
    amplitudes: np.ndarray = np.where(power_w * gains >= eta, np.sqrt(eta), 0.0)
    return amplitudes


def optimum(gains: np.ndarray, power_w: float, noise_w: float) -> tuple[np.ndarray, float]:
    """Received amplitudes [K], in the order of gains [K], and eta that minimize the MSE of the sum."""
    order = np.argsort(gains)
    h = np.sqrt(gains[order])
    weakest = np.cumsum(h)
    etas = ((noise_w + power_w * np.cumsum(h**2)) / (np.sqrt(power_w) * weakest)) ** 2
    received = np.minimum(np.sqrt(power_w) * h, np.sqrt(etas)[:, None])  # [number at full power, K]
    best = int(sum_mse(received, etas, noise_w).argmin())
    amplitudes = np.empty_like(h)
    amplitudes[order] = received[best]
    return amplitudes, float(etas[best])


def kept_fraction(threshold: float | np.ndarray) -> np.ndarray:
    """[...] of Rayleigh links (mean power gain 1) that truncation at a power gain of `threshold` lets speak: exp(-g)."""
    kept: np.ndarray = np.exp(-np.asarray(threshold))
    return kept


def aligned_power(mean_power_w: float | np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """[...] W that inversion of Rayleigh fading (mean gain 1), truncated at `threshold`, aligns to with this mean transmit
    power: rho = P0 / E1(g), since E[1/|h|^2; |h|^2 >= g] = E1(g), the exponential integral (0 for g = 0)."""
    aligned: np.ndarray = np.asarray(mean_power_w) / exp1(threshold)
    return aligned
