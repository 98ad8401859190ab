"""The fluid integral over fading links against a plain stepping reference, and what an outage costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learners.compression.float32 import Float32
from learners.protocol import SERVER, Observe, Payload, Receive, Send
from tests.wsim.builders import BANDWIDTH_HZ, ROOM_BITS, arrivals, cell, coded_bits, peers, play, sends, waits
from wsim.engine import Run

MICROSECOND = 1e-6
NO_FEEDBACK = "transport.reliability=none"
DOPPLER = (  # waves of 8.6 cm at 3.5 GHz; the surroundings move at 12 m/s: 140 Hz
    "channel.carrier_hz=3.5e9",
    'channel.fading={kind="rayleigh", correlation="doppler", environment_speed_mps=12.0}',
)
WALKING = (*DOPPLER[:1], 'channel.fading={kind="rayleigh", correlation="doppler"}') + tuple(
    change
    for i in range(3)
    for change in (f"devices.d-{i}.mobility={{kind='random_waypoint', speed_mps=[15.0, 25.0]}}", "area.side_m=400.0")
)
BLOCK = ('channel.fading={kind="rayleigh", correlation="block", block_s=0.003}',)


def stepped(run: Run, tx: list[int], rx: list[int], sizes: list[int], starts_s: list[float], mac: str) -> list[float]:
    """When each transfer is through: all links are followed in steps of 1 microsecond of the exact channel; the band
    (fdma), the time (tdma, shared) or nothing (ideal) is divided among those that have bits left."""
    links = run.world.links
    left, done = [float(size) for size in sizes], [math.nan] * len(sizes)
    step, chunk = 0, 20_000
    while any(bits > 0 for bits in left):
        times = (step + np.arange(chunk) + 0.5) * MICROSECOND
        gain = links.channel.exact_gain(np.array(tx), np.array(rx), times)
        cn0 = gain * (links.tx_power_w[tx] / links.noise_w_per_hz[rx])[:, None]
        drained = []  # by number of active transfers less one: [chunk][num_links] bits of a step
        for n in range(1, len(sizes) + 1):
            band = 1.0 if mac == "ideal" else 1.0 / n
            snr = cn0 / BANDWIDTH_HZ / (band if mac == "fdma" else 1.0)
            drained.append((BANDWIDTH_HZ * band * np.log2(1 + snr) * MICROSECOND).T.tolist())
        for k, time in enumerate(times.tolist()):
            active = [i for i, start in enumerate(starts_s) if left[i] > 0 and start <= time]
            for i in active:
                left[i] -= drained[len(active) - 1][k][i]
                if left[i] <= 0:
                    done[i] = time
        step += chunk
    return done


@pytest.mark.parametrize(
    ("mac", "fading"),
    [(mac, fading) for mac in ("ideal", "fdma", "tdma", "shared") for fading in (DOPPLER, BLOCK)] + [("fdma", WALKING)],
    ids=lambda value: (
        value if isinstance(value, str) else {DOPPLER: "doppler", BLOCK: "block", WALKING: "walking"}[value]
    ),
)
def test_fluid_integral_equals_a_1_microsecond_stepping_reference(mac, fading):
    """Three transfers of unequal sizes; the second and third start while others are on the air, so that the shares change in mid
    transfer. Times agree to 1e-3 of the transfer's duration, the declared error of the grid."""
    payloads, starts_s = [40_000, 12_000, 8_000], [0.0, 0.0051, 0.0083]
    tx = [0, 2, 4] if mac == "shared" else [0, 1, 2]
    rx = [1, 3, 5] if mac == "shared" else [3, 3, 3]
    log: list[tuple[float, int, int]] = []

    def program(i: int, to: int):
        def late(node):
            yield Receive(None, "never", timeout_s=starts_s[i])
            yield from sends(to, payloads[i])(node)

        return late

    if mac == "shared":
        loaded = peers([(x, 10.0 * i) for i in range(3) for x in (0.0, 40.0)], NO_FEEDBACK, *fading, mac=mac)
        programs = {tx[i]: program(i, rx[i]) for i in range(3)} | {node: arrivals(log, 1) for node in rx}
    else:
        loaded = cell([10.0, 3.0, -2.0], NO_FEEDBACK, *fading, mac=mac)
        programs = {tx[i]: program(i, SERVER) for i in range(3)} | {SERVER: arrivals(log, 3)}
    run = play(loaded, programs)
    times = [time for time, _, _ in sorted(log, key=lambda entry: entry[1])]
    expected = stepped(run, tx, rx, [coded_bits(b) for b in payloads], starts_s, mac)
    for got, want, start in zip(times, expected, starts_s, strict=True):
        assert got - start == pytest.approx(want - start, rel=1e-3, abs=2 * MICROSECOND)


@pytest.mark.parametrize("mac", ["ideal", "tdma", "shared"])
def test_adaptive_rate_stalls_below_its_floor_and_a_stall_is_no_air_time(mac):
    """Blocks of 10 ms with a mean of 0 dB and a floor at -3 dB, so that four in ten stall: air time, transmit energy and the radio's
    timeline hold the other blocks only."""
    changes = (NO_FEEDBACK, 'channel.fading={kind="rayleigh", block_s=0.01}', "phy.min_snr_db=-3.0")
    log: list[tuple[float, int, int]] = []
    if mac == "shared":
        loaded, to = peers([(0, 0), (100, 0)], *changes, mac=mac, snr_db=0.0), 1
    else:
        loaded, to = cell([0.0], *changes, mac=mac), SERVER
    run = play(loaded, {0: sends(to, 400_000), to: arrivals(log, 1)})
    links = run.world.links
    snr = links.cn0(np.array([0]), np.array([1]), 0, math.ceil(log[0][0] / 0.01))[0] / BANDWIDTH_HZ
    heard = snr >= 10**-0.3
    lengths = np.full(len(snr), 0.01)
    lengths[-1] = log[0][0] - 0.01 * (len(snr) - 1)
    assert 5 < (~heard).sum() < len(snr) - 5
    assert (np.log2(1 + snr) * heard * lengths).sum() * BANDWIDTH_HZ == pytest.approx(coded_bits(400_000), rel=1e-7)
    on_air = (heard * lengths).sum()
    assert run.ledger.airtime_ns / 1e9 == pytest.approx(on_air, abs=1e-7)
    record = run.record()
    assert record.radio_s[0, [0, 3]] == pytest.approx([on_air, (~heard * lengths).sum()], abs=1e-7)
    assert record.energy_j[0, 1] == pytest.approx(on_air * run.world.tx_w[0], rel=1e-6)


@pytest.mark.parametrize("mac", ["ideal", "tdma"])
def test_fixed_rate_outage_over_rayleigh_blocks_is_exponential(mac):
    """A packet a block: P(outage) = 1 - exp(-x), x = required SNR / mean SNR; within 4 standard errors of 3,000 packets."""
    efficiency, count = 1.2, 3000
    p = 1 - math.exp(-(2**efficiency - 1) / 10**0.5)
    changes = (
        NO_FEEDBACK,
        'channel.fading={kind="rayleigh", block_s=0.1}',
        'phy.rate="fixed"',
        f"phy.fixed_efficiency_bps_hz={efficiency}",
    )

    def program(node):
        for k in range(count):
            yield Send(SERVER, "m", k, Payload(None, 8000))
            yield Receive(None, "never", timeout_s=0.1)

    run = play(cell([5.0], *changes, mac=mac), {0: program})
    assert run.ledger.sent == count
    assert run.ledger.lost["outage"] / count == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / count))


FIXED = ('channel.fading={kind="rayleigh", block_s=0.05}', 'phy.rate="fixed"', "phy.fixed_efficiency_bps_hz=1.0")
PACKETS = 400


def lost_packets(run: Run, packet_s: float, num_packets: int) -> list[int]:
    """Packets on the air one after the other from time 0 that touch a block too weak for 1 bit/s/Hz (an SNR of 1)."""
    links = run.world.links
    good = links.cn0(np.array([0]), np.array([1]), 0, 1000)[0] >= BANDWIDTH_HZ
    first = (np.arange(num_packets) * packet_s / 0.05 + 1e-9).astype(int)
    last = np.ceil((np.arange(num_packets) + 1) * packet_s / 0.05 - 1e-9).astype(int)
    return [k for k in range(num_packets) if not good[first[k] : last[k]].all()]


@pytest.mark.parametrize("mac", ["ideal", "tdma"])
def test_fixed_rate_loses_exactly_the_packets_that_met_a_bad_block(mac):
    """A message of 400 packets of 12 ms each over blocks of 50 ms."""
    run = play(cell([3.0], NO_FEEDBACK, *FIXED, mac=mac), {0: sends(SERVER, PACKETS * ROOM_BITS), SERVER: waits(10.0)})
    lost = lost_packets(run, 0.012, PACKETS)
    assert 20 < len(lost) < 380
    assert run.ledger.packets_lost == len(lost)


@pytest.mark.parametrize("mac", ["ideal", "tdma"])
def test_an_expired_message_of_fixed_rate_keeps_the_packets_that_were_through(mac):
    """Cut short after 1.5 s: the 125 packets that were through met the blocks of their own time on the air."""
    changes = (NO_FEEDBACK, "transport.partial=use", *FIXED)
    masks: list[np.ndarray] = []

    def receiver(node):
        message = (yield Receive([0], "m", 0, timeout_s=10.0)).messages[0]
        masks.append(message.mask.numpy())

    payload = Payload(None, PACKETS * ROOM_BITS, Float32(), PACKETS * ROOM_BITS // 32)

    def program(node):
        yield Send(SERVER, "m", 0, payload, expires_s=1.5)

    run = play(cell([3.0], *changes, mac=mac), {0: program, SERVER: receiver})
    arrived = masks[0].reshape(PACKETS, -1).all(axis=1)
    lost = lost_packets(run, 0.012, 125)
    assert 20 < len(lost) < 105
    assert np.flatnonzero(arrived).tolist() == [k for k in range(125) if k not in lost]


def test_observed_rate_and_gain_are_the_present_ones():
    seen: dict[str, float] = {}

    def program(node):
        yield Receive(None, "never", timeout_s=0.0155)
        seen["rate"] = yield Observe("rate", SERVER)
        seen["gain"] = yield Observe("gain", SERVER)

    run = play(cell([10.0], *BLOCK), {0: program})
    gain = run.world.links.channel.exact_gain(np.array([0]), np.array([1]), 0.0155)[0, 0]
    snr = gain * run.world.links.tx_power_w[0] / (run.world.links.noise_w_per_hz[1] * BANDWIDTH_HZ)
    assert seen["gain"] == pytest.approx(10 * math.log10(gain), abs=1e-9)
    assert seen["rate"] == pytest.approx(BANDWIDTH_HZ * math.log2(1 + snr), rel=1e-9)
