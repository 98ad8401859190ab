"""The search for pairs that may hear each other misses none, and does not look at all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from channels import near_pairs
from channels.channel import Channel
from channels.mobility import Area, Positions, RandomWaypoint, Static
from channels.path_loss import FreeSpace, LogDistance
from channels.path_loss.tr36843_d2d import DeviceToDevice
from channels.path_loss.tr37885_v2v import VehicleToVehicle
from channels.shadowing import LosShadowing, Shadowing

D2D = DeviceToDevice()
BLOCKED, BUILT = VehicleToVehicle(), VehicleToVehicle(blocked_by="building")
ONE_LAW = LosShadowing(los=Shadowing(0.0, 10.0), nlos=Shadowing(7.0, 10.0))  # no field with line of sight


def channel_of(
    num: int, side_m: float, path_loss: Any, shadowing: Any, moves: bool = True, gains: bool = False
) -> Channel:
    """num nodes over a square, every fifth at rest (all where nothing moves); gains: antennas of -3 to 6 dBi."""
    rng = np.random.default_rng([4, num])
    walk = RandomWaypoint(Area("square", side_m), (1.0, 20.0), height_m=1.5)
    places = (rng.random((num, 2)) - 0.5) * side_m
    paths = [
        walk.path(np.random.default_rng([5, i])) if moves and i % 5 else Static((x, y, 1.5))
        for i, (x, y) in enumerate(places.tolist())
    ]
    antennas_dbi = rng.integers(-3, 7, num) if gains else np.zeros(num)
    return Channel(Positions(paths), 2e9, path_loss, shadowing, None, antennas_dbi, np.ones(num, dtype=np.int64), key=7)


@pytest.mark.parametrize("few", [0, 10_000], ids=["classes", "one class"])
@pytest.mark.parametrize(
    ("path_loss", "shadowing", "min_gain_db"),
    [
        (FreeSpace(), None, -80.0),
        (LogDistance(3.5), Shadowing(8.0, 50.0), -95.0),
        (D2D, None, -105.0),
        (D2D, D2D.standard_shadowing, -105.0),
        (D2D, ONE_LAW, -105.0),
        (DeviceToDevice(los="never"), D2D.standard_shadowing, -105.0),
        (BLOCKED, BLOCKED.standard_shadowing, -90.0),
        (BUILT, BUILT.standard_shadowing, -90.0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("moves", [True, False])
@pytest.mark.filterwarnings("ignore:tr")
def test_all_pairs_that_qualify_are_found(
    monkeypatch: pytest.MonkeyPatch, few: int, path_loss: Any, shadowing: Any, min_gain_db: float, moves: bool
) -> None:
    """Against the gains of all 31,125 pairs of 250 nodes, at a point of the grid in time and between two."""
    monkeypatch.setattr(near_pairs, "FEW_NODES", few)
    monkeypatch.setattr(near_pairs, "FEW_PAIRS", few)
    channel = channel_of(250, 1500.0, path_loss, shadowing, moves, gains=True)
    nodes = np.arange(250)
    a, b = np.triu_indices(250, 1)
    for t_s in (0.0, 3.3217, 40.0):
        found = {(int(i), int(j)) for i, j in channel.near_pairs(nodes, t_s, min_gain_db)}
        qualifies = channel.mean_gain_db(a, b, t_s) >= min_gain_db
        wanted = set(zip(a[qualifies].tolist(), b[qualifies].tolist(), strict=True))
        assert 100 < len(wanted) < 15_000
        assert wanted <= found


def test_pairs_are_nodes_as_they_were_named_in_order() -> None:
    channel = channel_of(40, 100.0, FreeSpace(), None)
    nodes = np.arange(10, 30)
    found = channel.near_pairs(nodes, 1.0, -200.0)
    a, b = np.triu_indices(20, 1)
    assert found.tolist() == np.stack([a + 10, b + 10], axis=1).tolist()
    assert channel.near_pairs(nodes, 1.0, 10.0).shape == (0, 2)


def test_bounds_cover_both_points_of_the_grid_around_a_time() -> None:
    """No node is further from where it is then than half the drift, the fastest are almost as far, and at rest nothing drifts."""
    channel, nodes = channel_of(250, 1500.0, LogDistance(3.5), Shadowing(8.0, 50.0)), np.arange(250)
    mean, step_s = channel._mean, channel.large_scale_s
    t_s = 100.001 * step_s
    bounds = mean.node_bounds(nodes, t_s)
    ends_m = mean._positions.at(nodes, np.array([100 * step_s, 101 * step_s]))
    moved_m = np.linalg.norm(ends_m - bounds.place_m[:, None], axis=2).max()
    assert 0.9 * bounds.drift_m / 2 < moved_m <= bounds.drift_m / 2
    still = channel_of(250, 1500.0, LogDistance(3.5), Shadowing(8.0, 50.0), moves=False)
    assert still._mean.node_bounds(nodes, t_s).drift_m == 0.0


@pytest.mark.filterwarnings("ignore:tr")
def test_work_grows_with_the_nodes_and_not_with_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the nodes on four times the area: what the spatial index hands out and what is left of it grow by four, edges of the
    area aside (16 would be all pairs), and what is left is a few times what qualifies."""
    looked_at, left, qualify = {}, {}, {}
    within = near_pairs._within_reach

    def counted(*arguments: Any) -> Any:
        for a, b in within(*arguments):
            looked_at[num] = looked_at.get(num, 0) + len(a)
            yield a, b

    monkeypatch.setattr(near_pairs, "_within_reach", counted)
    monkeypatch.setattr(near_pairs, "FEW_PAIRS", 0)
    for num in (1000, 4000):
        channel = channel_of(num, 90.0 * num**0.5, D2D, D2D.standard_shadowing)
        pairs = channel.near_pairs(np.arange(num), 2.5, -110.0)
        left[num] = len(pairs)
        qualify[num] = np.count_nonzero(channel.mean_gain_db(*pairs.T, 2.5) >= -110.0)
    assert 4 * num < qualify[num] < left[num] < 3 * qualify[num]
    assert looked_at[num] < 0.02 * num**2
    for count in (looked_at, left, qualify):
        assert 3.5 < count[4000] / count[1000] < 6.0


@pytest.mark.parametrize(
    "model", [D2D, DeviceToDevice(los="always"), BLOCKED, BUILT, VehicleToVehicle(environment="highway")], ids=repr
)
@pytest.mark.filterwarnings("ignore:tr")
def test_losses_rise_and_line_of_sight_fades_with_distance(model: Any) -> None:
    """What the bounds take for granted of a model between nodes."""
    far_m = np.zeros((4000, 3))
    far_m[:, 0], far_m[:, 2] = np.geomspace(0.1, 4900, 4000), 1.5
    here_m = np.tile((0.0, 0.0, 1.5), (4000, 1))
    for loss_db in model.losses_db(here_m, far_m, 2e9, np.zeros(4000)):
        assert (np.diff(loss_db) >= -1e-9).all()
    assert (np.diff(model.los_probability(here_m, far_m)) <= 1e-12).all()
