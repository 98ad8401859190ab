"""The rate map and the noise floor."""

import numpy as np
import pytest

from channels.link_adaptation import RateMap
from channels.noise import noise_w_per_hz
from channels.units import db_to_linear, dbm_to_w, linear_to_db, w_to_dbm


def test_rate_is_shannon_with_gap_overhead_and_cap():
    """Gap 0 dB, overhead 1/4: log2(1 + 3) * 0.75 = 1.5; at 60 dB the cap: 7.4 * 0.75 = 5.55. Gap 10 dB: log2(1 + 0.3)."""
    plain = RateMap(snr_gap_db=0.0, overhead=0.25)
    np.testing.assert_allclose(plain.efficiency(np.array([3.0, 1e6])), [1.5, 5.55])
    assert RateMap(snr_gap_db=10.0, overhead=0.0).efficiency(3.0) == pytest.approx(np.log2(1.3))


def test_rate_is_zero_below_the_floor_only():
    rates = RateMap(min_snr_db=-10.0)
    assert rates.efficiency(np.array([0.0, 0.0999, 0.1001])).tolist()[:2] == [0.0, 0.0]
    assert rates.efficiency(0.1001) > 0


def test_rate_reaches_its_cap_at_the_saturation_snr():
    rates = RateMap()
    below, above = rates.efficiency(rates.saturation_snr * np.array([0.99, 1.01]))
    assert below < above == 7.4 * 0.75


def test_noise_density():
    """-174 dBm/Hz + 7 dB = -167 dBm/Hz = 10^-16.7 mW/Hz = 1.99526e-20 W/Hz."""
    assert noise_w_per_hz(7.0) == pytest.approx(1.99526e-20, rel=1e-5)


def test_units_are_inverse_of_each_other():
    values = np.array([-170.0, 0.0, 23.0])
    np.testing.assert_allclose(w_to_dbm(dbm_to_w(values)), values, atol=1e-12)
    np.testing.assert_allclose(linear_to_db(db_to_linear(values)), values, atol=1e-12)
    assert dbm_to_w(30.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "arguments", [{"snr_gap_db": -1.0}, {"max_efficiency_bps_hz": 0.0}, {"min_snr_db": float("nan")}, {"overhead": 1.0}]
)
def test_bad_parameters_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RateMap(**arguments)
