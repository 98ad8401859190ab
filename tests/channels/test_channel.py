"""The composed channel: what it is made of, purity, the declared grid, refusals, memory."""

import math
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammainc

from channels.channel import Channel
from channels.fading import Rayleigh, Rician
from channels.mobility import Positions, Static
from channels.nakagami import Nakagami
from channels.path_loss import FreeSpace, LogDistance, UmiStreetCanyon, free_space_loss_db
from channels.path_loss.tr38901_umi import umi_los_probability
from channels.shadowing import UMI_SHADOWING, Shadowing

FADINGS = {
    "none": None,
    "block": Rayleigh(block_s=0.05),
    "rician block": Rician(block_s=0.05, k_db=3.0),
    "doppler": Rayleigh("doppler"),
    "rician doppler": Rician("doppler", k_db=3.0),
    "nakagami block": Nakagami(m=2.0),
    "nakagami doppler": Nakagami("doppler", m=0.7),
    "ergodic": Rayleigh("ergodic"),
    "one ring": Rayleigh("doppler", both_ends_move=False, num_sinusoids=20),
}


def _links(channel, kind):
    n = channel._positions.num_nodes
    if kind == "mesh":
        i, j = np.triu_indices(n, 1)
        return np.concatenate((i, j)), np.concatenate((j, i))
    devices, station = np.arange(n - 1), np.full(n - 1, n - 1)
    return np.concatenate((devices, station)), np.concatenate((station, devices))


# -- what it is made of ------------------------------------------------------------------------------------------------


def test_mean_gain_is_antennas_minus_loss(mesh):
    paths = [Static((0.0, 0.0, 1.5)), Static((30.0, 40.0, 1.5))]
    channel = mesh(paths=paths, path_loss=FreeSpace(), shadowing=None, antenna_gain_dbi=[2.0, 3.0])
    expected = 5.0 - free_space_loss_db(50.0, 3.5e9)
    np.testing.assert_allclose(channel.mean_gain_db(0, 1, 3.0), expected)
    np.testing.assert_allclose(
        channel.mean_gain_db([[0, 1]], 1 - np.array([[0, 1]]), [0.0, 1.0, 2.0]), np.full((1, 2, 3), expected)
    )


def test_without_fading_receive_antennas_give_their_number(mesh):
    paths = [Static((0.0, 0.0, 1.5)), Static((30.0, 40.0, 1.5))]
    channel = mesh(paths=paths, path_loss=FreeSpace(), shadowing=None, rx_antennas=[1, 4])
    one = 10 ** (-free_space_loss_db(50.0, 3.5e9) / 10)
    np.testing.assert_allclose(channel.gain(np.array([0, 1]), np.array([1, 0]), 0, 3), [[4 * one] * 3, [one] * 3])
    np.testing.assert_allclose(channel.exact_gain(np.array([0]), np.array([1]), [0.0, 9.0]), [[4 * one] * 2])


@pytest.mark.parametrize("fading", [Rayleigh(block_s=0.05), Rayleigh("doppler", environment_speed_mps=5.0)])
def test_two_branch_outage_of_the_uplink_is_gamma(cell, fading):
    """Gain over local mean on links to two receive antennas: P(g < x) = gammainc(2, x) within 4.5 standard errors of 300
    devices, each at 20 times several coherence times apart (Doppler: 1/(2N) = 3 % in each branch, hence twice that)."""
    channel = cell(num_devices=300, fading=fading)
    devices, station = np.arange(300), np.full(300, 300)
    gains = np.concatenate([channel.exact_gain(devices, station, [t]) for t in np.arange(20) * 3.0], axis=1)
    ratio = gains / 10 ** (channel.mean_gain_db(devices, station, 0.0)[:, None] / 10)
    allowance = 1 / 16 if fading.correlation == "doppler" else 0.0
    for x in (0.2, 0.5, 1.0, 2.0):
        expected = gammainc(2, x)
        error = np.sqrt(expected * (1 - expected) / ratio.size)
        assert abs((ratio < x).mean() - expected) < 4.5 * error + allowance * expected


def test_duplex_decides_whether_directions_fade_together(cell):
    up, down = (np.arange(6), np.full(6, 6)), (np.full(6, 6), np.arange(6))
    for fading in (Rayleigh(), Rayleigh("doppler"), Rician("doppler", k_db=9.0)):
        tdd = cell(fading=fading, reciprocal=True, rx_antennas=1)
        np.testing.assert_array_equal(tdd.gain(*up, 3, 5), tdd.gain(*down, 3, 5))
        fdd = cell(fading=fading, reciprocal=False, rx_antennas=1)
        assert (fdd.gain(*up, 3, 5) != fdd.gain(*down, 3, 5)).all()
        np.testing.assert_array_equal(fdd.mean_gain_db(*up, 1.0), fdd.mean_gain_db(*down, 1.0))


def test_co_located_devices_see_the_same_mean():
    place, other = (70.0, 20.0, 1.5), (71.0, 20.0, 1.5)
    positions = Positions([Static(place), Static(other), Static(place), Static((0.0, 0.0, 10.0))])
    channel = Channel(positions, 3.5e9, UmiStreetCanyon(), UMI_SHADOWING, None, [0.0] * 3 + [8.0], [1] * 4, 5, 3, False)
    a, b, c = channel.mean_gain_db(np.arange(3), 3, 0.0)
    assert a == c
    assert a != b


def test_adding_a_device_changes_nothing_for_the_others(cell):
    for fading in FADINGS.values():
        small, large = cell(num_devices=4, fading=fading), cell(num_devices=9, fading=fading)
        np.testing.assert_array_equal(
            small.gain(np.arange(4), np.full(4, 4), 0, 3), large.gain(np.arange(4), np.full(4, 9), 0, 3)
        )


# -- line of sight -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ground_m", [40.0, 120.0])
def test_line_of_sight_field_has_the_marginal_of_the_standard(ground_m):
    """Share of 16 devices on a ring in sight of the base station, averaged over 400 independent fields; 4.5 standard errors."""
    angle = 2 * np.pi * np.arange(16) / 16
    paths = [Static((ground_m * np.cos(a), ground_m * np.sin(a), 1.5)) for a in angle] + [Static((0.0, 0.0, 10.0))]
    positions = Positions(paths)

    def channel(los, key):
        return Channel(positions, 3.5e9, UmiStreetCanyon(los), None, None, [0.0] * 17, [1] * 17, key, 16)

    always, never = (channel(los, 0).mean_gain_db(0, 16, 0.0) for los in ("always", "never"))
    shares = []
    for key in range(400):
        gains = channel("field", key).mean_gain_db(np.arange(16), 16, 0.0)
        sight = np.isclose(gains, always)
        assert (sight | np.isclose(gains, never)).all()
        shares.append(sight.mean())
    assert abs(np.mean(shares) - umi_los_probability(ground_m)) < 4.5 * np.std(shares) / np.sqrt(len(shares))


def test_line_of_sight_belongs_to_a_place_and_not_to_a_query(cell):
    channel = cell(num_devices=40, shadowing=None)
    devices = np.arange(40)
    first = channel.mean_gain_db(devices, 40, 0.0)
    for t_s in (0.0, 1.0, 5.0, 0.0):
        np.testing.assert_array_equal(channel.mean_gain_db(devices, 40, t_s), first)


def test_line_of_sight_changes_as_often_as_its_field_crosses_the_threshold():
    """On a circle of 60 m, p = P(LOS) = 0.4322. Between places 1 m apart the field has correlation r = exp(-1/50), and the state
    changes with probability 2 (p - P(U < p, U' < p)), a bivariate normal: 6 % a meter, where independent queries would
    change half of the time. 300 fields, 4.5 standard errors."""
    p = umi_los_probability(60.0)
    q = stats.norm.ppf(p)
    r = np.exp(-1 / 50)
    expected = 2 * (p - stats.multivariate_normal.cdf([q, q], cov=[[1, r], [r, 1]]))
    assert expected < 0.07
    angle = np.arange(0, 2 * np.pi, 1 / 60)
    circle = [(60 * np.cos(a), 60 * np.sin(a), 1.5) for a in angle]
    positions = Positions([*map(Static, circle), Static((0.0, 0.0, 10.0))])
    n = angle.size
    shares = []
    for key in range(300):
        channel = Channel(positions, 3.5e9, UmiStreetCanyon(), None, None, [0.0] * (n + 1), [1] * (n + 1), key, n)
        shares.append((np.abs(np.diff(channel.mean_gain_db(np.arange(n), n, 0.0))) > 5).mean())
    assert abs(np.mean(shares) - expected) < 4.5 * np.std(shares) / np.sqrt(len(shares))


# -- purity ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fading", FADINGS.values(), ids=FADINGS)
@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
@pytest.mark.parametrize("kind", ["cell", "mesh"])
def test_gain_is_the_same_whoever_asks_in_whatever_order(cell, mesh, kind, moving, fading):
    """One call of 100 cells; 100 calls of one cell in random order for random subsets; a fresh channel; the exact model."""
    build = {"cell": cell, "mesh": mesh}[kind]
    channel = build(moving=moving, fading=fading)
    tx, rx = _links(channel, kind)
    first = 0 if channel.cell_s == math.inf else 37
    whole = channel.gain(tx, rx, first, 100).copy()
    assert whole.shape == (tx.size, 100)
    assert (whole > 0).all()
    rng = np.random.default_rng(2)
    for other in (channel, build(moving=moving, fading=fading)):
        for k in rng.permutation(100).tolist():
            some = rng.permutation(tx.size)[: rng.integers(1, tx.size + 1)]
            np.testing.assert_array_equal(other.gain(tx[some], rx[some], first + k, 1), whole[some, k : k + 1])
        np.testing.assert_array_equal(other.gain(tx[:1], rx[:1], first + 20, 31), whole[:1, 20:51])
    if channel.cell_s < math.inf:
        midpoints = (first + np.arange(100) + 0.5) * channel.cell_s
        np.testing.assert_allclose(channel.exact_gain(tx, rx, midpoints), whole, rtol=1e-12)


def test_mean_gain_is_the_same_whoever_asks_in_whatever_order(mesh):
    channel, other = mesh(moving=True), mesh(moving=True)
    tx, rx = _links(channel, "mesh")
    t_s = np.random.default_rng(4).uniform(0, 300, 60)
    whole = channel.mean_gain_db(tx, rx, t_s)
    np.testing.assert_array_equal(channel.mean_gain_db(rx, tx, t_s), whole)
    for k, t in enumerate(t_s.tolist()):
        np.testing.assert_array_equal(other.mean_gain_db(tx[k % 9 :], rx[k % 9 :], t), whole[k % 9 :, k])


def test_block_fading_holds_the_whole_gain_over_a_block(cell):
    channel = cell(moving=True, fading=Rayleigh(block_s=0.5))
    within = channel.exact_gain(np.arange(6), np.full(6, 6), np.array([3.5, 3.6, 3.99]))
    np.testing.assert_array_equal(within, np.repeat(channel.gain(np.arange(6), np.full(6, 6), 7, 1), 3, axis=1))


def test_keys_give_independent_channels(cell):
    a, b = cell(fading=Rayleigh()), cell(fading=Rayleigh(), key=1)
    assert (a.gain(np.arange(6), np.full(6, 6), 0, 4) != b.gain(np.arange(6), np.full(6, 6), 0, 4)).all()


# -- the declared grid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fading", [Rayleigh("doppler"), Rician("doppler", k_db=6.0)])
@pytest.mark.parametrize("kind", ["cell", "mesh"])
@pytest.mark.parametrize("mean_snr_db", [0.0, 20.0])
def test_midpoint_sampling_integrates_the_rate_to_a_thousandth(cell, mesh, kind, fading, mean_snr_db):
    """The integral of log2(1 + snr g) over 0.03 to 3 s, one sample a cell against 40 a cell, walking nodes."""
    channel = {"cell": cell, "mesh": mesh}[kind](moving=True, fading=fading)
    tx, rx = (a[1:5] for a in _links(channel, kind))
    scale = 10 ** ((mean_snr_db - channel.mean_gain_db(tx, rx, 0.0)) / 10)[:, None]
    for duration_s in (0.03, 0.3, 3.0):
        cells = round(duration_s / channel.cell_s)
        coarse = np.log2(1 + scale * channel.gain(tx, rx, 1000, cells)).mean(axis=1)
        t_s = (1000 + (np.arange(40 * cells) + 0.5) / 40) * channel.cell_s
        fine = np.log2(1 + scale * channel.exact_gain(tx, rx, t_s)).mean(axis=1)
        np.testing.assert_allclose(coarse, fine, rtol=1e-3)


def test_midpoint_sampling_of_moving_nodes_without_fading(cell):
    channel = cell(moving=True)
    tx, rx = np.arange(6), np.full(6, 6)
    cells = 400
    scale = 10 ** ((10.0 - channel.mean_gain_db(tx, rx, 0.0)) / 10)[:, None]
    coarse = np.log2(1 + scale * channel.gain(tx, rx, 5, cells)).mean(axis=1)
    t_s = (5 + (np.arange(20 * cells) + 0.5) / 20) * channel.cell_s
    fine = np.log2(1 + scale * channel.exact_gain(tx, rx, t_s)).mean(axis=1)
    np.testing.assert_allclose(coarse, fine, rtol=1e-3)


def test_cells_are_declared_as_promised(cell, mesh, tools):
    assert cell().cell_s == math.inf
    assert cell(fading=Rayleigh(block_s=0.25), moving=True).cell_s == 0.25
    wavelength_m = 299_792_458 / 3.5e9
    # 2 m/s of the device, none of the base station, 0.5 m/s around; two devices may both walk
    assert cell(fading=Rayleigh("doppler"), moving=True).cell_s == pytest.approx(0.02 * wavelength_m / 2.5, rel=1e-5)
    assert mesh(fading=Rayleigh("doppler"), moving=True).cell_s == pytest.approx(0.02 * wavelength_m / 4.5, rel=1e-5)
    # a twentieth of 10 m at 2 m/s; a twentieth of 20 m at 3 m/s
    walking = cell(moving=True)
    assert (walking.large_scale_s, walking.cell_s) == pytest.approx((0.25, 0.05))
    assert mesh(paths=[tools.straight(3.0), tools.straight(1.0)]).large_scale_s == pytest.approx(1 / 3, rel=1e-7)
    for channel in (cell(fading=Rayleigh("doppler"), moving=True), mesh(paths=[tools.straight(3.0)] * 2)):
        assert channel.cell_s * 1e9 == pytest.approx(round(channel.cell_s * 1e9), abs=1e-6)


# -- neighbor search and refusals --------------------------------------------------------------------------------------


def test_reach_is_the_distance_at_which_the_best_link_just_has_the_gain(mesh):
    """L0 + 30 log10 d = 5 dB of antennas + 3.5 * 6 dB of shadowing - (-100 dB), L0 = 43.329 dB: d = 10^((126 - 43.329)/30)."""
    channel = mesh(antenna_gain_dbi=[0.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    assert channel.reach_m(-100.0) == pytest.approx(10 ** ((126 - 43.3291) / 30), rel=1e-4)
    assert channel.reach_m(10.0) == 0.0
    assert mesh(path_loss=LogDistance(0.1)).reach_m(-500.0) == 1e7


def test_nobody_beyond_reach_is_heard(mesh):
    channel = mesh(num_devices=60, shadowing=Shadowing(3.0, 20.0))
    reach_m = channel.reach_m(-85.0)
    places = channel._positions.at(np.arange(60), 0.0)
    tx, rx = np.triu_indices(60, 1)
    beyond = np.linalg.norm(places[tx] - places[rx], axis=1) > reach_m
    gains = channel.mean_gain_db(tx, rx, 0.0)
    assert beyond.any()
    assert (gains[beyond] < -85.0).all()
    assert (gains >= -85.0).any()


def test_umi_refuses_links_between_devices(cell, mesh):
    with pytest.raises(ValueError, match=r"tr38901_umi holds between a base station and a device only; nodes 1 and 3"):
        cell().mean_gain_db([0, 1], [6, 3], 0.0)
    with pytest.raises(ValueError, match="device-to-device"):
        mesh(path_loss=UmiStreetCanyon()).gain(np.array([0]), np.array([1]), 0, 1)


def test_umi_warns_once_through_a_channel():
    near = Positions([Static((3.0, 0.0, 1.5)), Static((4.0, 0.0, 1.5)), Static((0.0, 0.0, 10.0))])
    channel = Channel(near, 3.5e9, UmiStreetCanyon(), None, None, [0.0] * 3, [1] * 3, 1, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        channel.mean_gain_db(0, 2, 0.0)
        channel.mean_gain_db(1, 2, 0.0)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"carrier_hz": -1.0}, "carrier_hz"),
        ({"antenna_gain_dbi": [0.0]}, "antenna_gain_dbi has shape"),
        ({"rx_antennas": [1, 1, 0, 1, 1, 1]}, "rx_antennas"),
        ({"base_station": 6}, "base_station"),
        ({"shadowing": UMI_SHADOWING}, "line-of-sight state"),
    ],
)
def test_bad_channels_are_refused(mesh, arguments, match):
    with pytest.raises(ValueError, match=match):
        mesh(**arguments)


def test_bad_links_are_refused(mesh):
    with pytest.raises(ValueError, match="node 2 has no link to itself"):
        mesh().gain(np.array([0, 2]), np.array([1, 2]), 0, 1)
    with pytest.raises(ValueError, match="as many transmitters"):
        mesh().gain(np.array([0, 2]), np.array([1]), 0, 1)


def test_provenance_names_models_and_generators(cell):
    text = cell(fading=Rayleigh("doppler")).provenance()
    assert set(map(type, text.values())) == {str}
    assert "UmiStreetCanyon" in text["path_loss"]
    assert "16 sinusoids" in text["fading_generator"]
    assert "128 plane waves" in text["shadowing_generator"]
    assert cell().provenance()["fading"] == "none"


def test_memory_is_flat_in_simulated_time(cell):
    """What is held after three times as many moments, over five hours of walking, is not a tenth more."""
    channel = cell(num_devices=30, moving=True, fading=Rayleigh("doppler"))
    tx, rx = np.arange(30), np.full(30, 30)
    tracemalloc.start()
    held = []
    for first, last in ((0, 300), (300, 900)):
        for i in range(first, last):
            channel.gain(tx[i % 30 :], rx[i % 30 :], i * 30_000, 1)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] < 1.1 * held[0]


@pytest.mark.parametrize("fading", FADINGS.values(), ids=FADINGS)
@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
def test_empty_questions_have_empty_answers(mesh, moving, fading):
    channel = mesh(moving=moving, fading=fading)
    nobody = np.zeros(0, dtype=np.int64)
    assert channel.gain(nobody, nobody, 0, 3).shape == (0, 3)
    assert channel.gain(np.array([0]), np.array([1]), 5, 0).shape == (1, 0)
    assert channel.mean_gain_db(nobody, nobody, 0.0).shape == (0,)
