"""Outdoor to indoor: wall losses from TR 38.901 table 7.4.3-2, the law of the draws, and what a channel makes of them."""

import numpy as np
import pytest

from channels.channel import Channel
from channels.local_mean import Indoors
from channels.mobility import Positions, Static
from channels.path_loss import UmiStreetCanyon
from channels.path_loss.tr38901_umi import umi_los_probability
from channels.penetration import draw_penetration, wall_loss_db


@pytest.mark.parametrize(
    ("carrier_ghz", "low_db", "high_db"), [(2, 11.8253, 22.4253), (3.5, 12.6975, 26.8498), (28, 17.8288, 37.9490)]
)
def test_wall_losses_worked_by_hand(carrier_ghz, low_db, high_db):
    """2 GHz, low: glass 2.4 dB, concrete 13 dB; 5 - 10 log10(0.3 * 0.575440 + 0.7 * 0.050119) = 11.8253."""
    assert wall_loss_db("low_loss", carrier_ghz * 1e9) == pytest.approx(low_db, abs=1e-4)
    assert wall_loss_db("high_loss", carrier_ghz * 1e9) == pytest.approx(high_db, abs=1e-4)


@pytest.mark.parametrize(("kind", "sigma_db"), [("low_loss", 4.4), ("high_loss", 6.5)])
def test_draws_have_the_law_of_the_standard(kind, sigma_db):
    """d_in, the smaller one of two uniform draws up to 25 m: mean 25/3 m, P(d_in > 12.5) = 1/4. What is left after wall and
    rooms is normal. 4000 draws, 4.5 standard errors."""
    rng = np.random.default_rng(11)
    loss_db, depth_m = np.array([draw_penetration(kind, 2e9, 25.0, rng) for _ in range(4000)]).T
    rest = loss_db - wall_loss_db(kind, 2e9) - 0.5 * depth_m
    error = 1 / np.sqrt(rest.size)
    assert abs(depth_m.mean() - 25 / 3) < 4.5 * depth_m.std() * error
    assert abs((depth_m > 12.5).mean() - 0.25) < 4.5 * np.sqrt(0.25 * 0.75) * error
    assert abs(rest.mean()) < 4.5 * sigma_db * error
    assert abs(rest.std() / sigma_db - 1) < 4.5 * np.sqrt(0.5) * error


def test_cars_lose_nine_decibels_and_have_no_rooms():
    rng = np.random.default_rng(12)
    loss_db, depth_m = np.array([draw_penetration("car", 2e9, 25.0, rng) for _ in range(4000)]).T
    assert (depth_m == 0).all()
    assert abs(loss_db.mean() - 9) < 4.5 * 5 / np.sqrt(4000)
    assert abs(loss_db.std() / 5 - 1) < 4.5 * np.sqrt(0.5 / 4000)


def _cell(indoors, los="always", key=4, shadowing=None, places=(60.0, 60.0)):
    paths = [Static((x, 0.0, 1.5)) for x in places]
    n = len(paths)
    return Channel(
        Positions([*paths, Static((0.0, 0.0, 10.0))]),
        2e9,
        UmiStreetCanyon(los=los),
        shadowing,
        None,
        [0.0] * (n + 1),
        [1] * (n + 1),
        key,
        n,
        indoors=indoors,
    )


def test_penetration_is_lost_in_both_directions():
    inside = Indoors(np.array([0.0, 17.5, 0.0]), np.array([0.0, 4.0, 0.0]))
    there = _cell(inside).mean_gain_db([0, 1], 2, 0.0)
    back = _cell(inside).mean_gain_db(2, [0, 1], 0.0)
    np.testing.assert_array_equal(there, back)
    assert there[0] - there[1] == pytest.approx(17.5)
    np.testing.assert_array_equal(there[0], _cell(None).mean_gain_db(0, 2, 0.0))
    assert _cell(inside).provenance()["indoor_nodes"] == "1"


def test_line_of_sight_of_an_indoor_device_counts_to_the_outer_wall():
    """60 m away, 24 m of them inside: P(LOS) is that of 36 m. 600 keys, 4.5 standard errors."""
    inside = Indoors(np.array([0.0, 0.0, 0.0]), np.array([0.0, 24.0, 0.0]))
    best = _cell(inside).mean_gain_db(1, 2, 0.0)
    state = [_cell(inside, "field", key).mean_gain_db(1, 2, 0.0) > best - 1 for key in range(600)]
    p = float(umi_los_probability(36.0))
    assert abs(np.mean(state) - p) < 4.5 * np.sqrt(p * (1 - p) / 600)


def test_indoor_devices_have_the_shadowing_of_their_own():
    """TR 38.901 table 7.5-6: 7 dB for UMi from outdoors to indoors, against 4 dB in line of sight. 150 keys, two times ten
    places that lie 6 correlation distances and more apart; standard errors from one mean per key."""
    places, depth_m = np.repeat(60.0 * np.arange(1, 11), 2), np.append(np.tile([0.0, 5.0], 10), 0.0)
    inside, shadowing = Indoors(np.zeros(21), depth_m), UmiStreetCanyon.standard_shadowing
    quiet = _cell(inside, places=places).mean_gain_db(np.arange(20), 20, 0.0)
    squares = []
    for key in range(150):
        gains = _cell(inside, key=key, shadowing=shadowing, places=places).mean_gain_db(np.arange(20), 20, 0.0)
        squares.append(np.square(gains - quiet).reshape(10, 2).mean(axis=0))
    errors = np.std(squares, axis=0, ddof=1) / np.sqrt(150)
    assert (np.abs(np.mean(squares, axis=0) - [16, 49]) < 4.5 * errors).all()


def test_bad_indoors_are_refused():
    with pytest.raises(ValueError, match=r"indoors.depth_m"):
        _cell(Indoors(np.zeros(3), np.zeros(2)))
