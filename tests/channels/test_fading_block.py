"""Block fading: the law of the power, antennas, directions, blocks. All pairs of 150 nodes at 0 dB; errors in standard errors."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from channels.block_fading import BlockFading
from channels.branches import Ends
from channels.fading import Rayleigh, Rician
from channels.nakagami import Nakagami, transform

NUM_NODES, NUM_BLOCKS = 150, 20
THRESHOLDS = np.array([0.01, 0.1, 0.5, 1.0, 3.0])


def _ends(near, far, direction=0, receiver_is_near=False, rx_antennas=1):
    return Ends(
        near,
        far,
        near,
        far,
        np.full(near.size, direction),
        np.full(near.size, receiver_is_near),
        np.full(near.size, rx_antennas),
    )


@pytest.fixture
def power(tools):
    """Powers of all pairs over consecutive blocks, [pairs, blocks]."""

    def draw(config, key=17, **kwargs):
        fading = BlockFading(config, key)
        return fading.power_of_blocks(
            fading.prepare(_ends(*tools.all_pairs(NUM_NODES), **kwargs)), np.arange(NUM_BLOCKS)
        )

    return draw


def _check_outage(power, expected):
    """Every value is an independent draw: the standard error of a probability p is sqrt(p (1 - p)/n), n = 223,500."""
    found = np.array([(power < x).mean() for x in THRESHOLDS])
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / power.size)).all()


def test_rayleigh_outage_matches_exponential_cdf(power):
    _check_outage(power(Rayleigh()), 1 - np.exp(-THRESHOLDS))


@pytest.mark.parametrize("k_db", [0.0, 9.0])
def test_rician_outage_matches_noncentral_chi_square(power, k_db):
    """2 (K + 1) g is noncentral chi-square with 2 degrees of freedom and noncentrality 2 K."""
    k = 10 ** (k_db / 10)
    expected = stats.ncx2.cdf(2 * (k + 1) * THRESHOLDS, 2, 2 * k)
    _check_outage(power(Rician(k_db=k_db)), np.clip(expected, 1e-5, None))


@pytest.mark.parametrize("antennas", [2, 4])
def test_maximum_ratio_outage_matches_gamma(power, antennas):
    """The sum of L unit exponentials is Gamma(L, 1)."""
    _check_outage(power(Rayleigh(), rx_antennas=antennas), special.gammainc(antennas, THRESHOLDS))


def test_blocks_antennas_and_directions_are_independent(power):
    """Correlations of n independent pairs of draws have standard error 1/sqrt(n)."""
    one = power(Rayleigh())
    second_antenna = power(Rayleigh(), rx_antennas=2) - one
    other_direction = power(Rayleigh(), direction=1)
    for a, b in (
        (one[:, 1:], one[:, :-1]),
        (one[1:], one[:-1]),
        (one, second_antenna),
        (one, other_direction),
        (one, power(Rayleigh(), key=18)),
    ):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4.5 / np.sqrt(a.size)


def test_receive_antennas_belong_to_the_receiving_end(power):
    """Of a reciprocal pair with two antennas each, both directions share the path of the first antennas only."""
    to_far = power(Rayleigh(), rx_antennas=2)
    to_near = power(Rayleigh(), rx_antennas=2, receiver_is_near=True)
    shared = power(Rayleigh())
    assert abs(np.corrcoef((to_far - shared).ravel(), (to_near - shared).ravel())[0, 1]) < 4.5 / np.sqrt(shared.size)


def test_unequal_antenna_counts_give_each_link_its_own_sum(tools):
    near, far = tools.all_pairs(5)
    counts = np.array([1, 2, 3] * 4)[: near.size]
    fading = BlockFading(Rayleigh(), 3)
    blocks = np.arange(6)

    def powers(rx_antennas):
        ends = Ends(near, far, near, far, 0 * near, np.zeros(near.size, bool), rx_antennas)
        return fading.power_of_blocks(fading.prepare(ends), blocks)

    mixed = powers(counts)
    for antennas in (1, 2, 3):
        same = powers(np.full(near.size, antennas))
        np.testing.assert_array_equal(mixed[counts == antennas], same[counts == antennas])


def test_registry_builds_every_kind():
    assert Rician(k_db=3.0, correlation="doppler").k == pytest.approx(10**0.3)
    assert Rayleigh().k == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"correlation": "jakes"},
        {"block_s": 0.0},
        {"environment_speed_mps": -1.0},
        {"num_sinusoids": 4},
        {"k_db": np.inf},
    ],
)
def test_bad_parameters_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Rician(**({"k_db": 3.0} | arguments))


@pytest.mark.parametrize("m", [0.49, np.nan, np.inf, -1.0])
def test_nakagami_below_one_half_is_refused(m):
    with pytest.raises(ValueError, match="m = "):
        Nakagami(m=m)


LAWS = {
    "rayleigh": Rayleigh(),
    "rician": Rician(k_db=6.0),
    "nakagami 0.5": Nakagami(m=0.5),
    "nakagami 3": Nakagami(m=3.0),
}


@pytest.mark.parametrize("antennas", [1, 3])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_outage_of_every_law_is_what_it_says(power, law, antennas):
    _check_outage(power(law, rx_antennas=antennas), np.clip(1 - law.exceeds(THRESHOLDS, antennas), 1e-5, None))


@pytest.mark.parametrize("mean_snr_db", [-5.0, 10.0])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_ergodic_capacity_of_every_law(power, law, mean_snr_db):
    """E log2(1 + a g) = integral_0^inf P(g > (2^r - 1)/a) dr, by quadrature; for Rayleigh also exp(1/a) E1(1/a)/ln 2.
    223,500 independent draws: the standard error is below 0.3 % of the capacity."""
    a = 10 ** (mean_snr_db / 10)
    capacity = integrate.quad(lambda r: law.exceeds((2**r - 1) / a), 0, np.log2(1 + 60 * a))[0]
    if law.k == 0 and not isinstance(law, Nakagami):
        assert capacity == pytest.approx(np.exp(1 / a) * special.exp1(1 / a) / np.log(2), rel=1e-9)
    rates = np.log2(1 + a * power(law))
    error = rates.std() / np.sqrt(rates.size)
    assert error < 0.003 * capacity
    assert abs(rates.mean() - capacity) < 4.5 * error


@pytest.mark.parametrize("m", [0.5, 0.8, 3.0, 20.0])
def test_nakagami_table_is_the_inverse_of_the_law(m):
    """The table of the transform against bisection-free inverses of SciPy, and through the law itself: F_m(T(x)) = 1 - exp(-x)."""
    x = np.exp(np.linspace(-20.0, 3.5, 1001))
    found = Nakagami(m=m).from_exponential(x)
    np.testing.assert_allclose(found, transform(x, m), rtol=1e-5)
    np.testing.assert_allclose(special.gammainc(m, m * found), -np.expm1(-x), rtol=2e-4 if m > 5 else 3e-5)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize(("m", "share"), [(0.5, 0.977), (1.0, 1.0), (2.0, 0.985), (10.0, 0.914), (100.0, 0.850)])
def test_how_much_of_nakagami_follows_the_rayleigh_power(m, share):
    """m c_1^2 = m cov(T(X), X)^2, by quadrature: the part of the variance with the autocorrelation r^2 of Doppler fading."""
    x, weights = special.roots_laguerre(150)
    first = weights @ (transform(x, m) * (1 - x))
    assert m * first**2 == pytest.approx(share, abs=2e-3)


def test_nakagami_of_one_is_rayleigh(power):
    np.testing.assert_allclose(power(Nakagami(m=1.0)), power(Rayleigh()), rtol=1e-5)
