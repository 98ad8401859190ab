"""The standards' path losses against numbers worked from their formulas by hand calculator, at the points given beside them."""

import warnings

import numpy as np
import pytest

from channels.path_loss import FreeSpace, LogDistance, UmiStreetCanyon, free_space_loss_db
from channels.path_loss.lte_macro import LteMacro
from channels.path_loss.multi_slope import MultiSlope
from channels.path_loss.tgax_indoor import TgaxIndoor, tgax_loss_db
from channels.path_loss.tr36843_d2d import DeviceToDevice, d2d_los_loss_db, d2d_los_probability, d2d_nlos_loss_db
from channels.path_loss.tr37885_v2v import (
    VehicleToVehicle,
    blocking_loss_db,
    v2v_los_loss_db,
    v2v_los_probability,
    v2v_nlos_loss_db,
)
from channels.path_loss.tr38901_inf import IndoorFactory, inf_los_loss_db, inf_nlos_loss_db
from channels.path_loss.tr38901_inh import IndoorOffice, inh_los_loss_db, inh_los_probability, inh_nlos_loss_db
from channels.path_loss.tr38901_rma import (
    RuralMacro,
    rma_breakpoint_m,
    rma_los_loss_db,
    rma_los_probability,
    rma_nlos_loss_db,
)
from channels.path_loss.tr38901_uma import (
    UrbanMacro,
    uma_environment_height_m,
    uma_los_loss_db,
    uma_los_probability,
    uma_nlos_loss_db,
)
from channels.path_loss.two_ray import TwoRay, two_ray_loss_db

MODELS = [
    FreeSpace(),
    LogDistance(3.0),
    MultiSlope((2.0, 3.5, 4.0), (10.0, 100.0)),
    TwoRay(),
    LteMacro(),
    UrbanMacro(),
    UmiStreetCanyon(),
    RuralMacro(),
    RuralMacro(building_height_m=50.0),
    IndoorOffice(),
    *(IndoorFactory(hall=hall) for hall in ("SL", "DL", "SH", "DH", "HH")),
    DeviceToDevice(),
    VehicleToVehicle(),
    VehicleToVehicle(environment="highway"),
    VehicleToVehicle(blocked_by="building"),
    TgaxIndoor(),
    TgaxIndoor(building="enterprise"),
]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # 3.5 GHz, h_BS 25 m, h_UT 1.5 m: d'_BP = 4 * 24 * 0.5 * 3.5e9 / 3e8 = 560 m
        (uma_los_loss_db(100.0, 25.0, 1.5, 3.5e9), 83.13816),
        (uma_los_loss_db(1000.0, 25.0, 1.5, 3.5e9), 109.41189),
        (uma_nlos_loss_db(100.0, 25.0, 1.5, 3.5e9), 103.03752),
        (uma_nlos_loss_db(1000.0, 25.0, 1.5, 3.5e9), 141.66605),
        # 0.7 GHz, h_BS 35 m, h_UT 1.5 m, h 5 m, W 20 m: d_BP = 2 pi * 35 * 1.5 * 0.7e9 / 3e8 = 769.690 m
        (rma_breakpoint_m(35.0, 1.5, 0.7e9), 769.6902),
        (rma_los_loss_db(500.0, 35.0, 1.5, 0.7e9), 84.63252),
        (rma_los_loss_db(3000.0, 35.0, 1.5, 0.7e9), 112.45780),
        (rma_nlos_loss_db(500.0, 35.0, 1.5, 0.7e9), 104.84326),
        (rma_nlos_loss_db(3000.0, 35.0, 1.5, 0.7e9), 134.86935),
        (inh_los_loss_db(5.0, 3.5e9), 55.37354),
        (inh_nlos_loss_db(5.0, 3.5e9), 57.61785),
        (inh_nlos_loss_db(40.0, 3.5e9), 92.20619),
        (inh_nlos_loss_db(1.0, 3.5e9), 32.4 + 10.88136),  # 17.3 + 24.9 log10 3.5 = 30.85 lies below line of sight
        (inf_los_loss_db(50.0, 3.5e9), 78.70515),
        (inf_nlos_loss_db(50.0, 3.5e9, "SL"), 87.20510),
        (inf_nlos_loss_db(50.0, 3.5e9, "DL"), 90.13459),
        (inf_nlos_loss_db(3.0, 3.5e9, "DL"), 33 + 25.5 * 0.4771213 + 10.88136),  # SL is larger: 56.05 against 46.51
        (inf_nlos_loss_db(50.0, 3.5e9, "SH"), 82.35767),
        (inf_nlos_loss_db(50.0, 3.5e9, "DH"), 81.71880),
        # d' = 4 * 0.8^2 * 2e9 / 3e8 = 17.07 m
        (d2d_los_loss_db(10.0, 2e9), 58.44120),  # free space: B1 has 55.72
        (d2d_los_loss_db(100.0, 2e9), 91.72587),
        (d2d_nlos_loss_db(10.0, 2e9), 65.07690),
        (d2d_nlos_loss_db(100.0, 2e9), 108.82351),
        (d2d_nlos_loss_db(100.0, 1.8e9), 107.22670),
        (d2d_nlos_loss_db(100.0, 0.7e9), 95.79758),
        (v2v_los_loss_db(100.0, 5.9e9, "urban"), 86.19951),
        (v2v_los_loss_db(100.0, 5.9e9, "highway"), 87.81704),
        (v2v_nlos_loss_db(100.0, 5.9e9), 111.41910),
        (tgax_loss_db(23.0, 5.2e9, "residential", num_walls=2), 93.94177),
        (tgax_loss_db(23.0, 5.2e9, "enterprise", num_walls=1), 86.42632),
        (tgax_loss_db(1.0, 2.4e9, "residential", num_floors=1), 40.05 + 18.3),
        (tgax_loss_db(1.0, 2.4e9, "residential", num_floors=2), 40.05 + 33.5236),
        (LteMacro().least_loss_db(np.array(1000.0), 2e9), 128.1),
        (LteMacro().least_loss_db(np.array(250.0), 2e9), 105.46254),
        (LteMacro().least_loss_db(np.array(1000.0), 0.9e9), 120.81746),  # TR 36.942 has 120.9 at 900 MHz
        (LteMacro().least_loss_db(np.array(10.0), 2e9), 70.0),  # its minimum coupling loss
        # 2.4 GHz, heights 1.5 and 10 m: d_c = 4 pi * 15 / 0.124914 m = 1509.0 m
        (two_ray_loss_db(2000.0, 1.5, 10.0, 2.4e9), 108.51937),
        (two_ray_loss_db(1000.0, 1.5, 10.0, 2.4e9), free_space_loss_db(1000.0, 2.4e9)),
        # 20 * 1 + 35 * 1 + 40 log10 3 on top of free space at 1 m
        (
            MultiSlope((2.0, 3.5, 4.0), (10.0, 100.0)).least_loss_db(np.array(300.0), 1e9),
            free_space_loss_db(1.0, 1e9) + 55 + 19.08485,
        ),
    ],
)
def test_losses_worked_by_hand(found, expected):
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (uma_los_probability([10.0, 50.0, 200.0], 1.5), [1, 0.649402, 0.128048]),
        (uma_los_probability([200.0], 23.0), [0.465578]),  # C' = 1: the factor is 1 + 10 exp(-4/3)
        (rma_los_probability([5.0, 1010.0]), [1, np.exp(-1)]),
        (inh_los_probability([1.0, 5.9, 39.1], "mixed"), [1, np.exp(-1), 0.32 * np.exp(-1)]),
        (inh_los_probability([4.0, 40.4, 260.7], "open"), [1, np.exp(-0.5), 0.54 * np.exp(-1)]),
        (d2d_los_probability([10.0, 50.0, 100.0]), [1, 0.519585, 0.230985]),
        (v2v_los_probability([2.0, 50.0, 200.0], "urban"), [1, 0.593802, 0.107398]),
        (v2v_los_probability([5.0, 100.0, 475.0, 500.0, 1100.0], "highway"), [1, 0.840313, 0.543406, 0.515, 0]),
    ],
)
def test_line_of_sight_probabilities_worked_by_hand(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _at(ground_m, height_m):
    return np.array([[ground_m, 0.0, height_m]])


def test_factory_line_of_sight_counts_clutter():
    """SL: k = -10/ln 0.8 = 44.814 m, 0.8^5 at 50 m. SH: the same times (8 - 1.5)/(6 - 1.5). HH: always."""
    low, high = _at(0.0, 1.5), _at(0.0, 8.0)
    assert IndoorFactory(hall="SL").los_probability(_at(50.0, 1.5), low) == pytest.approx(0.8**5)
    assert IndoorFactory(hall="SH").los_probability(_at(50.0, 1.5), high) == pytest.approx(0.8 ** (5 * 4.5 / 6.5))
    assert IndoorFactory(hall="HH").los_probability(_at(50.0, 7.0), high) == 1
    with pytest.raises(ValueError, match="not below clutter_height_m = 6"):
        IndoorFactory(hall="SH").los_probability(_at(50.0, 7.0), high)


@pytest.mark.parametrize(("hall", "nlos_db"), [("SL", 5.7), ("DL", 7.2), ("SH", 5.9), ("DH", 4.0), ("HH", 4.3)])
def test_factory_shadowing_is_that_of_the_hall(hall, nlos_db):
    """TR 38.901 table 7.4.1-1; InF-HH has no state but line of sight."""
    law = IndoorFactory(hall=hall).standard_shadowing
    assert (law.los.sigma_db, law.nlos.sigma_db) == (4.3, nlos_db)


def test_environment_height_is_one_meter_or_a_floor():
    """h_UT 22.5 m at 200 m: g = 10 exp(-4/3), C = 0.95^1.5 g = 2.44077, P(h_E = 1 m) = 0.290633; else 12, 15, 18 or 21 m,
    a quarter of the rest each. Up to 13 m it is always 1 m."""
    u = (np.arange(100_000) + 0.5) / 100_000
    heights, counts = np.unique(uma_environment_height_m(200.0, 22.5, u), return_counts=True)
    np.testing.assert_array_equal(heights, [1, 12, 15, 18, 21])
    np.testing.assert_allclose(counts / u.size, [0.290633, *[0.709367 / 4] * 4], atol=2e-5)
    assert (uma_environment_height_m(200.0, 13.0, u) == 1).all()
    assert (uma_environment_height_m(18.0, 22.5, u) == 1).all()


@pytest.mark.parametrize(
    ("heights", "normal", "expected"),
    [
        ((0.75, 1.5), 0.0, 9.0),  # the blocker, 1.6 m, is taller than both
        ((0.75, 1.5), 2.0, 18.0),
        ((0.75, 1.5), -3.0, 0.0),  # it never makes the loss smaller
        ((1.5, 3.0), 1.0, 9.0),  # between: 5 + 4
        ((2.0, 3.0), 5.0, 0.0),  # lower than both
    ],
)
def test_blocking_vehicle_worked_by_hand(heights, normal, expected):
    """At 100 m; 15 log10 d - 41 turns positive at 10^(41/15) = 541 m only, and is 4 dB at 1000 m."""
    assert blocking_loss_db(100.0, *heights, 1.6, normal) == pytest.approx(expected)
    assert blocking_loss_db(1000.0, 0.75, 1.5, 1.6, 0.0) == pytest.approx(13.0)


@pytest.mark.parametrize(
    ("loss", "edge_m", "tolerance_db"),
    [
        (lambda d: uma_los_loss_db(d, 25.0, 1.5, 3.5e9), 560.0, 0.02),  # the standard's own: d2 against d3
        (lambda d: rma_los_loss_db(d, 35.0, 1.5, 0.7e9), 769.6902, 0.04),
        (lambda d: two_ray_loss_db(d, 1.5, 10.0, 2.4e9), 1509.0084, 1e-4),
        (lambda d: d2d_los_loss_db(d, 6e9), 51.2, 0.04),  # WINNER+ rounds its constants
        (lambda d: MultiSlope((2.0, 4.0), (10.0,)).least_loss_db(d, 1e9), 10.0, 1e-4),
    ],
)
def test_losses_are_continuous_at_their_breakpoints(loss, edge_m, tolerance_db):
    below, above = loss(np.array([edge_m * (1 - 1e-7), edge_m * (1 + 1e-7)]))
    assert abs(above - below) < tolerance_db


def _loss(model, a, b, los, normal=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if getattr(model, "spread_correlation_m", None):
            return model.loss_db(a, b, 3.5e9, los, np.zeros(los.shape) if normal is None else normal)
        return model.loss_db(a, b, 3.5e9, los)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_least_loss_bounds_every_loss_and_never_decreases(model):
    d = np.geomspace(0.01, 20e3, 200)
    least = model.least_loss_db(d, 3.5e9)
    assert (np.diff(least) >= 0).all()
    for height_m, station_m, normal in ((1.5, 10.0, -3.0), (1.5, 1.6, 3.0), (22.5, 25.0, 0.0)):
        ground_m = np.sqrt(np.maximum(d**2 - (station_m - height_m) ** 2, 0))
        real = ground_m > 0
        a = np.stack([ground_m, 0 * d, 0 * d + height_m], axis=-1)[real]
        b = np.broadcast_to([0.0, 0.0, station_m], a.shape)
        for los in (True, False):
            loss = _loss(model, a, b, np.full(a.shape[0], los), np.full(a.shape[0], normal))
            assert (loss >= least[real] - 1e-9).all()


@pytest.mark.parametrize("model", [m for m in MODELS if not m.needs_station], ids=repr)
def test_models_between_devices_are_symmetric(model):
    rng = np.random.default_rng(5)
    a, b = rng.uniform(1, 200, (2, 50, 3))
    los, normal = rng.random(50) < 0.5, rng.standard_normal(50)
    np.testing.assert_array_equal(_loss(model, a, b, los, normal), _loss(model, b, a, los, normal))
    np.testing.assert_array_equal(model.los_probability(a, b), model.los_probability(b, a))


@pytest.mark.parametrize("model", [m for m in MODELS if m.has_los and m != IndoorFactory(hall="HH")], ids=repr)
def test_los_can_be_forced(model):
    a, b = _at(40.0, 1.5), _at(0.0, 8.0)
    assert 0 < model.los_probability(a, b)[0] < 1
    assert type(model)(los="always").los_probability(a, b) == 1
    assert type(model)(los="never").los_probability(a, b) == 0


@pytest.mark.parametrize(
    ("model", "device", "station", "carrier_hz", "says"),
    [
        (UrbanMacro, _at(6000.0, 1.5), _at(0.0, 25.0), 2e9, "tr38901_uma: ground distance 6000 m"),
        (UrbanMacro, _at(600.0, 1.5), _at(0.0, 10.0), 2e9, "tr38901_uma: base station height 10 m"),
        (RuralMacro, _at(600.0, 1.5), _at(0.0, 35.0), 40e9, "tr38901_rma: carrier 40 GHz"),
        (IndoorOffice, _at(200.0, 1.0), _at(0.0, 3.0), 2e9, "tr38901_inh: distance 200 m"),
        (IndoorFactory, _at(700.0, 1.5), _at(0.0, 1.5), 2e9, "tr38901_inf: distance 700 m"),
        (DeviceToDevice, _at(30.0, 1.5), _at(0.0, 10.0), 2e9, "tr36843_d2d: antenna height 10 m"),
        (VehicleToVehicle, _at(0.2, 1.5), _at(0.0, 1.5), 6e9, "tr37885_v2v: distance 0.2 m"),
        (LteMacro, _at(20.0, 1.5), _at(0.0, 25.0), 2e9, "lte_macro: distance 32 m|lte_macro: distance 30.8"),
    ],
)
def test_out_of_range_is_said_once_and_refused_if_strict(model, device, station, carrier_hz, says):
    extra = {"blocked_by": "building"} if model is VehicleToVehicle else {}
    los = np.array([True])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lenient = model(**extra)
        assert np.isfinite(lenient.loss_db(device, station, carrier_hz, los)).all()
        lenient.loss_db(device, station, carrier_hz, los)
    assert len(caught) == 1
    with pytest.raises(ValueError, match=says):
        model(strict=True, **extra).loss_db(device, station, carrier_hz, los)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: MultiSlope((2.0, 3.0), ()), "2 exponents need 1 breaks"),
        (lambda: MultiSlope((2.0, 3.0, 4.0), (100.0, 10.0)), "increasing"),
        (lambda: MultiSlope((-2.0,), ()), "positive"),
        (lambda: IndoorFactory(hall="XX"), "hall = 'XX'"),
        (lambda: IndoorFactory(hall="DL", clutter_density=0.2), "from 0.4"),
        (lambda: IndoorFactory(hall="SL", clutter_density=0.6), "below 0.4"),
        (lambda: IndoorOffice(office="shut"), "mixed"),
        (lambda: VehicleToVehicle(environment="highway", blocked_by="building"), "no buildings"),
        (lambda: VehicleToVehicle(environment="sea"), "urban"),
        (lambda: TgaxIndoor(building="barn"), "residential"),
        (lambda: TgaxIndoor(wall_spacing_m=0.0), "wall_spacing_m = 0"),
        (lambda: UrbanMacro(los="sometimes"), "needed"),
        (lambda: TwoRay().loss_db(_at(5.0, 0.0), _at(0.0, 1.5), 2e9), "above the ground"),
        (lambda: UrbanMacro().loss_db(_at(5.0, 1.0), _at(0.0, 25.0), 2e9, np.array([True])), "environment height"),
        (lambda: RuralMacro().loss_db(_at(5.0, 0.0), _at(0.0, 25.0), 2e9, np.array([True])), "above the ground"),
        (lambda: IndoorOffice().loss_db(_at(5.0, 1.0), _at(0.0, 3.0), 2e9), "line-of-sight state"),
    ],
)
def test_bad_values_are_refused(build, says):
    with pytest.raises(ValueError, match=says):
        build()


def test_tgax_walls_and_floors_are_counted_by_distance():
    """25 m over the ground: two full spacings of 10 m; 6.5 m up: two floors of 3 m."""
    flat = TgaxIndoor().loss_db(_at(25.0, 1.5), _at(0.0, 1.5), 2.4e9)
    assert flat == pytest.approx(tgax_loss_db(25.0, 2.4e9, "residential", num_walls=2))
    up = TgaxIndoor().loss_db(_at(0.0, 8.0), _at(0.0, 1.5), 2.4e9)
    assert up == pytest.approx(tgax_loss_db(6.5, 2.4e9, "residential", num_floors=2))
    assert TgaxIndoor(building="enterprise", wall_spacing_m=5.0).loss_db(_at(25.0, 1.5), _at(0.0, 1.5), 2.4e9) == (
        pytest.approx(tgax_loss_db(25.0, 2.4e9, "enterprise", num_walls=5))
    )
