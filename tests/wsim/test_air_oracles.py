"""How long a transfer takes, alone and among others: closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterable

import networkx as nx
import numpy as np
import pytest

from learners.protocol import SERVER, Actuate, Outcome, Payload, Receive, Send, Sleep
from tests.wsim.builders import (
    AMPLIFIER,
    BANDWIDTH_HZ,
    CIRCUIT_W,
    FEEDBACK_BITS,
    arrivals,
    bits,
    cell,
    coded_bits,
    peers,
    play,
    power_dbm,
    rate_bps,
    sends,
    waits,
)
from wsim.mac.shared import max_min_shares

NS = 1e-9
BITS = 100_000
NO_FEEDBACK = "transport.reliability=none"
MACS = ("ideal", "fdma", "tdma", "shared")


def one_link(mac: str, snr_db: float, *changes: str):
    if mac == "shared":
        return peers([(0, 0), (100, 0)], *changes, mac=mac, snr_db=snr_db), 1
    return cell([snr_db], *changes, mac=mac), SERVER


def upload_times(mac: str, snr_db: Iterable[float], *changes: str, payload_bits: Iterable[int] = ()) -> list[float]:
    """When the upload of each device is through."""
    log: list[tuple[float, int, int]] = []
    loaded = cell(list(snr_db), NO_FEEDBACK, *changes, mac=mac)
    devices = range(loaded.scenario.num_devices)
    sizes = list(payload_bits) or [BITS] * len(devices)
    play(loaded, {SERVER: arrivals(log, len(devices)), **{i: sends(SERVER, sizes[i]) for i in devices}})
    return [time for time, _, _ in sorted(log, key=lambda entry: entry[1])]


@pytest.mark.parametrize("mac", MACS)
@pytest.mark.parametrize("snr_db", [-7.0, 0.0, 13.0])
@pytest.mark.parametrize("payload_bits", [0, 8, 11_648, 11_656, 100_000])
def test_transfer_over_constant_link_takes_bits_over_rate(mac, snr_db, payload_bits):
    loaded, to = one_link(mac, snr_db, NO_FEEDBACK)
    log: list[tuple[float, int, int]] = []
    run = play(loaded, {0: sends(to, payload_bits), to: arrivals(log, 1)})
    assert log[0][0] == pytest.approx(coded_bits(payload_bits) / rate_bps(snr_db), abs=1.001 * NS, rel=1e-12)
    assert run.ledger.coded_bits == run.ledger.on_air_bits == coded_bits(payload_bits)


@pytest.mark.parametrize("mac", MACS)
def test_acknowledgement_costs_air_and_time(mac):
    loaded, to = one_link(mac, 5.0)
    log: list[tuple[float, int, int]] = []
    run = play(loaded, {0: sends(to, BITS), to: arrivals(log, 1)})
    on_air = coded_bits(BITS) + FEEDBACK_BITS
    assert log[0][0] == pytest.approx(on_air / rate_bps(5.0), abs=1.001 * NS)
    assert run.ledger.on_air_bits == on_air


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 10.0])
def test_two_equal_fdma_uplinks_take_as_long_as_their_power_allows(snr_db):
    snr = 10 ** (snr_db / 10)
    factor = 2 * math.log2(1 + snr) / math.log2(1 + 2 * snr)
    alone, both = upload_times("fdma", [snr_db])[0], upload_times("fdma", [snr_db] * 2)
    assert both == pytest.approx([alone * factor] * 2, abs=2 * NS)
    if snr_db == 0.0:
        assert factor == pytest.approx(1.2619, abs=5e-5)


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
def test_two_downlinks_of_constant_power_density_take_twice_as_long(mac):
    def times(num_devices: int) -> list[float]:
        log: list[tuple[float, int, int]] = []
        everyone = range(num_devices)
        programs = {SERVER: sends(list(everyone), BITS), **{i: arrivals(log, 1) for i in everyone}}
        play(cell([0.0] * num_devices, NO_FEEDBACK, mac=mac, server_snr_db=4.0), programs)
        return [time for time, _, _ in log]

    assert times(2) == pytest.approx([2 * times(1)[0]] * 2, abs=2 * NS)


def test_two_tdma_uplinks_take_twice_as_long():
    assert upload_times("tdma", [0.0] * 2) == pytest.approx([2 * upload_times("tdma", [0.0])[0]] * 2, abs=2 * NS)


def test_ideal_links_do_not_share():
    assert upload_times("ideal", [0.0] * 3) == upload_times("ideal", [0.0]) * 3


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
def test_sharing_ends_when_a_transfer_ends(mac):
    """The short one shares its whole life; the long one has the carrier to itself for what is left."""
    short, long = coded_bits(50_000), coded_bits(200_000)
    both = {"fdma": rate_bps(10 * math.log10(2), 0.5), "tdma": rate_bps(0.0) / 2}[mac]
    first = short / both
    expected = [first, first + (long - first * both) / rate_bps(0.0)]
    assert upload_times(mac, [0.0, 0.0], payload_bits=[50_000, 200_000]) == pytest.approx(expected, abs=3 * NS)


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
@pytest.mark.parametrize(
    ("pattern", "up", "down"), [("DDDSU", (1 + 2 / 14) / 5, (3 + 10 / 14) / 5), ("DU", 0.5, 0.5), ("DDDU", 0.25, 0.75)]
)
def test_tdd_takes_one_over_its_share_of_the_time(mac, pattern, up, down):
    for share, sender, receiver in ((up, 0, SERVER), (down, SERVER, 0)):
        log: list[tuple[float, int, int]] = []
        tdd = ("phy.duplex=tdd", f"phy.tdd_pattern={pattern}")
        loaded = cell([3.0], NO_FEEDBACK, *tdd, mac=mac, server_snr_db=3.0)
        run = play(loaded, {sender: sends(receiver, BITS), receiver: arrivals(log, 1)})
        alone_s = coded_bits(BITS) / rate_bps(3.0)
        assert log[0][0] == pytest.approx(alone_s / share, abs=2 * NS)
        assert run.ledger.airtime_ns * NS == pytest.approx(alone_s, abs=2 * NS)


def test_lower_power_takes_longer_and_draws_less():
    """Half the power: rate of SNR 1/2 instead of 1, and P / (2 eta) + circuit watts on the air."""

    def program(node):
        yield Actuate("power", power_dbm(0.0) - 10 * math.log10(2))
        yield from sends(SERVER, BITS)(node)

    log: list[tuple[float, int, int]] = []
    run = play(cell([0.0], NO_FEEDBACK, mac="fdma"), {0: program, SERVER: arrivals(log, 1)})
    seconds = coded_bits(BITS) / (BANDWIDTH_HZ * math.log2(1.5))
    assert log[0][0] == pytest.approx(seconds, abs=2 * NS)
    watts = 10 ** (power_dbm(0.0) / 10) / 1e3 / 2 / AMPLIFIER + CIRCUIT_W
    assert run.record().energy_by_use()["transmit"] == pytest.approx(watts * seconds, rel=1e-7)


@pytest.mark.parametrize(
    "fading", [(), ('channel.fading={kind="rayleigh", block_s=0.02}',)], ids=["constant", "fading"]
)
@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
def test_a_power_set_in_mid_transfer_holds_from_then_on(mac, fading):
    """10 dB less after 50 ms: bits, joules and time follow the two rates; cut off later, the same holds for the bits so far."""

    def program(node):
        yield from sends(SERVER, BITS)(node)
        yield Sleep(0.05)
        yield Actuate("power", power_dbm(3.0) - 10)
        yield Sleep(0.07 if cut else 10.0)

    for cut in (True, False):
        log: list[tuple[float, int, int]] = []
        receiver = {} if cut else {SERVER: arrivals(log, 1)}
        run = play(cell([3.0], NO_FEEDBACK, *fading, mac=mac), {0: program} | receiver)
        end_s = 0.12 if cut else log[0][0]
        edges = np.unique(np.minimum(np.append(np.arange(0, 200) * 0.01, end_s), end_s))
        gain = run.world.links.channel.exact_gain(np.array([0]), np.array([1]), (edges[1:] + edges[:-1]) / 2)[0]
        watts = np.where(edges[:-1] < 0.05 - NS, 1.0, 0.1) * 10 ** (power_dbm(3.0) / 10) / 1e3
        snr = gain * watts / run.world.links.noise_w_per_hz[1] / BANDWIDTH_HZ
        drained = BANDWIDTH_HZ * np.log2(1 + snr) @ np.diff(edges)
        assert run.ledger.on_air_bits == pytest.approx(drained, abs=1)
        assert run.ledger.on_air_bits == coded_bits(BITS) or cut
        joules = (watts / AMPLIFIER + CIRCUIT_W) @ np.diff(edges)
        assert run.record().energy_by_use()["transmit"] == pytest.approx(joules, rel=1e-6)


@pytest.mark.parametrize("mac", ["fdma", "tdma", "ideal"])
def test_latency_adds_to_every_delivery(mac):
    log: list[tuple[float, int, int]] = []
    play(cell([0.0], NO_FEEDBACK, "mac.latency_s=0.25", mac=mac), {0: sends(SERVER, BITS), SERVER: arrivals(log, 1)})
    assert log[0][0] == pytest.approx(coded_bits(BITS) / rate_bps(0.0) + 0.25, abs=1.001 * NS)


@pytest.mark.parametrize("mac", MACS)
def test_what_arrives_at_the_deadline_instant_counts(mac):
    loaded, to = one_link(mac, 1.7)
    log: list[tuple[float, int, int]] = []
    play(loaded, {0: sends(to, BITS), to: arrivals(log, 1)})

    def got(timeout_s: float) -> int:
        counts: list[int] = []

        def receiver(node):
            counts.append(len((yield Receive([0], "m", 0, timeout_s=timeout_s)).messages))

        play(loaded, {0: sends(to, BITS), to: receiver})
        return counts[0]

    assert got(log[0][0]) == 1
    assert got(log[0][0] - NS) == 0


# -- one carrier between devices ---------------------------------------------------------------------------------------


def shares_of(graph: nx.Graph) -> np.ndarray:
    return max_min_shares(nx.to_numpy_array(graph, dtype=bool) | np.eye(len(graph), dtype=bool))


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (nx.complete_graph(5), [1 / 5] * 5),
        (nx.disjoint_union(nx.complete_graph(2), nx.complete_graph(4)), [1 / 2] * 2 + [1 / 4] * 4),
        (nx.empty_graph(3), [1.0] * 3),
        (nx.star_graph(4), [1 / 5] * 5),
        (nx.path_graph(3), [1 / 3] * 3),
        (nx.path_graph(4), [1 / 3] * 4),
        (nx.cycle_graph(5), [1 / 3] * 5),  # 2/5 each would be possible: the bound suffices, it is not necessary
        (nx.lollipop_graph(5, 2), [1 / 6] * 6 + [2 / 3]),  # the node behind the clique's neighbor takes what is left
    ],
)
def test_max_min_shares_by_hand(graph, expected):
    assert shares_of(graph) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_max_min_shares_are_the_progressive_filling_of_a_random_graph(seed):
    """Against a twin that raises all shares in steps of 1/4000, and by the property that defines max-min fairness: every
    transmission has a full neighborhood in which nobody has more than it."""
    graph = nx.gnp_random_graph(9, 0.15 + 0.05 * seed, seed=seed)
    conflicts = nx.to_numpy_array(graph) + np.eye(9)
    shares = shares_of(graph)
    step, slow, rising = 1 / 4000, np.zeros(9), np.ones(9, dtype=bool)
    while rising.any():
        slow[rising] += step
        rising &= ~conflicts[conflicts @ slow > 1.0].any(axis=0)
    assert shares == pytest.approx(slow, abs=9 * step)
    used = conflicts @ shares
    assert used.max() <= 1 + 1e-9
    for i in range(9):
        full = [j for j in range(9) if conflicts[i, j] and used[j] > 1 - 1e-9]
        assert any(shares[i] >= shares[conflicts[j] > 0].max() - 1e-9 for j in full)


def pairs_around(places: Iterable[tuple[float, float]], radius_m: float) -> list[tuple[float, float]]:
    """Sender and receiver next to each other at every place."""
    return [(x * radius_m + dx, y * radius_m) for x, y in places for dx in (0.0, 1.0)]


def air_times(loaded, pairs: int) -> list[float]:
    log: list[tuple[float, int, int]] = []
    programs = {2 * i: sends(2 * i + 1, BITS) for i in range(pairs)}
    play(loaded, programs | {2 * i + 1: arrivals(log, 1) for i in range(pairs)})
    return [time for time, _, _ in sorted(log, key=lambda entry: entry[1])]


POLYGON = [(math.cos(2 * math.pi * k / 5), math.sin(2 * math.pi * k / 5)) for k in range(5)]


def test_transmissions_within_sensing_range_share_and_others_do_not():
    """Sensing reaches 100 m (0 dB there). Five pairs on a pentagon of 118 m sides, 80 m sides (its diagonals are 129 m),
    and all within 50 m: one over 1, 3, 5 of the time."""
    shared = [NO_FEEDBACK, "mac.sensing_snr_db=0.0"]
    times = [
        air_times(peers(pairs_around(POLYGON, radius), *shared, mac="shared", snr_db=0.0), 5)
        for radius in (100.0, 68.0, 25.0)
    ]
    alone = times[0][0]
    for got, factor in zip(times, (1, 3, 5), strict=True):
        assert got == pytest.approx([factor * alone] * 5, abs=6 * NS)


@pytest.mark.parametrize(("channels", "factor"), [(1, 2), (2, 1)])
def test_transmissions_on_different_channels_do_not_conflict(channels, factor):
    def program(to: int):
        def run(node):
            yield Actuate("channel", (to // 2) % channels)
            yield from sends(to, BITS)(node)

        return run

    def tuned(node):
        yield Actuate("channel", (node.id // 2) % channels)
        yield from arrivals(log, 1)(node)

    log: list[tuple[float, int, int]] = []
    loaded = peers([(0, 0), (10, 0), (0, 5), (10, 5)], NO_FEEDBACK, f"mac.channels={channels}", mac="shared")
    play(loaded, {0: program(1), 2: program(3), 1: tuned, 3: tuned})
    alone = coded_bits(BITS) / rate_bps(30.0)  # ten times nearer than 100 m
    assert [time for time, _, _ in log] == pytest.approx([factor * alone] * 2, abs=2 * NS)


def test_who_is_tuned_to_another_channel_hears_nothing():
    def program(node):
        yield Actuate("channel", 1)
        yield Send(1, "m", 0, bits(BITS))
        yield Sleep(1.0)

    changes = ("mac.channels=2", "transport.max_attempts=2")
    run = play(peers([(0, 0), (10, 0)], *changes, mac="shared"), {0: program, 1: waits(1.0)})
    assert (run.ledger.lost["channel"], run.ledger.delivered) == (1, 0)
    assert run.ledger.on_air_bits == 2 * (coded_bits(BITS) + FEEDBACK_BITS)


def test_orthogonal_links_share_nothing_but_their_nodes():
    changes = [NO_FEEDBACK, "mac.orthogonal_links=true"]
    loaded = peers(pairs_around(POLYGON, 25.0), *changes, mac="shared", snr_db=0.0)
    separate = air_times(loaded, 5)
    assert separate == pytest.approx([coded_bits(BITS) / rate_bps(40.0)] * 5, abs=2 * NS)


def test_a_relay_sends_and_receives_in_turns():
    """0 -> 1 and 1 -> 2 at once, out of each other's hearing: node 1 is in both, so each gets half of the time."""
    log: list[tuple[float, int, int]] = []

    def relay(node):
        yield Send(2, "m", 0, Payload(None, BITS))
        yield from arrivals(log, 1)(node)

    loaded = peers([(0, 0), (100, 0), (200, 0)], NO_FEEDBACK, mac="shared", snr_db=0.0)
    run = play(loaded, {0: sends(1, BITS), 1: relay, 2: arrivals(log, 1)})
    twice = 2 * coded_bits(BITS) / rate_bps(0.0)
    assert [time for time, _, _ in log] == pytest.approx([twice] * 2, abs=2 * NS)
    seconds = run.record().radio_s[1]
    assert seconds[:3] == pytest.approx([twice / 2, twice / 2, 0.0], abs=2 * NS)


def test_outcome_arrives_with_the_feedback():
    times: list[tuple[str, float]] = []

    def program(node):
        ticket = yield Send(SERVER, "m", 0, Payload(None, BITS))
        times.append((yield Outcome(ticket)))

    run = play(cell([0.0], mac="fdma"), {0: program})
    assert times == ["delivered"]
    assert run.clock.now_s == pytest.approx((coded_bits(BITS) + FEEDBACK_BITS) / rate_bps(0.0), abs=2 * NS)
