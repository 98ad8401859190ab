"""Devices that hear what they do not exclude: rates by hand, fates of a fixed rate, and the Poisson bipolar network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import gamma

from channels.channel import Channel
from channels.fading import Rayleigh
from channels.link_adaptation import RateMap
from channels.mobility import Positions, Static
from channels.path_loss import LogDistance
from learners.protocol import Receive, Send
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    arrivals,
    bits,
    coded_bits,
    free_space_db,
    ledger_closes,
    peers,
    play,
    sends,
    waits,
)
from wsim.errors import ScenarioError
from wsim.links import Links
from wsim.mac.shared import SharedCarrier
from wsim.mac.shared_interference import SharedInterferenceLog
from wsim.mac.transfer import Transfer

SINR = 'mac={kind="shared", interference="sinr", sensing_snr_db=50.0}'  # nobody senses anybody
PLACES = [(0.0, 0.0), (100.0, 0.0), (300.0, 50.0), (250.0, 250.0)]
PAYLOAD = 4_000_000


def snr(tx: int, rx: int) -> float:
    """Linear, of what has 10 dB over 100 m."""
    return 10 ** ((10.0 + free_space_db(100.0) - free_space_db(math.dist(PLACES[tx], PLACES[rx]))) / 10)


def test_two_pairs_finish_when_the_closed_form_says() -> None:
    """0 -> 1 beside 2 -> 3; when the first ends, the second goes on without interference."""
    logs: dict[int, list[tuple[float, int, int]]] = {1: [], 3: []}
    programs: dict[int, Any] = {0: sends(1, PAYLOAD), 2: sends(3, 3 * PAYLOAD)}
    run = play(peers(PLACES, SINR, mac="shared"), programs | {i: arrivals(logs[i], 1) for i in logs})

    def rate(tx: int, rx: int, other: int | None) -> float:
        noise = 1.0 if other is None else 1.0 + snr(other, rx)
        return BANDWIDTH_HZ * math.log2(1 + snr(tx, rx) / noise)

    first = (coded_bits(PAYLOAD) + FEEDBACK_BITS) / rate(0, 1, 2)
    left = coded_bits(3 * PAYLOAD) + FEEDBACK_BITS - first * rate(2, 3, 0)
    assert left > 0
    assert logs[1][0][0] == pytest.approx(first, rel=1e-9, abs=2e-9)
    assert logs[3][0][0] == pytest.approx(first + left / rate(2, 3, None), rel=1e-9, abs=4e-9)
    assert ledger_closes(run)


def test_who_conflicts_is_not_heard() -> None:
    """0 -> 2, then 2 -> 3: with a common node nothing is on the air at once, so that nothing differs from no interference."""
    times = []
    for change in (SINR, 'mac={kind="shared", sensing_snr_db=50.0}'):
        log: list[tuple[float, int, int]] = []

        def relay(node: Any) -> Any:
            yield Receive((0,), "m", 0)
            yield Send(3, "m", 0, bits(PAYLOAD))

        run = play(peers(PLACES, change, mac="shared"), {0: sends(2, PAYLOAD), 2: relay, 3: arrivals(log, 1)})
        assert ledger_closes(run)
        times.append(log[0][0])
    assert times[0] == times[1]


def test_who_has_half_of_the_air_is_heard_for_half_of_the_time() -> None:
    """0 and 4 send to 1 and share the time; 2 -> 3 hears half of each."""
    places = [*PLACES, (50.0, 80.0)]
    log: list[tuple[float, int, int]] = []
    programs: dict[int, Any] = {0: sends(1, 50 * PAYLOAD), 4: sends(1, 50 * PAYLOAD), 2: sends(3, PAYLOAD)}
    play(peers(places, SINR, mac="shared"), programs | {3: arrivals(log, 1)})
    noise = 1.0 + (snr(0, 3) + 10 ** (1.0 - 2 * math.log10(math.dist(places[4], places[3]) / 100.0))) / 2
    rate = BANDWIDTH_HZ * math.log2(1 + snr(2, 3) / noise)
    assert log[0][0] == pytest.approx((coded_bits(PAYLOAD) + FEEDBACK_BITS) / rate, rel=1e-9, abs=2e-9)


def test_a_broadcast_loses_the_packets_that_a_hidden_sender_covers() -> None:
    """0 broadcasts to 1 at a rate between what 1 decodes with and without 2 on the air; 2 sends for the second second."""
    rate = (math.log2(1 + snr(0, 1)) + math.log2(1 + snr(0, 1) / (1 + snr(2, 1)))) / 2 * BANDWIDTH_HZ
    hidden_s = (coded_bits(PAYLOAD) + FEEDBACK_BITS) / (BANDWIDTH_HZ * math.log2(1 + snr(2, 3) / (1 + snr(0, 3))))

    def late(node: Any) -> Any:
        yield from waits(1.0)(node)
        yield Send(3, "m", 0, bits(PAYLOAD))

    run = play(
        peers(PLACES, SINR, f"mac.broadcast_rate_bps={rate!r}", mac="shared"),
        {0: sends((1,), int(8 * rate), broadcast=True), 1: waits(20.0), 2: late, 3: waits(20.0)},
    )
    assert ledger_closes(run)
    assert 1.0 + hidden_s < 8.0
    per_packet_s = 12_000 / rate
    assert run.ledger.packets_lost == pytest.approx(hidden_s / per_packet_s, abs=2.0)


@pytest.mark.parametrize(("exponent", "seed"), [(4.0, 3), (3.0, 4)])
def test_success_in_a_poisson_bipolar_network_is_the_closed_form(exponent: float, seed: int) -> None:
    """P(SIR > theta) = exp(-lambda pi d^2 theta^(2/a) Gamma(1 + 2/a) Gamma(1 - 2/a)), Baccelli, Blaszczyszyn and Muhlethaler 2006,
    for a receiver at d of its sender and a Poisson field of further senders, Rayleigh fading, no noise.

    400 fields of 150 senders on average, density 1, 30 blocks each; the field ends at 6.9, where what is beyond adds less than
    0.2 % (a = 4) or 3 % (a = 3) of the wanted mean power. Tolerance: four standard errors over the fields, and half of that share.
    """
    rng = np.random.default_rng(seed)
    distance, thetas, num_blocks = 0.3, np.array([0.5, 2.0]), 30
    decoded = []
    for field in range(400):
        n = rng.poisson(150)
        radius, angle = np.sqrt(rng.random(n) * 150 / math.pi), 2 * math.pi * rng.random(n)
        places = [(0.0, 0.0), (distance, 0.0), *zip((radius * np.cos(angle)), (radius * np.sin(angle)), strict=True)]
        positions = Positions([Static((float(x), float(y), 0.0)) for x, y in places])
        path_loss = LogDistance(exponent=exponent, reference_loss_db=0.0, reference_distance_m=1e-4)
        fading = Rayleigh(correlation="block", block_s=1.0)
        nodes = n + 2
        channel = Channel(positions, 1e9, path_loss, None, fading, [0.0] * nodes, [1] * nodes, field)
        one = np.ones(nodes)
        links = Links(channel, positions, RateMap(0.0, 100.0, -60.0, 0.0), one, one * 1e-30, one, None)
        sharing = SharedCarrier(1.0, nodes, lambda tx: np.empty(0, dtype=np.int64), [0] * nodes, False, True)
        # every sender has a listener of its own far away, so that nobody conflicts: they are nobody's in particular here
        transfers = [Transfer(None, 1, (0,), 1, 1.0)]  # type: ignore[arg-type]
        transfers += [Transfer(None, 2 + i, (2 + i,), 1, 1.0) for i in range(n)]  # type: ignore[arg-type]
        for transfer in transfers:
            sharing.admit(transfer)
        assert (sharing.allot(n + 1).time_share == 1.0).all()
        log = SharedInterferenceLog(links, sharing, 1.0)
        log.note(0, transfers)
        starts = np.arange(num_blocks) * 1e9
        sir = links.cn0(np.array([1]), np.array([0]), 0, num_blocks) / log.noise_rise(transfers[0], starts)
        decoded.append((sir[0][:, None] > thetas).mean(axis=0))
    found, error = np.mean(decoded, axis=0), np.std(decoded, axis=0) / math.sqrt(len(decoded))
    k = 2 / exponent
    expected = np.exp(-math.pi * distance**2 * thetas**k * gamma(1 + k) * gamma(1 - k))
    beyond = 0.001 if exponent == 4.0 else 0.015
    assert (np.abs(found - expected) < 4 * error + beyond).all()
    assert error.max() < 0.02


def test_interference_and_orthogonal_links_exclude_each_other() -> None:
    with pytest.raises(ScenarioError) as error:
        peers(PLACES, 'mac={kind="shared", interference="sinr", orthogonal_links=true}', mac="shared")
    assert "[mac] interference" in str(error.value)


# -- capture: several senders, one receiver ------------------------------------------------------------------------------

CAPTURE = 'mac={kind="shared", interference="sinr", sensing_snr_db=50.0, capture=true}'
RECEIVER, NEAR, FAR = 0, 1, 2
TO_ONE = [(0.0, 0.0), (60.0, 0.0), (-150.0, 0.0)]  # the senders at both sides of the receiver


def to_receiver(tx: int, other: int | None = None) -> float:
    """SINR at the receiver, linear."""
    own, noise = (10 ** (1.0 - 2 * math.log10(math.dist(TO_ONE[i], TO_ONE[0]) / 100.0)) for i in (tx, other or tx))
    return own / (1.0 if other is None else 1.0 + noise)


def later(seconds: float, to: Any, num_bits: int, **how: Any) -> Any:
    def program(node: Any) -> Any:
        yield from waits(seconds)(node)
        yield Send(to, "m", 0, bits(num_bits), **how)

    return program


def late_end(to: int) -> Any:
    def program(node: Any) -> Any:
        yield Send(to, "m", 0, bits(PAYLOAD))
        yield from waits(1.0)(node)

    return program


def test_two_hidden_senders_to_one_receiver_both_follow_their_sinr() -> None:
    """The far one begins midway. Each has the rate of its SINR beside the other, until one is through: to the nanosecond."""
    log: list[tuple[float, int, int]] = []
    programs: dict[int, Any] = {NEAR: sends(RECEIVER, 4 * PAYLOAD), FAR: later(1.0, RECEIVER, PAYLOAD)}
    run = play(peers(TO_ONE, CAPTURE, mac="shared"), programs | {RECEIVER: arrivals(log, 2)})

    def rate(tx: int, other: int | None) -> float:
        return BANDWIDTH_HZ * math.log2(1 + to_receiver(tx, other))

    left = coded_bits(4 * PAYLOAD) + FEEDBACK_BITS - rate(NEAR, None)
    near_s = 1.0 + left / rate(NEAR, FAR)
    far_left = coded_bits(PAYLOAD) + FEEDBACK_BITS - (near_s - 1.0) * rate(FAR, NEAR)
    assert far_left > 0
    expected = {NEAR: near_s, FAR: near_s + far_left / rate(FAR, None)}
    assert {sender: time for time, sender, _ in log} == pytest.approx(expected, abs=3e-9)
    assert ledger_closes(run)
    receiving = run.radios.state_ns[1, RECEIVER] / 1e9
    assert receiving == pytest.approx(max(expected.values()), abs=1e-8)  # one radio: overlaps count once


def test_without_capture_they_take_turns() -> None:
    """The receiver is in both: they share the time, and nobody is heard."""
    log: list[tuple[float, int, int]] = []
    programs: dict[int, Any] = {i: sends(RECEIVER, PAYLOAD) for i in (NEAR, FAR)}
    play(peers(TO_ONE, SINR, mac="shared"), programs | {RECEIVER: arrivals(log, 2)})
    first = 2 * (coded_bits(PAYLOAD) + FEEDBACK_BITS) / (BANDWIDTH_HZ * math.log2(1 + to_receiver(NEAR)))
    assert log[0][:2] == (pytest.approx(first, abs=2e-9), NEAR)


@pytest.mark.parametrize("theta_db", [3.0, 10.0])
def test_the_stronger_is_captured_and_to_the_packet_what_the_weaker_covers(theta_db: float) -> None:
    """Both send at one fixed rate, which needs an SINR of theta. The near one has 7 dB beside the far one: above 3 dB it loses nothing, below
    10 dB exactly the packets that are on the air, if only for a nanosecond, between the begin and the end of the far one. The far
    one loses what is beside the near one in both."""
    efficiency = math.log2(1 + 10 ** (theta_db / 10))
    assert 10 * math.log10(to_receiver(NEAR, FAR)) == pytest.approx(7.1, abs=0.1)
    packet_s = 12_000 / (BANDWIDTH_HZ * efficiency)
    begin_s = 1.0 + 0.3 * packet_s
    loaded = peers(
        TO_ONE,
        CAPTURE,
        *("phy.rate=fixed", f"phy.fixed_efficiency_bps_hz={efficiency!r}"),
        *("transport.reliability=none", "transport.header_bytes=0"),
        mac="shared",
    )
    num_near, num_far = math.ceil(3.0 / packet_s), 10
    programs: dict[int, Any] = {
        NEAR: sends(RECEIVER, 12_000 * num_near),
        FAR: later(begin_s, RECEIVER, 12_000 * num_far),
        RECEIVER: waits(10.0),
    }
    run = play(loaded, programs)
    end_s = begin_s + num_far * packet_s
    covered = math.ceil(end_s / packet_s - 1e-9) - math.floor(begin_s / packet_s + 1e-9)
    far_alone_decodes = 10 ** (theta_db / 10) <= to_receiver(FAR)
    assert far_alone_decodes == (theta_db == 3.0)
    assert run.ledger.packets_lost == num_far + (covered if theta_db == 10.0 else 0)
    assert ledger_closes(run)


def test_who_senses_the_other_waits_and_half_duplex_holds() -> None:
    """Senders that hear each other share the time also with capture; so do 1 -> 0 and 0 -> 2, with 0 at both."""
    for sensing_db, programs in (
        (0.0, {NEAR: sends(RECEIVER, PAYLOAD), FAR: late_end(RECEIVER)}),
        (50.0, {NEAR: sends(RECEIVER, PAYLOAD), RECEIVER: late_end(FAR)}),
    ):
        shares: list[float] = []

        def watch(run: Any, shares: list[float] = shares) -> None:
            allot = run.media.sharing.allot

            def allotting(num_active: int) -> Any:
                found = allot(num_active)
                shares.extend(np.atleast_1d(found.time_share).tolist())
                return found

            run.media.sharing.allot = allotting

        change = CAPTURE.replace("50.0", str(sensing_db))
        run = play(peers(TO_ONE, change, mac="shared"), programs, hook=watch)
        assert shares[:2] == [0.5, 0.5]
        assert ledger_closes(run)


def test_capture_needs_interference() -> None:
    with pytest.raises(ScenarioError) as error:
        peers(TO_ONE, 'mac={kind="shared", capture=true}', mac="shared")
    assert '[mac] capture = true: what overlaps is received as its SINR allows; interference = "sinr" too' in str(
        error.value
    )
