"""Who does not lock on at the beginning of an attempt receives nothing of it: every medium, adaptive and fixed rates, broadcasts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from learners.protocol import SERVER, Receive, Send
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    arrivals,
    bits,
    cell,
    coded_bits,
    free_space_db,
    ledger_closes,
    peers,
    play,
    sends,
    waits,
)
from tests.wsim.cellular import cells
from wsim.engine import Run
from wsim.errors import ScenarioError
from wsim.packets import segment
from wsim.scenario import Loaded

HIDDEN = (
    'mac={kind="shared", interference="sinr", sensing_snr_db=50.0}',  # nobody senses anybody
    'topology={kind="radio", neighbor_mean_snr_db=-20.0}',
)
PLACES = [(0.0, 0.0), (100.0, 0.0), (300.0, 50.0), (300.0, 150.0)]
PAYLOAD = 400_000
ONCE = "transport.reliability=none"
BLOCK_S = 0.05
BLOCKS = f'channel.fading={{kind="rayleigh", correlation="block", block_s={BLOCK_S}}}'
NUM = 60


def snr(tx: int, rx: int) -> float:
    """Linear, of what has 10 dB over 100 m."""
    return 10 ** ((10.0 + free_space_db(100.0) - free_space_db(math.dist(PLACES[tx], PLACES[rx]))) / 10)


def late(seconds: float, to: int | tuple[int, ...], num_bits: int, **how: Any) -> Any:
    def program(node: Any) -> Any:
        yield from waits(seconds)(node)
        yield Send(to, "m", 0, bits(num_bits), **how)

    return program


# -- a hidden sender at the beginning ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["adaptive", "fixed", "broadcast"])
@pytest.mark.parametrize("above_db", [-0.01, 0.01])
def test_what_begins_beside_a_hidden_sender_is_lost_as_a_whole(rate: str, above_db: float) -> None:
    """2 -> 3 is on the air when 0 -> 1 begins, and ends before it. The SINR at that instant is a hundredth of a dB above or below the
    preamble's level: all of it arrives, or nothing."""
    sinr = snr(0, 1) / (1 + snr(2, 1))
    hidden = BANDWIDTH_HZ * math.log2(1 + snr(2, 3) / (1 + snr(0, 3)))
    efficiency = 0.5 * math.log2(1 + sinr)  # of the fixed ones: decoded all of the time
    changes = [f"phy.preamble_snr_db={10 * math.log10(sinr) - above_db!r}", ONCE]
    if rate == "fixed":
        changes += ["phy.rate=fixed", f"phy.fixed_efficiency_bps_hz={efficiency!r}"]
    if rate == "broadcast":
        changes.append(f"mac.broadcast_rate_bps={efficiency * BANDWIDTH_HZ!r}")
    how = {"broadcast": True} if rate == "broadcast" else {}
    to: Any = (1,) if rate == "broadcast" else 1
    programs = {0: late(1.0, to, 10 * PAYLOAD, **how), 2: late(0.5, 3, round(2.5 * hidden)), 1: waits(40.0)}
    run = play(peers(PLACES, *HIDDEN, *changes, mac="shared"), programs)
    assert ledger_closes(run)
    arrived = above_db > 0
    assert run.ledger.delivered == 1 + arrived  # 2 -> 3 has locked on in any case
    assert run.ledger.lost["outage"] == 1 - arrived
    assert run.ledger.packets_lost == (0 if arrived else segment(10 * PAYLOAD, 1500, 44).num_packets)


def test_what_begins_before_a_hidden_sender_has_locked_on() -> None:
    level_db = 10 * math.log10(snr(0, 1)) - 1.0  # above what 1 hears of 0 beside 2
    assert snr(0, 1) / (1 + snr(2, 1)) < 10 ** (level_db / 10)
    loaded = peers(PLACES, *HIDDEN, f"phy.preamble_snr_db={level_db!r}", ONCE, mac="shared", snr_db=10.0)
    run = play(loaded, {0: sends(1, 10 * PAYLOAD), 2: late(0.1, 3, PAYLOAD), 1: waits(30.0)})
    assert snr(2, 3) / (1 + snr(0, 3)) < 10 ** (level_db / 10)  # it begins beside 0 -> 1 and is lost
    assert (run.ledger.delivered, run.ledger.lost["outage"]) == (1, 1)
    assert run.ledger.packets_lost == segment(PAYLOAD, 1500, 44).num_packets


def test_receivers_of_a_broadcast_lock_on_each_for_itself() -> None:
    """1 is nearer to 0 and hears it above the hidden sender's noise, 4 does not."""
    places = [*PLACES, (180.0, 0.0)]
    noise = [10 ** (1 - 2 * math.log10(math.dist(places[2], places[i]) / 100)) for i in (1, 4)]
    own = [10 ** (1 - 2 * math.log10(math.dist(places[0], places[i]) / 100)) for i in (1, 4)]
    sinr = [own[i] / (1 + noise[i]) for i in range(2)]
    level_db = 10 * math.log10(math.sqrt(sinr[0] * sinr[1]))
    rate = 0.5 * BANDWIDTH_HZ * math.log2(1 + sinr[1])
    changes = (f"phy.preamble_snr_db={level_db!r}", f"mac.broadcast_rate_bps={rate!r}")
    programs = {0: late(1.0, (1, 4), 10 * PAYLOAD, broadcast=True), 2: late(0.9, 3, 10 * PAYLOAD), 1: waits(60.0)}
    run = play(peers(places, *HIDDEN, *changes, mac="shared"), programs)
    assert ledger_closes(run)
    assert run.ledger.delivered == 2  # to 1, and the hidden sender's
    assert run.ledger.lost["outage"] == 1
    assert run.ledger.packets_lost == segment(10 * PAYLOAD, 1500, 44).num_packets


# -- fading: the block in which an attempt begins -----------------------------------------------------------------------


def sends_at_times(to: int, num_bits: int = 8_000) -> Any:
    """A message at the beginning of every second block; above -11 dB 8,000 bits are through before the next one."""

    def program(node: Any) -> Any:
        for k in range(NUM):
            yield Send(to, "m", k, bits(num_bits))
            yield from waits(2 * BLOCK_S)(node)

    return program


def hears(log: list[int]) -> Any:
    def program(node: Any) -> Any:
        found = yield Receive(None, "m", count=NUM, timeout_s=60.0)
        log.extend(message.round for message in found.messages)

    return program


def world(mac: str, *changes: str) -> tuple[Loaded, int, int]:
    """A world with a sender 0, its receiver (program) and the receiver's node."""
    if mac in ("ideal", "shared"):
        return peers(PLACES[:2], BLOCKS, *changes, mac=mac), 1, 1
    if mac == "cells":
        return (
            cells([(0.0, 0.0), (900.0, 0.0)], [(100.0, 0.0)], BLOCKS, *changes, keys='interference = "sinr"'),
            SERVER,
            1,
        )
    return cell([10.0], BLOCKS, *changes, mac=mac), SERVER, 1


def snr_at(run: Run, rx: int, seconds: np.ndarray) -> np.ndarray:
    """Linear, of 0 -> rx."""
    links = run.world.links
    cell_of = np.rint(seconds * 1e9).astype(int) // links.cell_ns
    return links.cn0(np.array([0]), np.array([rx]), 0, int(cell_of.max()) + 1)[0][cell_of] / BANDWIDTH_HZ


MEDIA = ("ideal", "shared", "fdma", "tdma", "cells")


@pytest.mark.parametrize("rate", ["adaptive", "fixed"])
@pytest.mark.parametrize("mac", MEDIA)
def test_a_message_arrives_if_its_first_block_is_above_the_level(mac: str, rate: str) -> None:
    level_db = 8.0
    changes = [f"phy.preamble_snr_db={level_db}", ONCE]
    if rate == "fixed":
        changes += ["phy.rate=fixed", "phy.fixed_efficiency_bps_hz=0.5"]
    loaded, to, rx = world(mac, *changes)
    heard: list[int] = []
    run = play(loaded, {0: sends_at_times(to, 40_000 if rate == "fixed" else 8_000), to: hears(heard)})
    at_begin, later = snr_at(run, rx, np.arange(2 * NUM) * BLOCK_S).reshape(NUM, 2).T
    carries = (
        np.log2(1 + later) >= 0.5 if rate == "fixed" else at_begin > 0
    )  # of a fixed one 33 ms are in the next block
    expected = np.flatnonzero((at_begin >= 10 ** (level_db / 10)) & carries).tolist()
    assert 10 < len(expected) < NUM - 10
    assert sorted(heard) == expected
    assert run.ledger.lost["outage"] == NUM - len(expected) - run.transport.in_flight
    assert ledger_closes(run)


@pytest.mark.parametrize("mac", MEDIA)
def test_arq_repeats_until_the_receiver_has_locked_on(mac: str) -> None:
    loaded, to, _ = world(mac, "phy.preamble_snr_db=8.0", "transport.max_attempts=100000")
    log: list[tuple[float, int, int]] = []
    run = play(loaded, {0: sends_at_times(to), to: arrivals(log, NUM)})
    assert sorted(k for _, _, k in log) == list(range(NUM))
    assert run.ledger.packets_lost > 10
    assert run.ledger.packets_sent == NUM + run.ledger.packets_lost
    assert ledger_closes(run)


@pytest.mark.parametrize("mac", MEDIA)
def test_a_sender_that_waits_begins_when_its_first_bit_flows(mac: str) -> None:
    """Nothing is sent below 9 dB. With a preamble below that nothing is ever lost; with one at 11 dB what begins in a block between the two
    is."""
    for preamble_db in (9.0, 11.0):
        loaded, to, rx = world(mac, "phy.min_snr_db=9.0", f"phy.preamble_snr_db={preamble_db}", ONCE)
        heard: list[int] = []
        run = play(loaded, {0: sends_at_times(to), to: hears(heard)})
        gains = snr_at(run, rx, np.arange(3 * NUM) * BLOCK_S)
        lost = run.ledger.lost["outage"]
        assert ledger_closes(run)
        if preamble_db == 9.0:
            assert lost == 0
            continue
        first = [next(b for b in range(2 * k, 3 * NUM) if gains[b] >= 10**0.9) for k in range(NUM)]
        certain = [k for k in range(NUM) if first[k] == 2 * k]  # not behind another one, or only in its own block
        assert {k for k in certain if gains[2 * k] >= 10**1.1} <= set(heard)
        assert not {k for k in certain if gains[2 * k] < 10**1.1} & set(heard)
        assert 5 < lost < NUM


# -- the accounts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mac", MEDIA)
@pytest.mark.parametrize("reliability", ["arq", "none", "nack", "fountain"])
@pytest.mark.parametrize("rate", ["adaptive", "fixed"])
def test_the_ledger_closes_whatever_is_missed(mac: str, reliability: str, rate: str) -> None:
    """Messages of several blocks that end up delivered, lost, expired, cut by the end of the run."""
    changes = [
        "phy.preamble_snr_db=9.0",
        f"transport.reliability={reliability}",
        "transport.max_attempts=3",
        "phy.min_snr_db=-5.0",
    ]
    changes += ["transport.expires_s=0.9", f"phy.rate={rate}"] + ["phy.fixed_efficiency_bps_hz=1.5"] * (rate == "fixed")
    loaded, to, _ = world(mac, *changes)

    def program(node: Any) -> Any:
        for k in range(20):
            yield Send(to, "m", k, bits(200_000))
            yield from waits(0.3)(node)

    run = play(loaded, {0: program})
    ledger = run.ledger
    assert ledger_closes(run)
    assert ledger.sent == 20
    assert ledger.lost["outage"] > 0 or reliability in ("arq", "fountain")
    assert ledger.packets_lost > 0
    assert {cause for cause, count in ledger.lost.items() if count} <= {"outage", "deadline"}


def test_a_hand_over_begins_anew_at_the_next_station() -> None:
    """A device walks from the first station to the second. The level is above its SNR at the start, so that what the first station
    had of the attempt is lost, and below the SNR at the hand-over, where the new one is nearer: the rest arrives, and arq repeats the
    first part, the packet that was cut with it."""
    walk = "0, 0.0, 380.0, 30.0, 0.0\n0, 40.0, 900.0, 30.0, 0.0\n"
    moves = ('devices.0.mobility={kind="trace", file="walk.csv"}', 'devices.0.positions_m="none"')
    stations = [(0.0, 0.0), (1000.0, 0.0)]
    payload = 20_000_000

    def snr_db(station: int, x_m: float) -> float:
        return 10.0 - 20 * math.log10(math.hypot(x_m - stations[station][0], 30.0) / 100.0)

    results = []
    for level_db in (-50.0, snr_db(0, 380.0) + 0.05):
        loaded = cells(
            stations,
            [(0.0, 0.0)],
            *moves,
            f"phy.preamble_snr_db={level_db!r}",
            keys='interference = "none", update_every_s = 0.25, hysteresis_db = 6.0',
            referenced={"walk.csv": walk},
        )
        log: list[tuple[float, int, int]] = []
        run = play(loaded, {0: sends(SERVER, payload), SERVER: arrivals(log, 1)})
        assert ledger_closes(run)
        results.append((run, log))
    (_, once), (run, again) = results
    assert run.cells is not None
    assert once[0][0] > 24.0  # two seconds after the hand-over, at 287 m and 13 m/s
    assert run.ledger.packets_lost > 100
    through = run.ledger.packets_lost * 12_000
    cut = run.ledger.on_air_bits - (coded_bits(payload) + 2 * FEEDBACK_BITS + through)
    assert 10 < cut < 12_000  # what the first station had of the packet that was sent anew
    assert again[0][0] > once[0][0]


def test_what_the_first_station_brought_through_stays_through() -> None:
    """Locked on to the first station, 100 m away, and not to the second at the hand-over: lost are the packets that were not through."""
    walk = "0, 0.0, 100.0, 30.0, 0.0\n0, 40.0, 900.0, 30.0, 0.0\n"
    loaded = cells(
        [(0.0, 0.0), (1000.0, 0.0)],
        [(0.0, 0.0)],
        *('devices.0.mobility={kind="trace", file="walk.csv"}', 'devices.0.positions_m="none"'),
        *("phy.preamble_snr_db=6.0", ONCE),
        keys='interference = "none", update_every_s = 0.25, hysteresis_db = 6.0',
        referenced={"walk.csv": walk},
    )
    payload = 60_000_000
    run = play(loaded, {SERVER: sends(0, payload), 0: waits(100.0)})
    assert run.cells is not None
    assert run.cells.num_handovers == 1
    assert run.ledger.lost["outage"] == 1
    assert ledger_closes(run)
    through = int(run.ledger.sent_bits_by_node[1]) // 12_000
    assert through > 1000
    assert run.ledger.packets_lost == segment(payload, 1500, 44).num_packets - through


# -- bad input ----------------------------------------------------------------------------------------------------------


def test_levels_are_in_decibels() -> None:
    with pytest.raises(ScenarioError) as error:
        peers(PLACES, "phy.preamble_snr_db=2000.0")
    says = "[phy] preamble_snr_db = 2000: signal-to-noise ratios are in dB, -60 to 100 (33.0103?)"
    assert str(error.value).endswith(says)


def test_a_link_of_a_fixed_graph_below_the_level_is_refused() -> None:
    """Nothing changes, so nobody there would ever lock on."""
    with pytest.raises(ScenarioError) as error:
        play(peers(PLACES, "phy.preamble_snr_db=6.0"), {})
    assert "[phy] preamble_snr_db is 6.0, and nobody moves" in str(error.value)
    assert str(error.value).endswith("lower preamble_snr_db")


def test_an_ergodic_link_whose_mean_is_below_the_level_is_refused() -> None:
    """Its rate is never zero, and its mean, which preambles go by, never changes: 5 dB here, above min_snr_db or not."""
    ergodic = 'channel.fading={kind="rayleigh", correlation="ergodic"}'
    places = [(0.0, 0.0), (100.0 * math.sqrt(10**0.5), 0.0)]
    play(peers(places, "phy.preamble_snr_db=4.9", "phy.min_snr_db=8.0", ergodic, mac="shared"), {})
    with pytest.raises(ScenarioError) as error:
        play(peers(places, "phy.preamble_snr_db=5.1", "phy.min_snr_db=8.0", ergodic, mac="shared"), {})
    assert "[phy] preamble_snr_db is 5.1, and nobody moves" in str(error.value)


def test_learners_that_wait_for_all_are_refused_where_preambles_may_be_missed() -> None:
    from wsim.scenario.losses import loses_for_good

    def why(*changes: str, broadcast: bool = False) -> str | None:
        return loses_for_good(world("fdma", *changes)[0].scenario, broadcast=broadcast)

    says = "phy.preamble_snr_db = 3 may be missed at the beginning of every attempt"
    assert why("phy.preamble_snr_db=3.0") == says
    assert why("phy.preamble_snr_db=3.0", "phy.min_snr_db=3.0") is None
    blocks = 'channel.fading={kind="rayleigh", correlation="block", block_s=0.05, delay_profile="tdl_a", delay_spread_s=1e-7}'
    assert why("phy.preamble_snr_db=3.0", "phy.min_snr_db=3.0", blocks) == says  # one good block of many begins
    assert why("phy.preamble_snr_db=3.0", "phy.min_snr_db=3.0", broadcast=True) == says
    assert why() is None
    static = cell([10.0], "phy.preamble_snr_db=3.0", mac="fdma").scenario
    assert loses_for_good(static, broadcast=False) is None
