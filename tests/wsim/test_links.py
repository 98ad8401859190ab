"""What is looked up ahead changes the cost of an answer, never the answer."""

import numpy as np
import pytest
from scipy import integrate, stats

from learners.protocol import SERVER
from tests.wsim.builders import BANDWIDTH_HZ, arrivals, cell, coded_bits, peers, play, sends, silent, waits
from wsim.links import Links

PLACES = [(0.0, 0.0), (90.0, 0.0), (0.0, 140.0), (60.0, 200.0), (300.0, 10.0)]
SHADOWED = ("channel.shadowing={sigma_db=6.0, correlation_m=20.0}",)


def links_of_a_run() -> Links:
    return play(peers(PLACES, *SHADOWED), silent).world.links


@pytest.mark.parametrize("edges", [[], [(1, 3)], [(a, b) for b in range(5) for a in range(b)]])
def test_expected_links_have_the_values_of_links_asked_for_alone(edges):
    links = links_of_a_run()
    links.tx_power_w *= np.linspace(0.2, 1.0, 5)
    links.expect(np.array(edges, dtype=np.int64).reshape(-1, 2))
    for tx in range(5):
        receivers = [rx for rx in range(5) if rx != tx]
        alone = [links.cn0(np.array([tx]), np.array([rx]), 0, 1).item() for rx in receivers]
        assert links.constant_cn0(tx, receivers).tolist() == alone  # bit for bit
        weakest = min(links.mean_cn0(np.array([tx]), np.array([rx]), 0.0).item() for rx in receivers)
        expected = links.efficiency(np.array([weakest / 1e6])).item()
        assert links.broadcast_efficiency(tx, tuple(receivers), 1.0, 1e6, 0.0) == expected


def test_a_new_power_is_that_of_the_constant_links_of_its_sender_only():
    links = links_of_a_run()
    before = [links.constant_cn0(tx, [4]).item() for tx in (0, 1)]
    slow = [links.broadcast_efficiency(tx, (2, 4), 1.0, 1e6, 0.0) for tx in (0, 1)]
    links.set_power(1, 10.0 * float(links.tx_power_w[1]))
    assert [links.constant_cn0(tx, [4]).item() for tx in (0, 1)] == pytest.approx([before[0], 10.0 * before[1]])
    fast = [links.broadcast_efficiency(tx, (2, 4), 1.0, 1e6, 0.0) for tx in (0, 1)]
    assert fast[0] == slow[0]
    assert fast[1] > slow[1] + 1.0  # log2(10) bit/s/Hz where the SNR is high


ERGODIC = ('channel.fading={kind="rayleigh", correlation="ergodic"}',)


@pytest.mark.parametrize("mac", ["ideal", "fdma", "tdma"])
def test_an_ergodic_rate_is_the_mean_over_the_law_of_the_receivers_antennas(mac):
    """Up to a server with four antennas at a mean of 6 dB each, down to a device with one at 10 dB: exact finish times."""
    log, down = [], []
    changes = (*ERGODIC, "server.radio.rx_antennas=4", "transport.reliability=none")
    play(cell([6.0], *changes, mac=mac), {0: sends(SERVER, 1_000_000), SERVER: arrivals(log, 1)})
    play(cell([6.0], *changes, mac=mac), {SERVER: sends(0, 1_000_000), 0: arrivals(down, 1)})
    for (time, _, _), antennas, snr_db in ((log[0], 4, 6.0), (down[0], 1, 10.0)):
        snr, density = 10 ** (snr_db / 10), stats.gamma(antennas).pdf
        mean = integrate.quad(lambda g, snr=snr, density=density: np.log2(1 + snr * g) * density(g), 0, np.inf)[0]
        assert time == pytest.approx(coded_bits(1_000_000) / (BANDWIDTH_HZ * mean), rel=5e-5)


def test_a_transfer_over_many_blocks_takes_the_ergodic_time():
    """20 transfers over 2,000 independent blocks each: the mean rate of a transfer has a standard error of 1.3 %/sqrt(20)."""
    times = {}
    for name, fading in (("block", 'channel.fading={kind="rayleigh", block_s=0.001}'), ("ergodic", *ERGODIC)):
        log = []
        loaded = cell([6.0], fading, "transport.reliability=none", mac="tdma")
        play(loaded, {0: sends(SERVER, 4_000_000, 20), SERVER: arrivals(log, 20)})
        times[name] = log[-1][0]
    assert times["block"] == pytest.approx(times["ergodic"], rel=4 * 0.013 / np.sqrt(20))


def test_a_broadcast_under_an_ergodic_law_loses_nobody_within_its_reach():
    """Two antennas or one, three distances: whoever is counted in by the mean rate decodes, whoever is not does not."""
    places = [(0.0, 0.0), (60.0, 0.0), (0.0, 100.0), (150.0, 0.0), (0.0, 400.0)]
    changes = (*ERGODIC, "mac.broadcast_reach=0.75", "transport.reliability=none")
    run = play(
        peers(places, *changes, mac="shared"),
        {0: sends([1, 2, 3, 4], 100_000, broadcast=True)} | {i: waits(5.0) for i in range(1, 5)},
    )
    assert (run.ledger.delivered, sum(run.ledger.lost.values())) == (3, 1)
