"""Ideal medium access: links do not share anything, but a sender has one radio for all of its links."""

from __future__ import annotations

import pytest

from learners.protocol import Payload, Send, Sleep
from tests.wsim.builders import peers, play
from wsim.record import RADIO_STATES

TRANSMITTING, ACCESSING = RADIO_STATES.index("transmitting"), RADIO_STATES.index("accessing")
FADING = 'channel.fading={kind="rayleigh", block_s=0.01}'


@pytest.mark.parametrize("fading", [FADING, "channel.fading=none"])
@pytest.mark.parametrize("dead_ends_last", [True, False])
def test_a_dead_link_beside_a_live_one_neither_adds_nor_takes_air_time(fading, dead_ends_last):
    """Device 1 is out of reach: nothing is ever on the air to it. What device 0 transmits is what it sends to device 2."""

    def program(node):
        yield Send(1, "dead", 0, Payload(None, 10**6), expires_s=2.0 if dead_ends_last else 0.31)
        for k in range(20):
            yield Send(2, "live", k, Payload(None, 20_000))
            yield Sleep(0.05)

    changes = (fading, "topology=radio", "phy.min_snr_db=-20.0")
    loaded = peers([(0, 0), (9000, 0), (100, 0)], *changes, mac="ideal", snr_db=5.0)
    run = play(loaded, {0: program})
    record = run.record()
    assert record.messages_delivered_unused == 20
    assert 0.05 < record.airtime_s < 0.9
    assert record.radio_s[0, TRANSMITTING] == pytest.approx(record.airtime_s, abs=1e-6)
    assert record.radio_s[0, ACCESSING] > 0.1
    assert record.energy_j[0, 1] == pytest.approx(record.airtime_s * run.world.tx_w[0], rel=1e-5)
