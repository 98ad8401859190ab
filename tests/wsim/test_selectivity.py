"""Frequency-selective links: rates by hand from the gains of their blocks, the flat and the wide-band limit, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from channels.ergodic import ErgodicRate
from channels.fading import Rayleigh
from channels.link_adaptation import RateMap
from learners.protocol import SERVER, Observe, Payload, Send
from tests.contract.test_estimate import assert_equal_but_for_values
from tests.contract.worlds import harsh
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    ROOM_BITS,
    arrivals,
    cell,
    coded_bits,
    ledger_closes,
    peers,
    play,
    sends,
    silent,
    waits,
)
from tests.wsim.cellular import cells
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError, SimulationError

NO_FEEDBACK = "transport.reliability=none"
STANDING = 'kind="rayleigh", correlation="doppler", environment_speed_mps=0.0'
BLOCKS_10_MS = 'kind="rayleigh", block_s=0.01'
SPREAD = 'delay_profile="tdl_c", delay_spread_s=1e-6'
NUM_BLOCKS = 8


def selective(law: str = STANDING, profile: str = SPREAD, num_blocks: int = NUM_BLOCKS) -> str:
    return f"channel.fading={{{law}, {profile}, num_blocks={num_blocks}}}"


def snr_of_blocks(run: Run, tx: int, rx: int, num_cells: int = 1, num_blocks: int = NUM_BLOCKS) -> np.ndarray:
    """[num_cells, num_blocks] over the whole band, from the channel's own gains."""
    links = run.world.links
    ends = np.array([tx]), np.array([rx])
    gain = links.channel.gain_per_block(*ends, 0, num_cells, num_blocks, BANDWIDTH_HZ / num_blocks)[0]
    return gain * links.tx_power_w[tx] / (links.noise_w_per_hz[rx] * BANDWIDTH_HZ)


def mean_efficiency(snr: np.ndarray, band: float = 1.0) -> float:
    """One block after the other. snr: [num_blocks] over the whole band; band: the part that the sender's power is in."""
    total = 0.0
    for value in snr.tolist():
        total += math.log2(1 + value / band)
    return total / len(snr)


def assert_selective(snr: np.ndarray) -> None:
    assert snr.max() > 2 * snr.min()


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma", "shared"])
def test_one_transfer_takes_its_bits_over_the_mean_efficiency_of_the_blocks_to_the_ns(mac: str) -> None:
    log: list[tuple[float, int, int]] = []
    if mac == "shared":
        loaded, to = peers([(0, 0), (100, 0)], selective(), NO_FEEDBACK, mac=mac), 1
    else:
        loaded, to = cell([10.0], selective(), NO_FEEDBACK, mac=mac), SERVER
    run = play(loaded, {0: sends(to, 1_000_000), to: arrivals(log, 1)})
    snr = snr_of_blocks(run, 0, 1)[0]
    assert_selective(snr)
    rate_bps = BANDWIDTH_HZ * mean_efficiency(snr)
    assert round(log[0][0] * 1e9) == math.ceil(coded_bits(1_000_000) / rate_bps * 1e9)
    assert ledger_closes(run)


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
def test_two_transfers_share_a_selective_carrier(mac: str) -> None:
    """In FDMA a device puts its power into half of the band, spread over all blocks; then the other goes on alone."""
    log: list[tuple[float, int, int]] = []
    loaded = cell([10.0, 3.0], selective(), NO_FEEDBACK, mac=mac)
    run = play(loaded, {0: sends(SERVER, 500_000), 1: sends(SERVER, 900_000), SERVER: arrivals(log, 2)})
    together, alone = {}, {}
    for i in (0, 1):
        snr = snr_of_blocks(run, i, 2)[0]
        together[i] = BANDWIDTH_HZ / 2 * mean_efficiency(snr, 0.5 if mac == "fdma" else 1.0)
        alone[i] = BANDWIDTH_HZ * mean_efficiency(snr)
    bits = {0: coded_bits(500_000), 1: coded_bits(900_000)}
    first = min(bits, key=lambda i: bits[i] / together[i])
    end = bits[first] / together[first]
    last = end + (bits[1 - first] - end * together[1 - first]) / alone[1 - first]
    assert [(i, time) for time, i, _ in log] == [
        (first, pytest.approx(end, rel=1e-9, abs=2e-9)),
        (1 - first, pytest.approx(last, rel=1e-9, abs=4e-9)),
    ]


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma", "shared"])
def test_bits_are_the_integral_of_the_mean_rate_over_fading_blocks_of_time(mac: str) -> None:
    log: list[tuple[float, int, int]] = []
    fading = selective(BLOCKS_10_MS)
    if mac == "shared":
        loaded, to = peers([(0, 0), (100, 0)], fading, NO_FEEDBACK, mac=mac, snr_db=3.0), 1
    else:
        loaded, to = cell([3.0], fading, NO_FEEDBACK, mac=mac), SERVER
    run = play(loaded, {0: sends(to, 400_000), to: arrivals(log, 1)})
    end_s = log[0][0]
    snr = snr_of_blocks(run, 0, 1, math.ceil(end_s / 0.01))
    lengths = np.full(len(snr), 0.01)
    lengths[-1] = end_s - 0.01 * (len(snr) - 1)
    assert len(snr) > 15
    drained = BANDWIDTH_HZ * sum(mean_efficiency(row) * length for row, length in zip(snr, lengths, strict=True))
    assert drained == pytest.approx(coded_bits(400_000), rel=1e-7)


class OneTap:
    """All power at delay 0."""

    needs_direct = False
    powers = np.ones(1)

    def delays_s(self, key: Any) -> np.ndarray:
        return np.zeros((1, 1))


def busy(*changes: str, mac: str, monkeypatch: pytest.MonkeyPatch | None = None) -> list[tuple[float, int, int]]:
    """Three devices send to the server while it broadcasts to them: what arrives at the server, and when."""
    log: list[tuple[float, int, int]] = []

    def server(node: Any) -> Any:
        yield Send([0, 1, 2], "down", 0, Payload(None, 50_000), broadcast=True)
        yield from arrivals(log, 9)(node)

    if monkeypatch is not None:
        monkeypatch.setattr("wsim.world.profile_of", lambda channel: OneTap())
    loaded = cell([10.0, 3.0, -2.0], *changes, mac=mac)
    play(loaded, {i: sends(SERVER, 40_000 * (i + 1), 3) for i in range(3)} | {SERVER: server})
    return log


@pytest.mark.parametrize("law", [STANDING, BLOCKS_10_MS, 'kind="rician", k_db=3.0, block_s=0.01'])
@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
def test_a_profile_of_one_tap_is_the_flat_band(law: str, mac: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The single tap has the gains of the flat link (Rician blocks: their phases are single precision there)."""
    flat = busy(f"channel.fading={{{law}}}", mac=mac)
    one_tap = busy(selective(law), mac=mac, monkeypatch=monkeypatch)
    assert len(flat) == 9
    assert [entry[1:] for entry in one_tap] == [entry[1:] for entry in flat]
    rel = 1e-9 if law == BLOCKS_10_MS else 1e-5
    assert [entry[0] for entry in one_tap] == pytest.approx([entry[0] for entry in flat], rel=rel, abs=2e-9)


@pytest.mark.parametrize("mac", ["ideal", "fdma"])
def test_without_delay_the_number_of_blocks_says_nothing(mac: str) -> None:
    profile = 'delay_profile="exponential", delay_spread_s=1e-18'
    one = busy(selective(BLOCKS_10_MS, profile, 1), mac=mac)
    many = busy(selective(BLOCKS_10_MS, profile, 12), mac=mac)
    assert [entry[0] for entry in many] == pytest.approx([entry[0] for entry in one], rel=1e-9, abs=2e-9)


def test_over_a_wide_band_every_rate_is_near_the_ergodic_one() -> None:
    """A band of 32 over the delay spread, 192 blocks, one link in 40 independent blocks of time: the mean within 4 of its standard
    errors, about 0.8 %; a single rate varies by 5 % where a flat one does by 40."""
    profile = 'delay_profile="exponential", delay_spread_s=32e-6'
    links = play(cell([10.0], selective(BLOCKS_10_MS, profile, 192)), silent).world.links
    rates = links.band_efficiency(links.band_cn0(np.array([0]), np.array([1]), 0, 40) / BANDWIDTH_HZ)[0]
    error = rates.std(ddof=1) / math.sqrt(len(rates))
    plain = RateMap(snr_gap_db=0.0, overhead=0.0, max_efficiency_bps_hz=100.0, min_snr_db=-60.0)
    ergodic = float(ErgodicRate(plain, Rayleigh()).efficiency(np.array(10.0)))
    assert rates.std(ddof=1) < 0.08 * ergodic
    assert rates.mean() == pytest.approx(ergodic, abs=4 * error)


FIXED = ('phy.rate="fixed"', "phy.fixed_efficiency_bps_hz=1.307")  # no packet ends with a block


@pytest.mark.parametrize("mac", ["ideal", "tdma"])
def test_a_fixed_rate_is_decoded_where_the_mean_efficiency_reaches_it(mac: str) -> None:
    """400 packets one after the other over blocks of 10 ms, each lost where it met a weak one."""
    num_packets = 400
    loaded = cell([3.0], selective(BLOCKS_10_MS), NO_FEEDBACK, *FIXED, mac=mac)
    run = play(loaded, {0: sends(SERVER, num_packets * ROOM_BITS), SERVER: waits(10.0)})
    packet_s = 1500 * 8 / (1.307 * BANDWIDTH_HZ)
    snr = snr_of_blocks(run, 0, 1, 400)
    good = np.array([mean_efficiency(row) >= 1.307 for row in snr])
    by_mean_power = np.log2(1 + snr.mean(axis=1)) >= 1.307
    lost, otherwise = (
        sum(
            not which[int(k * packet_s / 0.01 + 1e-9) : math.ceil((k + 1) * packet_s / 0.01 - 1e-9)].all()
            for k in range(num_packets)
        )
        for which in (good, by_mean_power)
    )
    assert 20 < lost < 380
    assert lost != otherwise
    assert run.ledger.packets_lost == lost


@pytest.mark.parametrize("mac", ["ideal", "shared"])
def test_a_broadcast_reaches_whose_blocks_carry_its_rate_on_average(mac: str) -> None:
    """Its rate goes by mean SNR, that of the farther half of 12 receivers; on standing links each decodes it or does not."""
    places = [(0.0, 0.0)] + [(100.0 + 20 * (i % 2), 3.0 * i) for i in range(12)]
    others = list(range(1, 13))
    loaded = peers(places, selective(), NO_FEEDBACK, "mac.broadcast_reach=0.5", mac=mac)
    run = play(loaded, {0: sends(others, 100_000, broadcast=True)} | {i: waits(1.0) for i in others})
    rate = run.world.links.broadcast_efficiency(0, tuple(others), 0.5, BANDWIDTH_HZ, 0.0)
    decode = sum(mean_efficiency(snr_of_blocks(run, 0, i)[0]) >= rate for i in others)
    assert 0 < decode < 12
    assert run.ledger.delivered == decode


def test_interference_of_another_cell_is_even_over_the_band() -> None:
    """Two uplinks of one size in two cells: the first is through at the mean over the blocks of log2(1 + S_b / (1 + I))."""
    for mac in ("fdma", "tdma"):
        log: list[tuple[float, int, int]] = []
        loaded = cells(
            [(0.0, 0.0), (400.0, 0.0)],
            [(100.0, 0.0), (320.0, 50.0)],
            selective(),
            NO_FEEDBACK,
            mac=mac,
            keys='interference = "sinr"',
        )
        run = play(loaded, {0: sends(SERVER, 1_000_000), 1: sends(SERVER, 1_000_000), SERVER: arrivals(log, 2)})
        rates = []
        for device, station, other in ((0, 2, 1), (1, 3, 0)):
            own, heard = snr_of_blocks(run, device, station)[0], snr_of_blocks(run, other, station)[0].mean()
            rates.append(BANDWIDTH_HZ * mean_efficiency(own / (1 + heard)))
        assert log[0][0] == pytest.approx(coded_bits(1_000_000) / max(rates), rel=1e-9, abs=2e-9)


@pytest.mark.parametrize("change", ["", *FIXED[:1]])
def test_interference_between_devices_is_even_over_the_band(change: str) -> None:
    sinr = 'mac={kind="shared", interference="sinr", sensing_snr_db=50.0}'
    places = [(0.0, 0.0), (100.0, 0.0), (300.0, 50.0), (250.0, 250.0)]
    fixed = (change, "phy.fixed_efficiency_bps_hz=1.3") if change else ()
    log: list[tuple[float, int, int]] = []
    loaded = peers(places, sinr, selective(), NO_FEEDBACK, *fixed, mac="shared")
    programs = {0: sends(1, 1_000_000), 2: sends(3, 1_000_000), 1: arrivals(log, 1), 3: arrivals(log, 1)}
    if fixed:
        programs |= {1: waits(9.0), 3: waits(9.0)}
    run = play(loaded, programs)
    efficiency = []
    for tx, rx, other in ((0, 1, 2), (2, 3, 0)):
        own, heard = snr_of_blocks(run, tx, rx)[0], snr_of_blocks(run, other, rx)[0].mean()
        efficiency.append(mean_efficiency(own / (1 + heard)))
    if fixed:
        assert run.ledger.delivered == sum(value >= 1.3 for value in efficiency)
        assert 0 < run.ledger.delivered < 2
    else:
        expected = coded_bits(1_000_000) / (BANDWIDTH_HZ * max(efficiency))
        assert log[0][0] == pytest.approx(expected, rel=1e-9, abs=2e-9)


def test_what_is_observed_is_the_mean_over_the_band() -> None:
    seen: dict[str, float] = {}

    def program(node: Any) -> Any:
        for what in ("gain", "rate"):
            seen[what] = yield Observe(what, SERVER)

    run = play(cell([10.0], selective()), {0: program})
    snr = snr_of_blocks(run, 0, 1)[0]
    links = run.world.links
    noise_over_power = links.noise_w_per_hz[1] * BANDWIDTH_HZ / links.tx_power_w[0]
    assert seen["gain"] == pytest.approx(10 * math.log10(snr.mean() * noise_over_power), abs=1e-9)
    assert seen["rate"] == pytest.approx(BANDWIDTH_HZ * mean_efficiency(snr), rel=1e-12)


def test_links_have_the_same_bits_whoever_asks() -> None:
    """Alone or with others, one instant or many, and after another sender has changed its power."""
    places = [(0.0, 0.0), (90.0, 0.0), (0.0, 140.0), (60.0, 200.0)]
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    tx, rx = np.array(pairs).T
    links = play(peers(places, selective(BLOCKS_10_MS)), silent).world.links
    whole = links.band_cn0(tx, rx, 3, 7)
    rates = links.band_efficiency(whole / BANDWIDTH_HZ)
    assert whole.shape == (NUM_BLOCKS, 12, 7)
    for i, (a, b) in enumerate(pairs):
        for k in range(7):
            alone = links.band_cn0(np.array([a]), np.array([b]), 3 + k, 1)
            np.testing.assert_array_equal(alone[:, 0, 0], whole[:, i, k])
            assert links.band_efficiency(alone / BANDWIDTH_HZ)[0, 0] == rates[i, k]
    standing = play(peers(places, selective()), silent).world.links
    standing.expect(np.array([(0, 1), (2, 3)]))
    before = standing.constant_cn0(0, [1, 2, 3])
    np.testing.assert_array_equal(before, standing.band_cn0(np.zeros(3, int), np.array([1, 2, 3]), 0, 1)[..., 0])
    standing.set_power(0, 2 * float(standing.tx_power_w[0]))
    np.testing.assert_allclose(standing.constant_cn0(0, [1, 2, 3]), 2 * before, rtol=1e-12)


HARSH = 'channel.fading={kind="rayleigh", correlation="doppler", delay_profile="exponential", delay_spread_s=2e-6}'


@pytest.mark.parametrize("learner", ["fedavg", "dpsgd"])
def test_estimate_and_every_window_have_the_events_of_the_run(learner: str) -> None:
    loaded = harsh(learner, HARSH, "stop.rounds=3")
    in_order: dict[str, list[Any]] = {"batched": [], "null": [], "eager": []}
    run, estimate, eager = (simulate(loaded, executor, trace=trace) for executor, trace in in_order.items())
    assert in_order["batched"] == in_order["null"] == in_order["eager"]
    assert_equal_but_for_values(run, estimate)
    assert_equal_but_for_values(run, eager)
    narrow = simulate(loaded, window=1)
    assert narrow.event_digest == run.event_digest
    np.testing.assert_array_equal(narrow.accuracy, run.accuracy)
    assert "ExponentialProfile" in run.radio_provenance["delay_profile"]


def message(*changes: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        peers([(0, 0), (100, 0)], *changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fading", "words"),
    [
        ('kind="rayleigh", delay_profile="tdl_a", delay_spread_s=0.0', "delay_spread_s = 0:|above 0"),
        ('kind="rayleigh", delay_profile="tdl_a", delay_spread_s=-1e-7', "delay_spread_s = |(1e-7?)"),
        ('kind="rayleigh", delay_profile="tdl_a", delay_spread_s=100.0', "delay_spread_s = 100|(1e-7?)"),
        ('kind="rayleigh", delay_profile="tdl_a"', "delay_spread_s|missing|in s"),
        ('kind="rayleigh", delay_spread_s=1e-7', 'delay_spread_s = 1e-7|delay_profile|"exponential"'),
        ('kind="rayleigh", num_blocks=3', "num_blocks = 3|delay_profile"),
        ('kind="rayleigh", delay_profile="tdl_a", delay_spread_s=1e-7, num_blocks=0', "num_blocks = 0|1 to 4096"),
        ('kind="rayleigh", delay_profile="tdl_a", delay_spread_s=1e-7, num_blocks=1.5', "num_blocks = 1.5|whole"),
        ('kind="rayleigh", delay_profile="tdl_f", delay_spread_s=1e-7', 'delay_profile = "tdl_f"|"tdl_e"'),
        ('kind="rayleigh", delay_profile="tdl_d", delay_spread_s=1e-7', 'delay_profile = "tdl_d"|kind = "rician"'),
        ('kind="none", delay_profile="tdl_a", delay_spread_s=1e-7', 'kind = "none"|"rayleigh" or "rician"'),
        ('kind="nakagami", m=2.0, delay_profile="tdl_a", delay_spread_s=1e-7', 'kind = "nakagami"|"rayleigh" or "ric'),
        (
            'kind="rayleigh", correlation="ergodic", delay_profile="tdl_a", delay_spread_s=1e-7',
            'correlation = "ergodic"|"block" or "doppler"',
        ),
    ],
)
def test_what_makes_no_selective_band_is_one_clear_line(fading: str, words: str) -> None:
    found = message(f"channel.fading={{{fading}}}")
    assert "[channel.fading]" in found
    for word in words.split("|"):
        assert word in found


def test_an_arm_takes_the_profile_away() -> None:
    loaded = peers([(0, 0), (100, 0)], selective(), 'channel.fading.delay_profile="none"')
    assert play(loaded, silent).world.links.blocks is None


def test_over_the_air_sums_need_a_flat_band() -> None:
    with pytest.raises(ScenarioError, match=r'\[algorithm\] uplink = "aircomp".*delay_profile = "tdl_c".*digital'):
        harsh("fedavg", "algorithm.uplink=aircomp", selective(BLOCKS_10_MS))

    def program(node: Any) -> Any:
        yield Send(1, "sum", 0, Payload(None, 32), analog=True)

    with pytest.raises(SimulationError, match="flat band"):
        play(peers([(0, 0), (100, 0)], selective()), {0: program})


def test_too_few_blocks_for_the_delay_spread_are_noted() -> None:
    """Over 1 MHz a spread of 2 us asks for 12 blocks."""
    profile = 'delay_profile="tdl_a", delay_spread_s=2e-6'
    with pytest.warns(UserWarning, match=r"num_blocks = 11 is coarse.*12 or more"):
        play(peers([(0, 0), (100, 0)], selective(profile=profile, num_blocks=11)), silent)


def test_the_blocks_are_12_where_nothing_is_said() -> None:
    run = play(peers([(0, 0), (100, 0)], f"channel.fading={{{STANDING}, {SPREAD}}}"), silent)
    assert run.world.links.blocks == (12, BANDWIDTH_HZ / 12)
    assert run.scenario.channel.fading.num_blocks == 12
