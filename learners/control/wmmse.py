"""WMMSE: powers of K interfering links by weighted minimization of the mean square error, for many channels at once.

With G_kj = |h_kj|^2 the power gain from transmitter j to receiver k, amplitudes b_k = sqrt(p_k) from 0 to 1 and the start
p = 1 (full power):

    f_k = sqrt(G_kk) b_k / (sum_j G_kj b_j^2 + sigma^2)                                 receive filters
    w_k = 1 / (1 - f_k b_k sqrt(G_kk))                                                  log2 w_k = R_k
    b_k <- clip( alpha_k w_k f_k sqrt(G_kk) / sum_m alpha_m w_m f_m^2 G_mk , 0, 1 )     all k, then f and w again

until `num_iterations` are over, or sum_k alpha_k log2 w_k grows by no more than `tolerance` (each channel by itself). The weighted sum
of rates never falls; its end is a stationary point, not the best there is: `best_of_starts` tries several.

Shi, Razaviyayn, Luo and He, "An iteratively weighted MMSE approach to distributed sum-utility maximization for a MIMO interfering
broadcast channel", IEEE Trans. Signal Process. 2011, in the form for real amplitudes of Sun et al. 2018, which stop at 100
iterations or a growth of 1e-3. Ours: w_k as 1 + SINR_k, the same without the cancellation, and blocks of channels that fit a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from learners.control.gains import check_gains, per_link
from learners.fields import check_count, check_number

NUM_ITERATIONS = 100
BLOCK_BYTES = 1 << 20


def filters_and_weights(gains: np.ndarray, powers: np.ndarray, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """f and w, [n, K] each. gains: [n, K, K]; powers: [n, K] from 0 to 1; noise: sigma^2, 1 if gains are SNRs."""
    channels = _Channels.of(gains, np.ones(powers.shape))
    return channels.respond(np.sqrt(powers), noise)


def wmmse(
    gains: np.ndarray,
    presence: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    start: np.ndarray | None = None,
    noise: float = 1.0,
    num_iterations: int = NUM_ITERATIONS,
    tolerance: float | None = None,
) -> np.ndarray:
    """Powers [n, K] from 0 to 1 (of the largest), float64.

    gains: [n, K, K] linear, row = receiver, column = transmitter, at the largest power
    presence: [n, K] or [K], 0 for padding, which gets no power and takes no part; none: all are there
    weights: alpha [n, K] or [K], not negative; none: 1
    start: powers [n, K] or [K] from 0 to 1; none: full power
    noise: sigma^2 in the unit of the gains, 1 if they are SNRs
    tolerance: growth of the weighted sum of rates in bit/s/Hz at which a channel stops; none: it never does
    Raises ValueError for negative or infinite gains, K = 0, or shapes that do not fit.
    """
    return _solve(gains, presence, weights, start, noise, num_iterations, tolerance)[0]


def best_of_starts(
    gains: np.ndarray,
    num_starts: int,
    rng: np.random.Generator,
    presence: np.ndarray | None = None,
    *,
    weights: np.ndarray | None = None,
    noise: float = 1.0,
    num_iterations: int = NUM_ITERATIONS,
    tolerance: float | None = None,
) -> np.ndarray:
    """As `wmmse`, for each channel the powers of the largest weighted sum of rates over full power and `num_starts` - 1 starts of
    uniform random powers."""
    check_count("num_starts", num_starts)
    best, highest = _solve(gains, presence, weights, None, noise, num_iterations, tolerance)
    for _ in range(num_starts - 1):
        powers, value = _solve(gains, presence, weights, rng.random(best.shape), noise, num_iterations, tolerance)
        better = value > highest
        best[better], highest[better] = powers[better], value[better]
    return best


@dataclass(frozen=True)
class _Channels:
    """amplitudes: sqrt(G_kk) [n, K]; cross: G without its diagonal [n, K, K]; weights: alpha [n, K]."""

    amplitudes: np.ndarray
    cross: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, gains: np.ndarray, weights: np.ndarray) -> _Channels:
        others = ~np.eye(gains.shape[-1], dtype=bool)
        return cls(np.sqrt(gains.diagonal(axis1=1, axis2=2)), gains * others, weights)

    def of_rows(self, rows: np.ndarray) -> _Channels:
        return _Channels(self.amplitudes[rows], self.cross[rows], self.weights[rows])

    def respond(self, b: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """f and w of amplitudes b [n, K]."""
        disturbed = noise + (self.cross @ np.square(b)[..., None])[..., 0]
        received = self.amplitudes * b
        total = disturbed + np.square(received)
        return received / total, total / disturbed

    def step(self, f: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The next b [n, K]."""
        wanted = self.weights * w * f * self.amplitudes
        costs = self.weights * w * np.square(f)
        slope = (costs[:, None] @ self.cross)[:, 0] + costs * np.square(self.amplitudes)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(wanted > 0, np.minimum(wanted / slope, 1.0), 0.0)

    def value(self, w: np.ndarray) -> np.ndarray:
        """[n]"""
        return (self.weights * np.log2(w)).sum(-1)


def _solve(
    gains: np.ndarray,
    presence: np.ndarray | None,
    weights: np.ndarray | None,
    start: np.ndarray | None,
    noise: float,
    num_iterations: int,
    tolerance: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Powers [n, K] and their weighted sums of rates [n]."""
    gains = np.asarray(gains, dtype=np.float64)
    check_gains("gains", gains, 3)
    check_number("noise", noise)
    check_count("num_iterations", num_iterations, zero=True)
    check_number("tolerance", tolerance, optional=True, zero=True)
    shape = gains.shape[:2]
    alpha = per_link("weights", weights, shape)
    b = np.sqrt(per_link("start", start, shape, 1.0))
    if presence is not None:
        there = per_link("presence", presence, shape, 1.0) > 0
        gains = gains * (there[:, :, None] & there[:, None])
        b = b * there
    values = np.empty(len(gains))
    block = max(1, BLOCK_BYTES // (8 * gains.shape[1] ** 2))
    for first in range(0, len(gains), block):
        rows = slice(first, first + block)
        b[rows], values[rows] = _iterate(
            _Channels.of(gains[rows], alpha[rows]), b[rows], noise, num_iterations, tolerance
        )
    return np.square(b), values


def _iterate(
    channels: _Channels, b: np.ndarray, noise: float, num_iterations: int, tolerance: float | None
) -> tuple[np.ndarray, np.ndarray]:
    f, w = channels.respond(b, noise)
    if tolerance is None:
        for _ in range(num_iterations):
            b = channels.step(f, w)
            f, w = channels.respond(b, noise)
        return b, channels.value(w)
    ended, values = b.copy(), channels.value(w)
    going = np.arange(len(b))
    for _ in range(num_iterations):
        b = channels.step(f, w)
        f, w = channels.respond(b, noise)
        value = channels.value(w)
        grows = value - values[going] > tolerance
        ended[going], values[going] = b, value
        if not grows.all():
            going, channels, f, w = going[grows], channels.of_rows(grows), f[grows], w[grows]
        if not len(going):
            break
    return ended, values
