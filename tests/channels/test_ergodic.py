"""Mean rates over a fading law against closed forms and an integral of their own."""

import numpy as np
import pytest
from scipy import integrate, special

from channels.ergodic import ErgodicRate, mean_efficiency
from channels.fading import Rayleigh, Rician
from channels.link_adaptation import RateMap
from channels.nakagami import Nakagami

SHANNON = RateMap(snr_gap_db=0.0, max_efficiency_bps_hz=100.0, min_snr_db=-60.0, overhead=0.0)
SNR_DB = np.array([-20.0, -3.3, 0.0, 7.7, 15.0, 30.0])
LAWS = {
    "rayleigh": Rayleigh(),
    "rician": Rician(k_db=9.0),
    "nakagami": Nakagami(m=0.5),
    "nakagami 20": Nakagami(m=20.0),
}


def test_rayleigh_capacity_is_that_of_the_exponential_integral():
    """exp(1/a) E1(1/a)/ln 2; 10 points within the stated 5e-5 bit/s/Hz, and within 1e-3 of the value."""
    a = 10 ** (SNR_DB / 10)
    capacity = special.exp1(1 / a) * np.exp(1 / a) / np.log(2)
    np.testing.assert_allclose(ErgodicRate(SHANNON, Rayleigh()).efficiency(a), capacity, atol=5e-5, rtol=1e-3)


@pytest.mark.parametrize("branches", [1, 4])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_mean_of_the_whole_rate_map(law, branches):
    """Against Simpson's rule over the rate on 20,001 points, floor, cap, gap and overhead included."""
    rate_map = RateMap()
    table = ErgodicRate(rate_map, law, branches)
    gap = 10 ** (rate_map.snr_gap_db / 10)
    lowest = np.log2(1 + rate_map.min_snr / gap)
    rates = np.linspace(lowest, rate_map.max_efficiency_bps_hz, 20_001)
    for snr in 10 ** (SNR_DB / 10):
        over = law.exceeds((2**rates - 1) * gap * branches / snr, branches)
        mean = lowest * law.exceeds(rate_map.min_snr * branches / snr, branches) + integrate.simpson(over, x=rates)
        assert table.efficiency(np.array([snr]))[0] == pytest.approx((1 - rate_map.overhead) * mean, abs=5e-5)


def test_mean_rates_lie_between_nothing_and_the_cap():
    table = ErgodicRate(RateMap(), Rayleigh())
    snr = np.concatenate(([0.0], 10 ** (np.linspace(-90, 200, 3001) / 10)))
    rate = table.efficiency(snr)
    assert rate[0] == 0.0
    assert (np.diff(rate) >= 0).all()
    assert rate[-1] == pytest.approx(0.75 * 7.4, abs=1e-6)
    assert (rate[1:] <= 0.75 * 7.4).all()
    assert not ((rate > 0) & (rate < 1e-6)).any()


def test_a_law_that_hardly_fades_has_the_rate_of_its_mean():
    """K = 40 dB: the standard deviation of the power is 1.4 %, which costs 1e-4 of a bit by Jensen's inequality."""
    snr_db = np.array([0.0, 10.0, 20.0])
    expected = SHANNON.efficiency(10 ** (snr_db / 10))
    np.testing.assert_allclose(mean_efficiency(snr_db, SHANNON, Rician(k_db=40.0)), expected, atol=4e-4)
