"""A device with an empty battery fails at the nanosecond at which it has drawn its charge."""

from __future__ import annotations

import math
from typing import Any

import pytest

from learners.protocol import SERVER, Observe, Payload, Receive, Send, Sleep
from tests.wsim.builders import (
    AMPLIFIER,
    CIRCUIT_W,
    IDLE_W,
    LISTEN_W,
    cell,
    coded_bits,
    peers,
    play,
    power_dbm,
    rate_bps,
)
from wsim.errors import ScenarioError

NS = 1e-9


def sleeps(node: Any) -> Any:
    yield Sleep(1000.0)


def test_an_idle_device_lives_charge_over_power() -> None:
    run = play(cell([0.0], "devices.0.energy.battery_j=1.2345678"), {0: sleeps})
    assert run.stop_reason == "nobody_left"
    assert run.clock.now_ns == math.ceil(1.2345678 / IDLE_W / NS)
    assert run.record().energy_j[0].sum() == pytest.approx(1.2345678, abs=IDLE_W * NS)


def test_the_crossing_follows_every_change_of_power() -> None:
    """Rests until 2 s, then sends; the battery is empty a tenth of the way through, and the message is lost."""
    send_w = 10 ** (power_dbm(0.0) / 10) / 1000 / AMPLIFIER + CIRCUIT_W
    on_air_s = coded_bits(1_000_000) / rate_bps(0.0)
    charge_j = 2.0 * IDLE_W + 0.1 * on_air_s * send_w

    def program(node: Any) -> Any:
        yield Sleep(2.0)
        yield Send(SERVER, "m", 0, Payload(None, 1_000_000))

    def server(node: Any) -> Any:
        yield Receive([0], "m", 0)
        yield Sleep(1.0)

    loaded = cell([0.0, 0.0], f"devices.0.energy.battery_j={charge_j!r}", "transport.reliability=none", mac="fdma")
    run = play(loaded, {0: program, SERVER: server})
    record = run.record()
    assert run.presence is not None
    assert run.presence.failed == {0}
    assert record.radio_s[0, -1] == pytest.approx(1.0, abs=2 * NS)  # the server went on for 1 s, told at once
    assert record.simulated_s == pytest.approx(3.0 + 0.1 * on_air_s, abs=3 * NS)
    assert record.energy_j[0].sum() == pytest.approx(charge_j, abs=send_w * NS)
    assert record.messages_lost["departure"] == 1
    assert record.on_air_bits == pytest.approx(0.1 * coded_bits(1_000_000), abs=1)


def test_stalls_draw_less_and_are_not_taken_for_sending() -> None:
    """Fading with a high floor: the radio stalls much of the time; the joules at death are the charge all the same."""
    loaded = peers(
        [(0.0, 0.0), (100.0, 0.0)],
        "devices.0.energy.battery_j=0.5",
        "channel.fading={kind='rayleigh', block_s=0.01}",
        "phy.min_snr_db=10.0",
        "transport.reliability=arq",
        mac="shared",
    )

    def program(node: Any) -> Any:
        if node.id == 0:
            yield Send(1, "m", 0, Payload(None, 10**9))
        yield Sleep(1000.0)

    run = play(loaded, program)
    joules = run.record().energy_j.sum(axis=1)
    assert run.stop_reason == "nobody_left"
    assert joules == pytest.approx([0.5, 0.5], abs=2e-6)
    assert 0.5 / LISTEN_W > run.record().radio_s[0, 0] > 0.05


def test_looking_costs_charge_and_shows_what_is_left() -> None:
    seen: list[float] = []

    def program(node: Any) -> Any:
        while True:
            seen.append((yield Observe("battery")))
            yield Sleep(1.0)

    loaded = cell([0.0], "devices.0.energy.battery_j=2.0", "observation={delay_s=0.0, energy_j=0.5}")
    run = play(loaded, {0: program})
    step = 0.5 + IDLE_W
    assert seen == pytest.approx([1.5, 1.5 - step, 1.5 - 2 * step, 0.0])  # the last look asks for more than there is
    assert run.clock.now_s == 3.0
    assert run.record().energy_j.sum() == pytest.approx(4 * 0.5 + 3 * IDLE_W)


@pytest.mark.parametrize("charge", ["0.0", "-1.0"])
def test_an_empty_battery_is_refused(charge: str) -> None:
    with pytest.raises(ScenarioError, match=r"battery_j = .*energies are in J, above 0"):
        cell([0.0], f"devices.0.energy.battery_j={charge}")


def test_a_server_has_no_battery() -> None:
    with pytest.raises(ScenarioError, match=r"\[server.energy\] battery_j = 1: a base station has no battery"):
        cell([0.0], "server.energy={battery_j=1.0}")
