"""Doppler fading against Clarke's theory, over ensembles of independent links; tolerances in standard errors.

What a sum of N = 16 sinusoids cannot meet exactly is bounded by 1/(2N) and stated where it is used.
"""

import numpy as np
import pytest
from scipy import special, stats

from channels.branches import Ends
from channels.doppler_fading import DopplerFading
from channels.fading import Rayleigh, Rician
from channels.mobility import Area, Positions, RandomWaypoint, Static, Trace
from channels.nakagami import Nakagami, transform

WAVELENGTH_M = 0.1
N = 16


def _ends(near, far):
    zeros = np.zeros(near.size, dtype=np.int64)
    return Ends(near, far, near, far, zeros, zeros.astype(bool), zeros + 1)


def _fading(positions, config, key=1):
    speed_sum = float(np.sort(positions.max_speeds_mps)[-2:].sum())
    return DopplerFading(config, key, WAVELENGTH_M, speed_sum, positions)


def _complex_gain(positions, near, far, t_s, key=1, **config):
    config = {"environment_speed_mps": 0.0} | config
    rician = "k_db" in config
    fading = _fading(positions, (Rician if rician else Rayleigh)("doppler", **config), key)
    ends = _ends(near, far)
    return fading.complex_gain(ends, fading.prepare(ends), np.asarray(t_s))


def _standard_errors(samples, expected):
    """How far the mean of independent samples (first axis) is from theory, in standard errors, [...]."""
    return np.abs(samples.mean(axis=0) - expected) / (samples.std(axis=0, ddof=1) / np.sqrt(samples.shape[0]))


def _j0(distance_m):
    return special.j0(2 * np.pi * distance_m / WAVELENGTH_M)


LAGS_M = WAVELENGTH_M * np.array([0.05, 0.1, 0.25, 0.383, 0.6, 1.1, 3.3])  # travelled; 0.383 is J0's first zero


@pytest.mark.parametrize(
    ("near_speed", "far_speed", "environment", "both", "expected"),
    [
        (2.0, 0.0, 0.0, True, lambda d: _j0(d)),  # one end moves by d
        (0.0, 2.0, 0.0, True, lambda d: _j0(d)),
        (2.0, 2.0, 0.0, True, lambda d: _j0(d) ** 2),
        (2.0, 1.0, 0.0, True, lambda d: _j0(d) * _j0(d / 2)),
        (0.0, 0.0, 2.0, True, lambda d: _j0(d)),  # static link, moving surroundings
        (1.0, 0.0, 1.0, True, lambda d: _j0(d)),  # the paths of the node and of its surroundings add
        (1.0, 1.0, 0.0, False, lambda d: _j0(d)),  # one ring: both ends' paths add
    ],
)
def test_autocorrelation_is_j0_of_the_distance_travelled(tools, near_speed, far_speed, environment, both, expected):
    """E[h(t + tau) h*(t)] over 200 x 200 independent links, at seven lags from each of two times."""
    side = 200
    positions = Positions(
        [tools.straight(near_speed) if near_speed else Static((0, 0, 0))] * side
        + [tools.straight(far_speed) if far_speed else Static((0, 0, 0))] * side
    )
    near, far = (a.ravel() for a in np.meshgrid(np.arange(side), side + np.arange(side)))
    for start_s in (0.0, 7.0):
        t_s = start_s + np.concatenate(([0.0], LAGS_M / 2.0))
        h = _complex_gain(positions, near, far, t_s, environment_speed_mps=environment, both_ends_move=both)
        products = h[:, 1:] * h[:, :1].conj()
        assert (_standard_errors(products.real, expected(LAGS_M)) < 4.5).all()
        assert (_standard_errors(products.imag, 0.0) < 4.5).all()


@pytest.fixture(scope="module")
def wanderers():
    """60 nodes on random waypoints with many turns, pauses and speeds from 0.5 to 5 m/s, then 60 that stand still."""
    model = RandomWaypoint(Area("disc", 3.0), (0.5, 5.0), (0.0, 1.0))
    paths = [model.path(np.random.default_rng([3, i])) for i in range(60)]
    return Positions([*paths, *[Static((0, 0, 0))] * 60])


@pytest.mark.parametrize("both_ends", [False, True])
def test_autocorrelation_follows_the_path_when_the_speed_varies(wanderers, both_ends):
    """h(t) h*(s) - J0(D1) J0(D2) has mean 0 over links, D the path between s and t, in five ranges of D; the product of
    present speed and time, which a phase of 2 pi f_D t would go by, is refuted by the same data."""
    near, far = (
        np.triu_indices(60, 1) if both_ends else (a.ravel() for a in np.meshgrid(np.arange(60), 60 + np.arange(60)))
    )
    t_s = np.concatenate(([5.0], 5.0 + np.linspace(0.005, 0.5, 60)))
    products = []
    for key in range(6):
        h = _complex_gain(wanderers, near, far, t_s, key=key)
        products.append((h[:, 1:] * h[:, :1].conj()).real)
    products = np.array(products)  # [keys, links, times]
    d = wanderers.travelled_m(np.arange(120), t_s)
    d = d[:, 1:] - d[:, :1]  # [nodes, times]
    speed = np.diff(wanderers.travelled_m(np.arange(120), np.array([5.0, 5.0 + 1e-6])), axis=1) / 1e-6
    naive = speed * (t_s[1:] - t_s[0])
    total = d[near] + d[far]
    theory, by_speed = _j0(d[near]) * _j0(d[far]), _j0(naive[near]) * _j0(naive[far])
    for low, high in zip((0.0, 0.02, 0.05, 0.1, 0.2), (0.02, 0.05, 0.1, 0.2, 2.0)):
        inside = (total >= low) & (total < high)
        assert inside.any()
        assert _standard_errors(((products - theory) * inside).sum(axis=2).ravel(), 0.0) < 4.5
    where_they_differ = theory - by_speed
    assert _standard_errors(((products - theory) * where_they_differ).sum(axis=2).ravel(), 0.0) < 4.5
    assert _standard_errors(((products - by_speed) * where_they_differ).sum(axis=2).ravel(), 0.0) > 10


def test_power_autocorrelation_is_j0_squared(tools):
    """cov(|h|^2, |h'|^2) = J0^2 - sum_n |E_n|^2 / N^2 exactly, E_n the mean of exp(j 2 pi D/lambda cos a) over the n-th of N
    equal sectors of angle; the second term is Clarke's missing 1/N at most."""
    side = 250
    positions = Positions([tools.straight(1.0)] * side + [Static((0, 0, 0))] * side)
    near, far = (a.ravel() for a in np.meshgrid(np.arange(side), side + np.arange(side)))
    h = _complex_gain(positions, near, far, np.concatenate(([2.0], 2.0 + LAGS_M)))
    power = np.abs(h) ** 2
    products = (power[:, 1:] - 1) * (power[:, :1] - 1)
    # a_n = (2 pi n + theta)/N with theta uniform over (0, 2 pi): sector n of 2 pi/N
    angle = 2 * np.pi * (np.arange(N)[:, None] + (np.arange(400) + 0.5) / 400) / N
    sector = np.exp(2j * np.pi / WAVELENGTH_M * LAGS_M[:, None, None] * np.cos(angle)).mean(axis=2)
    expected = _j0(LAGS_M) ** 2 - (np.abs(sector) ** 2).sum(axis=1) / N**2
    assert (np.abs(expected - _j0(LAGS_M) ** 2) <= 1 / N).all()
    assert (_standard_errors(products, expected) < 4.5).all()


def test_rayleigh_outage_matches_exponential_cdf(tools):
    """F(x) = 1 - e^-x - x (1 - x/2) e^-x/(2N) + O(1/N^2) for N sinusoids: 80,000 links, error of one probability at most
    0.0018; the allowance for the last term is 1/N^2. From the plain exponential law it is at most 1/(2N) of x e^-x."""
    side = 400
    positions = Positions([Static((0, 0, 0))] * side)
    near, far = tools.all_pairs(side)
    power = np.abs(_complex_gain(positions, near, far, [3.0], environment_speed_mps=0.5)[:, 0]) ** 2
    x = np.array([0.01, 0.1, 0.5, 1.0, 3.0])
    found = np.array([(power < v).mean() for v in x])
    plain = 1 - np.exp(-x)
    corrected = plain - x * (1 - x / 2) * np.exp(-x) / (2 * N)
    error = np.sqrt(plain * (1 - plain) / power.size)
    assert (np.abs(found - corrected) < 4.5 * error + x * np.exp(-x) / N**2).all()
    assert (np.abs(found - plain) < 4.5 * error + x * np.exp(-x) / (2 * N)).all()


def test_rician_outage_matches_noncentral_chi_square(tools):
    """As for Rayleigh, with the diffuse part 1/(1 + K) of the power; K = 6 dB. Allowance 1/(2N) of the probability."""
    side = 400
    positions = Positions([tools.straight(1.5)] * side)
    near, far = tools.all_pairs(side)
    power = np.abs(_complex_gain(positions, near, far, [3.0], k_db=6.0)[:, 0]) ** 2
    k = 10**0.6
    x = np.array([0.1, 0.3, 1.0, 2.0])
    expected = stats.ncx2.cdf(2 * (k + 1) * x, 2, 2 * k)
    found = np.array([(power < v).mean() for v in x])
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / power.size) + expected / (2 * N)).all()
    assert abs(power.mean() - 1) < 4.5 * power.std() / np.sqrt(power.size)


def test_rician_direct_path_ignores_the_surroundings():
    """A static pair with K = 60 dB hardly fades, however fast its surroundings move."""
    positions = Positions([Static((0, 0, 0))] * 2)
    h = _complex_gain(
        positions, np.array([0]), np.array([1]), np.linspace(0, 10, 200), k_db=60.0, environment_speed_mps=3.0
    )
    np.testing.assert_allclose(np.abs(h), 1, atol=0.005)


@pytest.mark.parametrize("level", [0.3, 1.0, 1.5])
def test_level_crossings_and_fade_durations_match_theory(tools, level):
    """Downward crossings of rho times the r.m.s. amplitude: sqrt(2 pi) f_D rho exp(-rho^2) a second; mean fade
    (exp(rho^2) - 1)/(rho f_D sqrt(2 pi)). 435 links over 60/f_D, 100 samples a cycle. Allowance beside 4.5 standard errors:
    3 % (1/(2N) in the law of the amplitude)."""
    positions = Positions([tools.straight(1.0)] * 15 + [Static((0, 0, 0))] * 29)
    near, far = (a.ravel() for a in np.meshgrid(np.arange(15), 15 + np.arange(29)))
    doppler_hz = 1.0 / WAVELENGTH_M
    t_s = np.arange(6000) / (100 * doppler_hz)
    below = np.abs(_complex_gain(positions, near, far, t_s)) < level
    crossings = (~below[:, :-1] & below[:, 1:]).sum(axis=1) / t_s[-1]
    rate = np.sqrt(2 * np.pi) * doppler_hz * level * np.exp(-(level**2))
    error = crossings.std() / np.sqrt(crossings.size)
    assert abs(crossings.mean() - rate) < 4.5 * error + 0.03 * rate
    assert error < 0.03 * rate
    fade_s = below.mean() / crossings.mean()
    theory_s = (np.exp(level**2) - 1) / (level * doppler_hz * np.sqrt(2 * np.pi))
    assert abs(fade_s - theory_s) < (4.5 * error / rate + 0.03) * theory_s


@pytest.fixture(scope="module")
def crowd():
    """62,500 links of 250 nodes that walk at 1 m/s, each to one of 250 that stand still."""
    walker = Trace([0.0, 1e4], [(0.0, 0.0, 1.5), (1e4, 0.0, 1.5)])
    positions = Positions([walker] * 250 + [Static((0, 0, 0))] * 250)
    return positions, *(a.ravel() for a in np.meshgrid(np.arange(250), 250 + np.arange(250)))


def _power(crowd, config, t_s):
    positions, near, far = crowd
    fading, ends = _fading(positions, config), _ends(near, far)
    return fading.power(ends, fading.prepare(ends), np.asarray(t_s))


@pytest.mark.parametrize("m", [0.5, 4.0])
def test_nakagami_outage_under_doppler_matches_gamma(crowd, m):
    """As for Rayleigh: the transform carries the finite sum's x (1 - x/2) exp(-x)/(2N) over to the level T(x)."""
    config = Nakagami("doppler", m=m, environment_speed_mps=0.0)
    power = _power(crowd, config, [3.0])[:, 0]
    level = np.array([0.01, 0.1, 0.5, 1.0, 2.0])
    expected = special.gammainc(m, m * level)
    x = -np.log1p(-expected)
    corrected = expected - x * (1 - x / 2) * np.exp(-x) / (2 * N)
    found = np.array([(power < v).mean() for v in level])
    error = np.sqrt(np.clip(expected * (1 - expected), 1e-6, None) / power.size)
    assert (np.abs(found - corrected) < 4.5 * error + x * np.exp(-x) / N**2).all()


@pytest.mark.parametrize("m", [0.5, 3.0])
def test_nakagami_power_autocorrelation_is_the_expansion_of_its_transform(crowd, m):
    """sum_k c_k^2 J0^(2k), c_k by Gauss-Laguerre quadrature, with N = 256 sinusoids, so that 1/N is below the standard error
    of 62,500 links (0.4 % of the variance and more)."""
    config = Nakagami("doppler", m=m, environment_speed_mps=0.0, num_sinusoids=256)
    lags_m = LAGS_M[[0, 2, 4]]
    power = _power(crowd, config, np.concatenate(([2.0], 2.0 + lags_m)))
    products = (power[:, 1:] - 1) * (power[:, :1] - 1)
    x, w = special.roots_laguerre(150)
    c = [(w * transform(x, m) * special.eval_laguerre(k, x)).sum() for k in range(1, 25)]
    assert sum(c_k**2 for c_k in c) == pytest.approx(1 / m, rel=1e-2)  # the variance, at r = 1
    expected = sum(c_k**2 * _j0(lags_m) ** (2 * k) for k, c_k in enumerate(c, start=1))
    assert (_standard_errors(products, expected) < 4.5).all()
    assert (_standard_errors(products, _j0(lags_m) ** 2)[0] > 10).all()  # it is not Rayleigh's


def test_nothing_varies_without_movement():
    fading = _fading(Positions([Static((0, 0, 0))] * 2), Rayleigh("doppler", environment_speed_mps=0.0))
    assert fading.cell_s == np.inf
