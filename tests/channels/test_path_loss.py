"""Path loss against numbers worked by hand from the formulas."""

import warnings

import numpy as np
import pytest

from channels.path_loss import (
    FreeSpace,
    LogDistance,
    UmiStreetCanyon,
    free_space_loss_db,
)
from channels.path_loss.tr38901_umi import umi_breakpoint_m, umi_los_loss_db, umi_los_probability, umi_nlos_loss_db


def test_free_space_is_32_45_db_at_one_meter_and_one_gigahertz():
    """20 log10(4 pi 1e9 / 299792458) = 20 log10(41.9169) = 32.4478 dB; 100 m and 3.5 GHz add 40 + 10.8814 dB."""
    assert free_space_loss_db(1.0, 1e9) == pytest.approx(32.4478, abs=1e-4)
    assert free_space_loss_db(100.0, 3.5e9) == pytest.approx(83.3291, abs=1e-4)


def test_free_space_does_not_gain_at_short_range():
    assert free_space_loss_db(0.0, 1e9) == free_space_loss_db(1.0, 1e9)


def test_log_distance_matches_published_reference_losses():
    """Free space at 1 m: 40.05 dB at 2.4 GHz, 46.68 dB at 5.15 GHz (the constants of the common Wi-Fi models); exponent 3
    adds 30 dB a decade."""
    assert LogDistance(3.0).least_loss_db(np.array(1.0), 2.4e9) == pytest.approx(40.05, abs=0.005)
    assert LogDistance(3.0).least_loss_db(np.array(10.0), 5.15e9) == pytest.approx(46.68 + 30, abs=0.005)
    assert LogDistance(3.76, 15.3).least_loss_db(np.array(1000.0), 2e9) == pytest.approx(128.1, abs=1e-9)


def test_log_distance_with_exponent_two_is_free_space():
    distance_m = np.geomspace(1, 1e4, 20)
    np.testing.assert_allclose(
        LogDistance(2.0).least_loss_db(distance_m, 3.5e9), FreeSpace().least_loss_db(distance_m, 3.5e9), atol=1e-9
    )


@pytest.mark.parametrize(
    ("ground_m", "los_db", "nlos_db"),
    [
        # f = 3.5 GHz, h_BS 10 m, h_UT 1.5 m: d'_BP = 4 * 9 * 0.5 * 3.5e9 / 3e8 = 210 m; 20 log10 3.5 = 10.8814
        # d2 = 50:  d3 = sqrt(2500 + 72.25) = 50.7174;  32.4 + 21 log10 d3 + 10.8814 = 79.0896
        #           22.4 + 35.3 log10 d3 + 21.3 log10 3.5 = 94.1807
        (50.0, 79.0896, 94.1807),
        (150.0, 88.9939, 110.8292),
        # d2 = 300 > 210: 32.4 + 40 log10 300.1204 + 10.8814 - 9.5 log10(210^2 + 72.25) = 98.2443
        (300.0, 98.2443, 121.4372),
    ],
)
def test_umi_losses_worked_by_hand(ground_m, los_db, nlos_db):
    assert umi_breakpoint_m(10.0, 1.5, 3.5e9) == pytest.approx(210.0)
    assert umi_los_loss_db(ground_m, 10.0, 1.5, 3.5e9) == pytest.approx(los_db, abs=1e-4)
    assert umi_nlos_loss_db(ground_m, 10.0, 1.5, 3.5e9) == pytest.approx(nlos_db, abs=1e-4)


def test_umi_line_of_sight_is_continuous_at_the_breakpoint():
    """At d2 = d'_BP: 40 log10 d3 - 9.5 log10(d3^2) = 21 log10 d3."""
    below, above = umi_los_loss_db(np.array([209.999999, 210.000001]), 10.0, 1.5, 3.5e9)
    assert above - below == pytest.approx(0, abs=1e-6)


def test_umi_without_line_of_sight_is_never_better_than_with_it():
    d = np.geomspace(1, 5000, 200)
    assert (umi_nlos_loss_db(d, 10.0, 1.5, 3.5e9) >= umi_los_loss_db(d, 10.0, 1.5, 3.5e9)).all()


def test_umi_los_probability_worked_by_hand():
    """d = 50: 18/50 + exp(-50/36)(1 - 18/50) = 0.36 + 0.24935 * 0.64 = 0.51959."""
    np.testing.assert_allclose(
        umi_los_probability(np.array([0.0, 18.0, 50.0, 150.0, 300.0])), [1, 1, 0.519585, 0.133643, 0.060226], atol=1e-6
    )


def _umi_loss(
    model: UmiStreetCanyon, ground_m: float, device_height_m: float = 1.5, carrier_hz: float = 3.5e9
) -> float:
    device, station = np.array([[ground_m, 0.0, device_height_m]]), np.array([[0.0, 0.0, 10.0]])
    return float(model.loss_db(device, station, carrier_hz, np.array([True]))[0])


def test_umi_outside_its_range_warns_once_per_object_and_computes():
    model = UmiStreetCanyon()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert _umi_loss(model, 50.0) == pytest.approx(79.0896, abs=1e-4)
        assert not caught
        for ground_m in (6000.0, 5.0, 7000.0):
            assert np.isfinite(_umi_loss(model, ground_m))
        assert [str(w.message) for w in caught] == [
            "tr38901_umi: ground distance 6000 m is outside the model's range (10 to 5000 m); computed all the same, said once"
        ]
        _umi_loss(UmiStreetCanyon(), 5.0)
        assert len(caught) == 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((5.0,), "ground distance 5 m"),
        ((50.0, 30.0), "device height 30 m"),
        ((50.0, 1.5, 2e11), "carrier 200 GHz"),
    ],
)
def test_umi_strict_raises_outside_its_range(arguments, match):
    with pytest.raises(ValueError, match=match):
        _umi_loss(UmiStreetCanyon(strict=True), *arguments)


def test_umi_refuses_an_antenna_below_the_environment_height():
    with pytest.raises(ValueError, match="above the environment height"):
        _umi_loss(UmiStreetCanyon(), 50.0, device_height_m=1.0)


@pytest.mark.parametrize("model", [FreeSpace(), LogDistance(3.0), UmiStreetCanyon()], ids=repr)
def test_least_loss_bounds_every_loss_and_increases(model):
    d = np.geomspace(2, 4000, 50)
    a = np.stack([d, 0 * d, 0 * d + 1.5], axis=-1)
    b = np.broadcast_to([0.0, 0.0, 10.0], a.shape)
    least = model.least_loss_db(np.hypot(d, 8.5), 3.5e9)
    assert (np.diff(least) > 0).all()
    for los in (True, False):
        assert (model.loss_db(a, b, 3.5e9, np.full(d.shape, los)) >= least - 1e-9).all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: FreeSpace(0.0),
        lambda: LogDistance(exponent=-1.0),
        lambda: LogDistance(3.0, reference_loss_db=float("nan")),
        lambda: UmiStreetCanyon(los="sometimes"),
    ],
)
def test_bad_parameters_are_refused(build):
    with pytest.raises(ValueError, match="needed"):
        build()
