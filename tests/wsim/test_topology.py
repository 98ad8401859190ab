"""Who exchanges with whom: fixed graphs, and who is in radio range now."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from learners.protocol import SERVER, Joined, Left, Observe, Sleep
from tests.wsim.builders import cell, peers, play, waits
from tests.wsim.test_closing import BASE, LEARNERS
from wsim.engine import Run
from wsim.errors import ScenarioError
from wsim.graphs.kind import Given
from wsim.graphs.lattices import Ring
from wsim.scenario import Loaded, load_text
from wsim.topology import BeaconTopology, FixedTopology, Hearing, Proximity


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_neighbors_on_a_ring_are_the_next_ones():
    topology = FixedTopology(5, Ring().graph(Given(5, rng(), np.zeros((5, 3)))))
    assert [topology.neighbors(i) for i in range(5)] == [(1, 4), (0, 2), (1, 3), (2, 4), (0, 3)]
    assert topology.edges().tolist() == [[0, 1], [0, 4], [1, 2], [2, 3], [3, 4]]
    assert topology.peers(0, 7) == ((1, 4), (1, 4))


def test_edges_of_a_file():
    loaded = peers([(0, 0), (9, 0), (0, 9)], "topology={kind='file', file='g'}", referenced={"g": "0 1\n2 1\n"})
    seen: dict[int, tuple[int, ...]] = {}

    def program(node):
        seen[node.id] = node.neighbors
        yield Sleep(0.1)

    play(loaded, program)
    assert seen == {0: (1,), 1: (0, 2), 2: (1,)}


def test_in_a_star_everybody_has_the_server_only():
    seen: dict[int, tuple[int, ...]] = {}

    def program(node):
        seen[node.id] = node.neighbors
        yield Sleep(0.1)

    play(cell([0.0, 0.0]), program)
    assert seen == {0: (SERVER,), 1: (SERVER,), SERVER: (0, 1)}


# -- radio range -------------------------------------------------------------------------------------------------------

DISTANCES_M = [
    200,
    120,
    95,
    130,
    105,
    138,
    150,
    120,
    99,
    101,
    99,
    101,
    145,
    143,
    200,
]  # one a second; 100 joins, 141 leaves


def walk() -> Loaded:
    """Node 1 joins at 100 m, where it has the 8 dB over the band that a neighbor needs, and leaves at 141 m, 3 dB below."""
    lines = [f"1, {k}.0, {d}.0, 0.0, 0.0" for k, d in enumerate(DISTANCES_M)]
    changes = [
        "devices.peers.mobility={kind='trace', file='walk'}",
        "topology={kind='radio', neighbor_mean_snr_db=8.0, hysteresis_db=3.0, update_every_s=1.0}",
        "channel.fading={kind='rayleigh', block_s=0.01}",
    ]
    trace = "\n".join(["0, 0.0, 0.0, 0.0, 0.0", *lines])
    return peers([(0, 0), (200, 0)], *changes, snr_db=8.0, referenced={"walk": trace})


def test_hysteresis_keeps_a_neighbor_until_it_is_well_out_of_range():
    """In range from 100 m on until 141 m: never flickers in between, whatever the fading does."""
    seen: list[bool] = []
    changes: list[tuple[float, object]] = []

    def program(node):
        for _ in range(len(DISTANCES_M) - 1):
            yield Sleep(0.5)
            seen.append(node.neighbors == (1,))
            now = yield Observe("time")
            changes.extend((now, change) for change in (yield Observe("membership")))
            yield Sleep(0.5)

    play(walk(), {0: program})
    inside, expected = False, []
    for distance in DISTANCES_M[:-1]:
        inside = distance <= 100 or (inside and distance <= 141)
        expected.append(inside)
    assert seen == expected
    assert changes == [(2.5, Joined(1)), (6.5, Left(1)), (8.5, Joined(1)), (12.5, Left(1))]


def test_membership_reports_only_the_last_change_of_a_neighbor():
    """Who does not ask for long keeps one entry for each neighbor: joined, left, joined and left is `Left`."""
    late: list[tuple[object, ...]] = []

    def program(node):
        yield Sleep(13.5)
        late.append((yield Observe("membership")))
        late.append((yield Observe("membership")))

    play(walk(), {0: program})
    assert late == [(Left(1),), ()]


@pytest.mark.parametrize("min_snr_db", [-5.0, 8.0, 25.0])
def test_pairs_of_the_spatial_index_are_those_of_all_pairs(min_snr_db):
    """60 walkers under shadowing of 6 dB with unequal powers, at several times, against every pair."""
    changes = [
        *LEARNERS["gossip"],
        "stop.simulated_s=1.0",
        "devices.some.count=60",
        "area.side_m=800.0",
        "devices.some.mobility={kind='random_waypoint', speed_mps=[1.0, 5.0]}",
        "channel.shadowing={sigma_db=6.0, correlation_m=20.0}",
    ]
    run = Run(load_text(BASE, changes), "null", None, None, None, None)
    links = run.world.links
    links.tx_power_w *= np.linspace(0.2, 1.0, len(links.tx_power_w))
    a, b = np.triu_indices(60, 1)
    for time_s in (0.0, 33.3, 500.0):
        weaker = np.minimum(links.mean_cn0(a, b, time_s), links.mean_cn0(b, a, time_s))
        near = 10 * np.log10(weaker / 1e6) >= min_snr_db
        pairs, snr_db = Proximity(links, 60, 1e6, min_snr_db).pairs(time_s)
        assert pairs.tolist() == np.stack([a[near], b[near]], axis=1).tolist()
        assert snr_db == pytest.approx(10 * np.log10(weaker[near] / 1e6))
        assert 3 < near.sum() < len(near)
        hearing = Hearing(links, 60, 1e6, min_snr_db)
        hearing.update(time_s)
        for i in range(60):
            expected = sorted({*b[near & (a == i)].tolist(), *a[near & (b == i)].tolist()})
            assert sorted(hearing.heard_by(i).tolist()) == expected


def test_a_fixed_edge_that_never_carries_anything_is_refused():
    loaded = peers([(0, 0), (10, 0), (9000, 0)], "phy.min_snr_db=0.0", snr_db=10.0)
    with pytest.raises(ScenarioError, match="link from device 0 to device 2 has a mean SNR of -29.1 dB"):
        play(loaded, {})


def test_beacons_that_ask_for_more_air_than_there_is_do_not_pile_up():
    """One beacon of a device waits at most: the next one is due only when the last has been on the air."""
    changes = (
        'topology={kind="radio", discovery="beacon", beacon_every_s=0.01, beacon_bytes=1500}',
        "stop.simulated_s=3.0",
    )
    run = play(peers([(0, 0), (50, 0), (0, 50), (50, 50)], *changes, mac="shared", snr_db=10.0), waits(2.5))
    assert len(run.transport.live) <= 4
    assert run.ledger.on_air_bits > 100 * 12_000
    assert (run.ledger.sent, run.ledger.packets_sent, run.ledger.packets_lost) == (0, 0, 0)
    assert run.topology.neighbors(0) == (1, 2, 3)


def test_a_beacon_makes_a_neighbor_and_takes_its_bits_of_air():
    changes = (
        'topology={kind="radio", discovery="beacon", beacon_every_s=0.5, neighbor_mean_snr_db=3.0, hysteresis_db=0.0}',
        "stop.simulated_s=60.0",
    )
    run = play(peers([(0, 0), (100, 0)], *changes, mac="shared", snr_db=10.0), waits(4.0))
    assert run.topology.neighbors(0) == (1,)
    assert run.topology.membership(0) == (Joined(1),)
    assert run.ledger.on_air_bits == pytest.approx(2 * 8 * 64 * 8, abs=64 * 8)  # 8 periods of 64 bytes each


def test_a_neighbor_that_falls_silent_is_forgotten_after_three_periods():
    radio = SimpleNamespace(update_every_s=1.0, update=lambda time_s: False, neighbors=lambda index: (1 - index,))
    topology = BeaconTopology(radio, 2, beacon_every_s=0.5)  # type: ignore[arg-type]
    topology.heard(0, 1, 10.0)
    assert not topology.update(11.5)
    assert topology.neighbors(0) == (1,)
    assert topology.update(11.6)
    assert (topology.neighbors(0), topology.membership(0)) == ((), (Left(1),))


def test_who_goes_is_forgotten_by_those_who_heard_it_and_not_by_those_whom_it_heard():
    radio = SimpleNamespace(update_every_s=1.0, update=lambda time_s: False, neighbors=lambda index: ())
    topology = BeaconTopology(radio, 3, beacon_every_s=0.5)  # type: ignore[arg-type]
    topology.heard(2, 1, 1.0)  # 2 knows 1, 1 knows 0
    topology.heard(1, 0, 1.0)
    assert topology.known_by(1) == topology.forget(1) == (2,)
    assert [topology.neighbors(i) for i in range(3)] == [(), (0,), ()]


@pytest.mark.parametrize("watched", [(), ("output.sinr=true", "phy.preamble_snr_db=0.0")])
def test_a_beacon_that_nobody_is_near_to_hear_is_sent_all_the_same(watched):
    """On a fading channel, on which fates are drawn; with and without interference among transmissions; where rates are means;
    and where somebody looks at who locks on to what."""
    for interference, correlation in (("none", "block"), ("sinr", "block"), ("sinr", "ergodic")):
        changes = (
            'topology={kind="radio", discovery="beacon", beacon_every_s=0.5, neighbor_mean_snr_db=3.0}',
            f"channel.fading={{kind='rayleigh', correlation='{correlation}'}}",
            f"mac.interference={interference}",
            "stop.simulated_s=3.0",
            *watched,
        )
        run = play(peers([(0, 0), (9000, 0)], *changes, mac="shared", snr_db=10.0), waits(2.0))
        assert run.ledger.on_air_bits == pytest.approx(2 * 4 * 64 * 8, abs=64 * 8)
