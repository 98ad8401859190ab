"""Block fading: the law of the power, antennas, directions, blocks. All pairs of 150 nodes at 0 dB; errors in standard errors."""

import numpy as np
import pytest
from scipy import special, stats

from channels.block_fading import BlockFading
from channels.branches import Ends
from channels.fading import Rayleigh, Rician

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
        Rician(**arguments)
