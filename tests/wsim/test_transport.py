"""What becomes of messages: packets, attempts, feedback, parts, expiry, broadcasts, analog sends.

Counts over n independent trials of probability p are compared within 4 standard errors, 4 sqrt(p (1 - p) / n).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from learners.compression.float32 import Float32
from learners.protocol import SERVER, Outcome, Payload, Receive, Send, Sleep
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    HEADER_BITS,
    MTU_BITS,
    ROOM_BITS,
    arrivals,
    cell,
    coded_bits,
    ledger_closes,
    peers,
    play,
    rate_bps,
    sends,
    waits,
)
from wsim.engine import Run
from wsim.errors import SimulationError
from wsim.packets import ForcedLoss

NS = 1e-9
P = 0.3


def forced(rate: float, unit: str = "packet", burst: float = 1.0) -> str:
    return f'channel.forced_loss={{unit="{unit}", rate={rate}, mean_burst_packets={burst}}}'


def model(num_packets: float) -> Payload:
    """A float32 vector that fills this many packets."""
    num_values = int(num_packets * ROOM_BITS / 32)
    return Payload(torch.zeros(num_values), 32 * num_values, Float32(), num_values)


def flood(count: int, payload: Payload, *changes: str) -> Run:
    """One device sends `count` messages to the server, all at once on a medium without waiting."""

    def program(node):
        for k in range(count):
            yield Send(SERVER, "m", k, payload)
        yield Sleep(100.0)

    return play(cell([20.0], *changes), {0: program})


def four_errors(p: float, n: int) -> float:
    return 4 * math.sqrt(p * (1 - p) / n)


# -- packets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_packets", [1, 3, 7])
def test_a_whole_message_survives_with_the_probability_that_all_its_packets_do(num_packets):
    run = flood(2000, model(num_packets), "transport.reliability=none", forced(0.1))
    expected = 0.9**num_packets
    assert run.ledger.delivered / 2000 == pytest.approx(expected, abs=four_errors(expected, 2000))
    assert run.ledger.packets_lost / (2000 * num_packets) == pytest.approx(
        0.1, abs=four_errors(0.1, 2000 * num_packets)
    )
    assert run.ledger.lost["forced"] == 2000 - run.ledger.delivered


def test_forced_loss_of_messages_does_not_depend_on_their_length():
    run = flood(2000, model(20), "transport.reliability=none", forced(P, "message"))
    assert run.ledger.lost["forced"] / 2000 == pytest.approx(P, abs=four_errors(P, 2000))
    assert run.ledger.packets_lost == 20 * run.ledger.lost["forced"]


def test_bursts_lose_fewer_messages_than_independent_losses():
    """P(none of n packets lost) of the two-state chain: (1 - p) (1 - 1 / mean run of good ones)^(n - 1)."""
    p, burst, n = 0.1, 5.0, 10
    run = flood(2000, model(n), "transport.reliability=none", forced(p, burst=burst))
    expected = (1 - p) * (1 - p / (burst * (1 - p))) ** (n - 1)
    assert expected > 2 * 0.9**n
    assert run.ledger.delivered / 2000 == pytest.approx(expected, abs=four_errors(expected, 2000))


# -- reliability -------------------------------------------------------------------------------------------------------


def test_arq_repeats_until_everything_has_arrived():
    """Attempts of a packet are geometric: mean 1 / (1 - p), variance p / (1 - p)^2; a feedback an attempt."""
    count = 2000
    run = flood(count, model(1), forced(P))
    attempts = run.ledger.on_air_bits / (MTU_BITS + FEEDBACK_BITS)
    assert attempts == int(attempts) == count + run.ledger.packets_lost
    assert attempts / count == pytest.approx(1 / (1 - P), abs=4 * math.sqrt(P) / (1 - P) / math.sqrt(count))
    assert run.ledger.delivered == count
    assert run.ledger.coded_bits == count * MTU_BITS


def test_arq_sends_only_what_is_missing_again():
    """Every one of 400 x 10 packets is sent until it arrives: 1 / (1 - p) times on the average, whatever the message."""
    run = flood(400, model(10), forced(P), "transport.feedback_bytes=0")
    copies = run.ledger.on_air_bits / MTU_BITS / 4000
    assert copies == pytest.approx(1 / (1 - P), abs=4 * math.sqrt(P) / (1 - P) / math.sqrt(4000))
    assert run.ledger.delivered == 400


def test_arq_gives_up_after_its_attempts():
    """Three attempts: a message is lost with p^3."""
    run = flood(2000, model(1), forced(0.5), "transport.max_attempts=3")
    assert run.ledger.lost["forced"] / 2000 == pytest.approx(1 / 8, abs=four_errors(1 / 8, 2000))


def test_fountain_needs_as_many_packets_as_the_message_has():
    """Packets sent until n have arrived: negative binomial, mean n / (1 - p), variance n p / (1 - p)^2; one feedback."""
    count, n = 400, 10
    run = flood(count, model(n), forced(P), "transport.reliability=fountain")
    sent = (run.ledger.on_air_bits - count * FEEDBACK_BITS) / MTU_BITS
    assert sent / count == pytest.approx(n / (1 - P), abs=4 * math.sqrt(n * P) / (1 - P) / math.sqrt(count))
    assert run.ledger.delivered == count


def test_nack_repeats_only_where_something_arrived():
    """Who got no packet at all cannot complain: of two packets both are lost with p^2, then nothing is repeated."""
    run = flood(2000, model(2), forced(P), "transport.reliability=nack")
    assert run.ledger.lost["forced"] / 2000 == pytest.approx(P**2, abs=four_errors(P**2, 2000))
    assert run.ledger.delivered == 2000 - run.ledger.lost["forced"]


def test_nack_costs_a_feedback_for_every_complaint():
    """Audience of two, messages of two packets. The feedback on the air is that of receivers that miss something and hold something."""
    complaints = 0

    def hook(run: Run) -> None:
        decide = run.transport.attempts.decide

        def counting(flight: Any) -> None:
            nonlocal complaints
            if flight.attempts < 100:
                complaints += sum(row.any() and not row.all() for row in flight.arrived)
            decide(flight)

        run.transport.attempts.decide = counting

    def program(node):
        for k in range(300):
            yield Send([1, 2], "m", k, model(2), broadcast=True)
        yield Sleep(100.0)

    loaded = peers([(0, 0), (10, 0), (0, 10)], "transport.reliability=nack", forced(P))
    run = play(loaded, {0: program}, hook=hook)
    assert complaints > 100
    assert run.ledger.on_air_bits % MTU_BITS == complaints * FEEDBACK_BITS % MTU_BITS
    assert run.ledger.delivered < 600


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["transport.reliability=arq"], "delivered"),
        (["transport.reliability=fountain"], "delivered"),
        (["transport.reliability=none"], "unknown"),
        (["transport.reliability=nack"], "unknown"),
        (["transport.reliability=arq", "transport.max_attempts=2", forced(0.99, burst=99.0)], "lost"),
    ],
)
def test_outcome_is_known_only_where_there_is_feedback(changes, expected):
    seen: list[tuple[str, str]] = []

    def program(node):
        ticket = yield Send(SERVER, "m", 0, model(3))
        first = yield Outcome(ticket)
        ticket = yield Send(SERVER, "m", 1, model(3))
        yield Sleep(10.0)
        seen.append((first, (yield Outcome(ticket))))

    play(cell([20.0], *changes), {0: program})
    assert seen == [(expected, expected)]


# -- parts and expiry --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "burst"), [("packet", 1.0), ("packet", 3.0)])
def test_partial_use_masks_exactly_the_coordinates_of_lost_packets(unit, burst):
    """The losses are drawn again from the named stream; a packet carries 364 values, the last one the rest."""
    count, masks = 40, {}

    def receiver(node):
        while True:
            message = (yield Receive(None, "m", count=1, timeout_s=5.0)).messages
            if not message:
                return
            masks[message[0].round] = message[0].mask

    def program(node):
        for k in range(count):
            yield Send(SERVER, "m", k, model(4.5))

    loaded = cell([20.0], "transport.reliability=none", "transport.partial=use", forced(0.4, unit, burst))
    run = play(loaded, {0: program, SERVER: receiver})
    rng, law = run.streams("forced_loss", 0, 1), ForcedLoss(unit, 0.4, burst)
    whole = lost = 0
    for k in range(count):
        packet_lost = law.draw(rng, 5)
        if packet_lost.all():
            lost += 1
            assert k not in masks
        elif not packet_lost.any():
            whole += 1
            assert masks[k] is None
        else:
            expected = np.repeat(~packet_lost, [364, 364, 364, 364, 182])
            assert np.array_equal(masks[k].numpy(), expected)
    assert run.ledger.lost["forced"] == lost
    assert 0 < whole < count
    assert ledger_closes(run)


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
@pytest.mark.parametrize("reliability", ["none", "arq"])
def test_expiry_drops_what_is_queued_and_on_the_air(mac, reliability):
    """0.1 s at 1 Mbit/s for messages of 6 packets of 12 ms: cut short after 8 packets' worth on a queue, after 8.3 of each on
    ideal links (which need none). The bits that were on the air are booked, the messages are lost to the deadline."""
    lifetime_s = 0.05
    loaded = cell([0.0], f"transport.reliability={reliability}", f"transport.expires_s={lifetime_s}", mac=mac)
    run = play(loaded, {0: sends(SERVER, 6 * ROOM_BITS, count=3), SERVER: waits(1.0)})
    on_the_air = 3 if mac == "ideal" else 1
    assert run.ledger.lost["deadline"] == run.ledger.sent == 3
    assert run.ledger.on_air_bits == pytest.approx(on_the_air * lifetime_s * rate_bps(0.0), abs=2)
    assert run.record().radio_s[0, 0] == pytest.approx(lifetime_s, abs=2 * NS)
    assert ledger_closes(run)


def test_packets_that_were_through_stay_through_under_partial_use():
    """The first message is cut short after 4.17 of its 6 packets, the second has not begun."""
    masks = []

    def receiver(node):
        received = yield Receive(None, "m", timeout_s=1.0)
        masks.extend(message.mask.numpy() for message in received.messages)

    def program(node):
        for k in range(2):
            yield Send(SERVER, "m", k, model(6), expires_s=0.05)

    run = play(cell([0.0], "transport.partial=use", mac="tdma"), {0: program, SERVER: receiver})
    assert len(masks) == 1
    assert np.array_equal(masks[0], np.arange(6 * 364) < 4 * 364)
    assert run.ledger.lost["deadline"] == 1


def test_expiry_during_a_repetition_keeps_what_came_before():
    """Every packet is lost with 0.5 and repeated; what has arrived by the expiry is what the mask shows."""
    held: dict[int, np.ndarray] = {}
    masks: dict[int, np.ndarray] = {}

    def hook(run: Run) -> None:
        give_up = run.transport.attempts._give_up

        def looking(flight: Any, cause: str | None) -> None:
            held[flight.round] = flight.arrived[0].copy()
            give_up(flight, cause)

        run.transport.attempts._give_up = looking  # at its expiry, or when it has arrived

    def receiver(node):
        received = yield Receive(None, "m", timeout_s=20.0)
        masks.update((m.round, np.ones(6 * 364, bool) if m.mask is None else m.mask.numpy()) for m in received.messages)

    def program(node):
        for k in range(20):
            yield Send(SERVER, "m", k, model(6), expires_s=0.11)
            yield Sleep(0.5)

    play(cell([0.0], "transport.partial=use", forced(0.5), mac="tdma"), {0: program, SERVER: receiver}, hook=hook)
    assert len(masks) > 10
    for k, mask in masks.items():
        assert np.array_equal(mask, np.repeat(held[k], 364))


def test_a_message_through_in_time_does_not_expire():
    run = play(cell([0.0], "transport.expires_s=0.2", mac="fdma"), {0: sends(SERVER, 50_000), SERVER: waits(1.0)})
    assert run.ledger.delivered == run.ledger.sent == 1


# -- broadcast ---------------------------------------------------------------------------------------------------------

AUDIENCE = [(100.0 * 1.1**k, 0.0) for k in range(25)]  # 0.83 dB apart


@pytest.mark.parametrize("mac", ["ideal", "shared"])
@pytest.mark.parametrize("reach", [0.04, 0.28, 0.5, 1.0])
def test_a_broadcast_reaches_the_required_fraction_by_mean_snr(mac, reach):
    """One transmission, at the rate of the weakest receiver that has to decode; the others lose it."""
    sensing = ["mac.sensing_snr_db=-60.0"] * (mac == "shared")
    loaded = peers([(0, 0), *AUDIENCE], f"mac.broadcast_reach={reach}", *sensing, mac=mac, snr_db=10.0)
    programs = {0: sends(range(1, 26), 50_000, broadcast=True)} | {i: waits(2.0) for i in range(1, 26)}
    run = play(loaded, programs)
    decoding = math.ceil(round(reach * 25, 9))
    weakest_db = 10.0 - 20 * math.log10(1.1) * (decoding - 1)
    assert run.ledger.delivered == decoding
    assert run.ledger.lost["outage"] == 25 - decoding
    assert run.ledger.on_air_bits == run.ledger.coded_bits == coded_bits(50_000)
    assert run.ledger.airtime_ns * NS == pytest.approx(coded_bits(50_000) / rate_bps(weakest_db), rel=1e-6)


def test_receivers_of_a_broadcast_have_fates_of_their_own():
    count = 1500
    loaded = peers([(0, 0), (10, 0), (0, 10)], forced(P))

    def program(node):
        for k in range(count):
            yield Send([1, 2], "m", k, model(1), broadcast=True)
        yield Sleep(50.0)

    got: dict[int, set[int]] = {1: set(), 2: set()}

    def receiver(node):
        got[node.id] = {m.round for m in (yield Receive([0], "m", timeout_s=40.0, count=None)).messages}
        while True:
            more = (yield Receive(None, "m", count=1, timeout_s=40.0)).messages
            if not more:
                return
            got[node.id] |= {message.round for message in more}

    play(loaded, {0: program, 1: receiver, 2: receiver})
    for got_one in got.values():
        assert len(got_one) / count == pytest.approx(1 - P, abs=four_errors(P, count))
    both = (1 - P) ** 2
    assert len(got[1] & got[2]) / count == pytest.approx(both, abs=four_errors(both, count))


def test_the_audience_of_a_broadcast_is_frozen():
    """Node 2 walks out of range in 1 s while a message of 4 s is on the air to both neighbors: its pair is decided all the same."""
    trace = "0, 0.0, 0.0, 0.0, 0.0\n1, 0.0, 50.0, 0.0, 0.0\n2, 0.0, -50.0, 0.0, 0.0\n2, 1.0, -5000.0, 0.0, 0.0\n"
    changes = [
        "devices.peers.mobility={kind='trace', file='walk.csv'}",
        "topology={kind='radio', update_every_s=0.5}",
        "mac.broadcast_rate_bps=1e6",
    ]
    loaded = peers([(0, 0), (50, 0), (-50, 0)], *changes, snr_db=10.0, referenced={"walk.csv": trace})
    audience: list[tuple[int, ...]] = []

    def program(node):
        audience.append(node.neighbors)
        yield Send(node.neighbors, "m", 0, Payload(None, 4_000_000), broadcast=True)
        yield Sleep(3.0)
        audience.append(node.neighbors)
        yield Sleep(3.0)

    run = play(loaded, {0: program})
    assert audience == [(1, 2), (1,)]
    assert (run.ledger.sent, run.ledger.delivered, run.ledger.lost["outage"]) == (2, 1, 1)


# -- analog ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mac", ["ideal", "fdma"])
def test_an_analog_send_superposes_real_values_with_their_amplitudes(mac):
    """501 values are 251 complex symbols of 1 microsecond; amplitude sqrt(SNR); the receiver adds noise of unit variance."""
    received = []

    def program(node):
        yield Send(SERVER, "sum", 0, Payload(torch.ones(501), 501 * 32, Float32(), 501), analog=True)

    def server(node):
        received.append((yield Receive([0, 1], "sum", 0)))

    run = play(cell([4.0, -3.0], mac=mac), {0: program, 1: program, SERVER: server})
    assert run.clock.now_s == pytest.approx(251 / BANDWIDTH_HZ, abs=NS)
    amplitudes = [message.coefficient for message in received[0].messages]
    assert amplitudes == pytest.approx([10 ** (4 / 20), 10 ** (-3 / 20)], rel=1e-6)
    assert received[0].noise.shape == (501,)
    assert float(received[0].noise.var()) == pytest.approx(1.0, abs=4 * math.sqrt(2 / 500))
    assert run.ledger.on_air_bits == 0
    assert run.record().radio_s[[0, 2], [0, 1]] == pytest.approx([251e-6] * 2, abs=NS)  # sending; receiving


def test_analog_sends_folded_on_arrival_have_their_noise():
    answers = []

    def program(node):
        yield Send(SERVER, "sum", 0, Payload(torch.ones(50), 1600, Float32(), 50), analog=True)

    def server(node):
        answers.append((yield Receive([0, 1], "sum", 0, combine=lambda s, m: s + m.coefficient * m.data, initial=0.0)))

    play(cell([4.0, -3.0]), {0: program, 1: program, SERVER: server})
    assert answers[0].combined.tolist() == pytest.approx([10 ** (4 / 20) + 10 ** (-3 / 20)] * 50, rel=1e-6)
    assert answers[0].noise.shape == (50,)


def test_analog_sends_are_refused_where_a_radio_would_send_and_receive_at_once():
    def program(node):
        yield Send(1, "sum", 0, Payload(torch.ones(50), 1600, Float32(), 50), analog=True)

    with pytest.raises(SimulationError, match="analog sends need"):
        play(peers([(0, 0), (10, 0)], mac="shared"), {0: program})


def test_named_senders_are_all_waited_for_whatever_their_rounds():
    """Two messages of node 0 do not stand for one of node 1, which comes half a second later."""
    answers = []

    def receiver(node):
        answers.append((yield Receive([0, 1], "m")))

    def late(node):
        yield Sleep(0.5)
        yield from sends(2, 800)(node)

    run = play(peers([(0, 0), (10, 0), (0, 10)]), {0: sends(2, 800, count=2), 1: late, 2: receiver})
    assert answers[0].senders == [0, 1]
    assert run.clock.now_s > 0.5


def test_headers_are_counted_in_every_packet():
    assert coded_bits(2 * ROOM_BITS + 8) == 2 * MTU_BITS + HEADER_BITS + 8
    log: list[tuple[float, int, int]] = []
    run = play(
        cell([0.0], "transport.reliability=none"), {0: sends(SERVER, 2 * ROOM_BITS + 8), SERVER: arrivals(log, 1)}
    )
    assert (run.ledger.packets_sent, run.ledger.on_air_bits) == (3, 2 * MTU_BITS + HEADER_BITS + 8)


@pytest.mark.parametrize(("own", "of_the_scenario"), [(0.2, 5.0), (5.0, 0.2)])
def test_a_message_lives_as_long_as_the_shorter_of_both_lifetimes(own, of_the_scenario):
    loaded = cell([0.0], f"transport.expires_s={of_the_scenario}", mac="fdma")
    run = play(loaded, {0: sends(SERVER, 3_000_000, expires_s=own), SERVER: waits(1.0)})
    assert run.ledger.lost["deadline"] == 1
    assert run.ledger.on_air_bits == pytest.approx(0.2 * rate_bps(0.0), rel=1e-6)


@pytest.mark.parametrize("mac", ["ideal", "fdma"])
def test_what_has_arrived_whole_is_delivered_though_its_feedback_was_cut_off(mac):
    payload_bits = 100_000
    coded = coded_bits(payload_bits)
    lifetime_s = (coded + FEEDBACK_BITS / 2) / rate_bps(0.0)
    log: list[tuple[float, int, int]] = []
    loaded = cell([0.0], f"transport.expires_s={lifetime_s}", mac=mac)
    run = play(loaded, {0: sends(SERVER, payload_bits), SERVER: arrivals(log, 1)})
    assert (run.ledger.delivered, sum(run.ledger.lost.values())) == (1, 0)
    assert log[0][0] == pytest.approx(lifetime_s, abs=2 * NS)
