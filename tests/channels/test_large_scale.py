"""Line of sight, shadowing and several base stations through a channel. One mean per key; tolerances in standard errors."""

import warnings

import numpy as np
import pytest

from channels.channel import Channel
from channels.mobility import Positions, Static, Trace
from channels.path_loss import FreeSpace, LogDistance, UmiStreetCanyon
from channels.path_loss.tr36843_d2d import DeviceToDevice, d2d_los_probability
from channels.path_loss.tr37885_v2v import VehicleToVehicle, v2v_los_loss_db
from channels.path_loss.tr38901_inf import IndoorFactory
from channels.path_loss.tr38901_inh import IndoorOffice
from channels.path_loss.tr38901_rma import RuralMacro
from channels.path_loss.tr38901_uma import UrbanMacro, uma_los_loss_db
from channels.path_loss.tr38901_umi import umi_los_probability
from channels.shadowing import UMI_SHADOWING, Shadowing
from channels.sites import Sites

KEYS, PLACES = 150, 20
DEVICES = np.arange(PLACES)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _channel(places, path_loss, key=1, shadowing=None, stations=None, carrier_hz=2e9, **kwargs):
    paths = [place if hasattr(place, "leg_at") else Static(place) for place in places]
    n = len(paths)
    return Channel(
        Positions(paths), carrier_hz, path_loss, shadowing, None, [0.0] * n, [1] * n, key, stations, **kwargs
    )


def _around(radius_m, height_m=1.5, num=PLACES):
    """Places on a circle around the origin."""
    angles = 2 * np.pi * np.arange(num) / num
    return [(radius_m * np.cos(a), radius_m * np.sin(a), height_m) for a in angles]


def _standard_errors(per_key, expected):
    per_key = np.asarray(per_key)
    return abs(per_key.mean() - expected) / (per_key.std(ddof=1) / np.sqrt(per_key.size))


# -- pairs of devices -------------------------------------------------------------------------------------------------

PAIR = [(0.0, 0.0, 1.5), (60.0, 0.0, 1.5), (60.0, 80.0, 1.5)]  # 60, 80 and 100 m apart


@pytest.mark.parametrize(("a", "b", "distance_m"), [(0, 1, 60.0), (0, 2, 100.0)])
def test_pairs_have_line_of_sight_as_often_as_the_model_says(a, b, distance_m):
    """Twenty pairs of one channel lie 20 correlation distances apart; the two states differ by more than 10 dB."""
    places = [(x + 300.0 * i, y, z) for i in range(PLACES) for x, y, z in PAIR]
    ends = 3 * DEVICES + a, 3 * DEVICES + b, 0.0
    seen = _channel(places, DeviceToDevice(los="always")).mean_gain_db(*ends)
    shares = [np.mean(_channel(places, DeviceToDevice(), key).mean_gain_db(*ends) > seen - 1) for key in range(KEYS)]
    assert _standard_errors(shares, float(d2d_los_probability(distance_m))) < 4.5


def test_pairs_are_symmetric_and_do_not_depend_on_who_else_is_asked_for():
    channel = _channel(PAIR, DeviceToDevice(), 3, DeviceToDevice.standard_shadowing)
    there, back = channel.mean_gain_db([0, 0, 1], [1, 2, 2], 0.0), channel.mean_gain_db([1, 2, 2], [0, 0, 1], 0.0)
    np.testing.assert_array_equal(there, back)
    other = _channel(PAIR, DeviceToDevice(), 3, DeviceToDevice.standard_shadowing)
    np.testing.assert_array_equal(there[2], other.mean_gain_db(1, 2, 0.0))


def test_pairs_have_the_shadowing_of_the_report():
    places = [(x + 300.0 * i, y, z) for i in range(PLACES) for x, y, z in PAIR]
    for los in ("always", "never"):
        model, ends = DeviceToDevice(los=los), (3 * DEVICES, 3 * DEVICES + 1, 0.0)
        quiet = _channel(places, model).mean_gain_db(*ends)
        gains = [_channel(places, model, k, model.standard_shadowing).mean_gain_db(*ends) for k in range(KEYS // 2)]
        assert _standard_errors(np.square(gains - quiet).mean(axis=1), 49.0) < 4.5


def test_line_of_sight_of_a_pair_lasts_over_the_correlation_distance():
    """A walk of 200 m past the other end: the state changes now and then, not at every step of half a meter."""
    walk = Trace([0.0, 200.0], [(40.0, 0.0, 1.5), (40.0, 200.0, 1.5)])
    gains = _channel([(0.0, 100.0, 1.5), walk], DeviceToDevice(), 5).mean_gain_db(0, 1, np.arange(0.0, 200.0, 0.5))
    changes = np.count_nonzero(np.abs(np.diff(gains)) > 3)
    assert 1 <= changes <= 60


def test_blocking_vehicles_add_their_mean():
    """A blocker taller than both: max(0, N(9, 4.5)), mean 9 Phi(2) + 4.5 phi(2) = 9.0382 dB; a lower one adds nothing."""
    lower, taller = VehicleToVehicle(los="never", blocker_height_m=1.0), VehicleToVehicle(los="never")
    clear = v2v_los_loss_db(60.0, 2e9, "urban")
    assert _channel(PAIR, lower).mean_gain_db(0, 1, 0.0) == pytest.approx(-clear)
    places = [(x + 300.0 * i, y, z) for i in range(PLACES) for x, y, z in PAIR[:2]]
    ends = 2 * DEVICES, 2 * DEVICES + 1, 0.0
    extra = np.array([-clear - _channel(places, taller, key).mean_gain_db(*ends) for key in range(KEYS)])
    assert extra.min() >= -1e-9
    assert _standard_errors(extra.mean(axis=1), 9.0382) < 4.5


# -- one base station -------------------------------------------------------------------------------------------------

CELL = [*_around(600.0), (0.0, 0.0, 10.0)]


@pytest.mark.parametrize(
    ("model", "los", "sigma_db"),
    [
        (UrbanMacro, "always", 4.0),
        (UrbanMacro, "never", 6.0),
        (UmiStreetCanyon, "always", 4.0),
        (UmiStreetCanyon, "never", 7.82),
        (RuralMacro, "always", 4.0),
        (RuralMacro, "never", 8.0),
        (IndoorOffice, "never", 8.03),
        (IndoorFactory, "always", 4.3),
        (IndoorFactory, "never", 5.7),
    ],
)
def test_standard_shadowing_has_the_sigma_of_the_table(model, los, sigma_db):
    """TR 38.901 table 7.4.1-1, at 600 m: before the breakpoint of RMa at 628 m."""
    ends = DEVICES, PLACES, 0.0
    law = model(los=los).standard_shadowing
    quiet = _channel(CELL, model(los=los), stations=PLACES).mean_gain_db(*ends)
    gains = [_channel(CELL, model(los=los), key, law, PLACES).mean_gain_db(*ends) for key in range(KEYS)]
    squares = np.square(gains - quiet).mean(axis=1)
    assert _standard_errors(squares, sigma_db**2) < 4.5
    assert squares.std() < 0.75 * sigma_db**2  # the error is at most 6 % of the variance, 3 % of sigma


def test_rural_shadowing_grows_beyond_the_breakpoint():
    """d_BP = 2 pi * 10 * 1.5 * 2e9 / 3e8 = 628 m: 4 dB before, 6 dB after, in one field."""
    places = [(627.0, 0.0, 1.5), (629.0, 0.0, 1.5), (0.0, 0.0, 10.0)]
    deviations = []
    for key in range(KEYS):
        model = RuralMacro(los="always")
        loud = _channel(places, model, key, model.standard_shadowing, 2).mean_gain_db([0, 1], 2, 0.0)
        deviations.append(loud - _channel(places, model, key, None, 2).mean_gain_db([0, 1], 2, 0.0))
    near, far = np.array(deviations).T
    assert np.corrcoef(near, far)[0, 1] > 0.9  # exp(-2/37) = 0.947
    assert _standard_errors(near**2, 16) < 4.5
    assert _standard_errors(far**2, 36) < 4.5


def test_standard_shadowing_of_umi_is_the_one_by_that_name():
    standard = _channel(CELL, UmiStreetCanyon(), 9, UmiStreetCanyon.standard_shadowing, PLACES)
    named = _channel(CELL, UmiStreetCanyon(), 9, UMI_SHADOWING, PLACES)
    ends = DEVICES, PLACES, 0.0
    np.testing.assert_array_equal(standard.mean_gain_db(*ends), named.mean_gain_db(*ends))


def test_tall_users_of_uma_draw_their_environment_height_once():
    """At 300 m and 22.5 m height a link has h_E = 21 m with probability C/(1 + C)/4. Its breakpoint, 4 * 4 * 1.5 * 2e9 / 3e8
    = 160 m, is then passed; that of h_E = 18 m, 840 m, and all others are not. A link keeps its draw."""
    places = [*_around(300.0, height_m=22.5), (0.0, 0.0, 25.0)]
    usual = float(uma_los_loss_db(300.0, 25.0, 22.5, 2e9))
    c = 0.95**1.5 * 1.25 * 3**3 * np.exp(-2.0)
    shares = []
    for key in range(KEYS):
        gains = _channel(places, UrbanMacro(los="always"), key, stations=PLACES).mean_gain_db(DEVICES, PLACES, 0.0)
        shares.append(np.mean(-gains > usual + 1))
    assert _standard_errors(shares, c / (1 + c) / 4) < 4.5
    channel = _channel(places, UrbanMacro(los="always"), 1, stations=PLACES)
    there, back = channel.mean_gain_db(DEVICES, PLACES, 0.0), channel.mean_gain_db(PLACES, DEVICES, 99.0)
    np.testing.assert_array_equal(there, back)


# -- several base stations --------------------------------------------------------------------------------------------

ROUND = [*_around(250.0), (60.0, 0.0, 10.0), (-60.0, 0.0, 10.0), (60.0, 0.0, 10.0)]
STATIONS = [PLACES, PLACES + 1, PLACES + 2]
SITES = [(0.0, 0.0, 1.5), (9.0, 7.0, 1.5), (300.0, 0.0, 10.0), (-300.0, 0.0, 10.0), (300.0, 0.0, 10.0)]


def test_one_station_in_a_list_is_that_station():
    walk = Trace([0.0, 100.0], [(10.0, 0.0, 1.5), (150.0, 40.0, 1.5)])
    arguments = ([walk, (50.0, 20.0, 1.5), (0.0, 0.0, 10.0)], UmiStreetCanyon(), 3, UMI_SHADOWING)
    t_s = np.linspace(0, 100, 37)
    alone, listed = _channel(*arguments, 2), _channel(*arguments, [2])
    np.testing.assert_array_equal(alone.mean_gain_db([0, 1], 2, t_s), listed.mean_gain_db([0, 1], 2, t_s))


def test_shadowing_is_half_correlated_between_sites_and_the_same_within_one():
    """TR 36.942: 0.5 between sites, 1 among the stations of a site."""
    ends = DEVICES[:, None], STATIONS, 0.0
    quiet = _channel(ROUND, LogDistance(3.0), stations=STATIONS).mean_gain_db(*ends)
    products = []
    for key in range(KEYS):
        gains = _channel(ROUND, LogDistance(3.0), key, Shadowing(8.0, 20.0), STATIONS).mean_gain_db(*ends)
        first, second, third = (gains - quiet).T / 8.0
        np.testing.assert_allclose(first, third, atol=1e-12)
        products.append([np.mean(first * first), np.mean(second * second), np.mean(first * second)])
    for product, expected in zip(np.array(products).T, (1.0, 1.0, 0.5), strict=True):
        assert _standard_errors(product, expected) < 4.5
        assert product.std() / np.sqrt(KEYS) < 0.05


def test_shadowing_is_half_correlated_across_the_edge_of_a_wrapped_layout():
    """Each device at the eastern rim sees one site directly and one as a copy from the other side; what is common to both sites
    belongs to the place where the device is, not to where a copy sees it."""
    layout = Sites(7, 1000.0, wraparound=True)
    places = [(1300.0, 60.0 * i - 600.0, 1.5) for i in range(PLACES)]
    stations = list(range(PLACES, PLACES + 7))
    everything = [*places, *((x, y, 10.0) for x, y in layout.stations_m.tolist())]
    direct = np.array([(x, y) for x, y, _ in places])[:, None] - layout.stations_m
    wrapped = np.abs(layout.shortest(direct) - direct).max(axis=-1) > 1.0  # [device, station]
    one, other = PLACES + wrapped.argmin(axis=1), PLACES + wrapped.argmax(axis=1)
    ends = DEVICES[:, None], np.stack((one, other), axis=1), 0.0
    quiet = _channel(everything, FreeSpace(), stations=stations, layout=layout).mean_gain_db(*ends)
    products = []
    for key in range(KEYS):
        channel = _channel(everything, FreeSpace(), key, Shadowing(8.0, 20.0), stations, layout=layout)
        a, b = (channel.mean_gain_db(*ends) - quiet).T / 8.0
        products.append(np.mean(a * b))
    assert wrapped.any(axis=1).all()
    assert _standard_errors(products, 0.5) < 4.5
    assert np.std(products) / np.sqrt(KEYS) < 0.05


def test_line_of_sight_is_drawn_for_each_site_apart():
    """Two sites, 60 m to either side of one place: both are seen with the square of P(LOS), 0.43^2 = 0.186; one field for both
    would make it 0.43."""
    places = [(1000.0 * i, y, h) for i in range(10) for y, h in ((0.0, 1.5), (60.0, 10.0), (-60.0, 10.0))]
    devices = 3 * np.arange(10)
    stations = sorted([*(devices + 1).tolist(), *(devices + 2).tolist()])
    ends = devices[:, None], np.stack((devices + 1, devices + 2), axis=1), 0.0
    best = _channel(places, UmiStreetCanyon(los="always"), stations=stations).mean_gain_db(*ends)
    both = []
    for key in range(KEYS // 2):
        seen = _channel(places, UmiStreetCanyon(), key, stations=stations).mean_gain_db(*ends) > best - 1
        both.append(seen.all(axis=1).mean())
    assert _standard_errors(both, float(umi_los_probability(60.0)) ** 2) < 4.5


def test_links_of_stations_are_functions_of_the_link_alone():
    """One at a time or together, moving or not, by the kept columns or without them."""
    walk = Trace([0.0, 100.0], [(10.0, 0.0, 1.5), (150.0, 40.0, 1.5)])
    places, law = [walk, *SITES[1:]], UmiStreetCanyon.standard_shadowing
    t_s = np.linspace(0, 100, 23)
    together = _channel(places, UmiStreetCanyon(), 8, law, [2, 3, 4]).mean_gain_db([0, 1, 0, 1], [2, 2, 3, 4], t_s)
    channel = _channel(places, UmiStreetCanyon(), 8, law, [2, 3, 4])
    for row, (device, station) in enumerate([(0, 2), (1, 2), (0, 3), (1, 4)]):
        single = [float(channel.mean_gain_db(station, device, float(t))) for t in t_s]
        np.testing.assert_array_equal(single, together[row])


def test_what_has_no_model_is_refused():
    with pytest.raises(ValueError, match="both base stations"):
        _channel(SITES, UmiStreetCanyon(), stations=[2, 3]).mean_gain_db(2, 3, 0.0)
    with pytest.raises(ValueError, match="tr38901_uma holds between a base station and a device only; nodes 0 and 1"):
        _channel(SITES, UrbanMacro(), stations=[2, 3]).mean_gain_db(0, 1, 0.0)
    with pytest.raises(ValueError, match=r"base_station = \[2, 2\]"):
        _channel(SITES, UmiStreetCanyon(), stations=[2, 2])
    with pytest.raises(ValueError, match="an index from 0 to 4"):
        _channel(SITES, UmiStreetCanyon(), stations=[2, 5])
    assert _channel(SITES, FreeSpace(), stations=[2, 3]).provenance()["base_stations"] == "2"
