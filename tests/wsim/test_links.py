"""What is looked up ahead changes the cost of an answer, never the answer."""

import numpy as np
import pytest

from tests.wsim.builders import peers, play, silent
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
