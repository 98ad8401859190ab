"""Links that carry nothing, and peers that go: a run ends with a reason or with one line that says who waits, and never hangs."""

from __future__ import annotations

from typing import Any

import pytest

from learners.protocol import SERVER, Outcome, Payload, Receive, Send
from tests.wsim.builders import LISTEN_W, RX_W, cell, peers, play
from wsim import limits
from wsim.errors import SimulationError

FAR = [(0.0, 0.0), (9000.0, 0.0)]
APART = ("topology={kind='radio', neighbor_mean_snr_db=3.0}", "phy.min_snr_db=0.0", "transport.reliability=arq")
told: list[Any] = []


def waits_for_its_message(node: Any) -> Any:
    """Device 0 sends and wants to know what became of it; device 1 waits for it."""
    if node.id == 0:
        ticket = yield Send(1, "m", 0, Payload(None, 1000))
        told.append((yield Outcome(ticket)))
    else:
        told.append((yield Receive([0], "m", 0)).missing)


@pytest.mark.parametrize("mac", ["ideal", "shared"])
def test_a_link_that_never_carries_anything_is_an_error_that_names_who_waits(mac: str) -> None:
    with pytest.raises(SimulationError, match="nothing can happen any more.* device 1 waits for 'm' of round 0 from 0"):
        play(peers(FAR, *APART, "stop={rounds=1}", mac=mac), waits_for_its_message)


@pytest.mark.parametrize("mac", ["ideal", "shared"])
def test_also_where_it_fades(mac: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STARVED_S", 100)  # an hour
    fading = "channel.fading={kind='rayleigh', block_s=0.05}"
    with pytest.raises(SimulationError, match="no link has carried a bit for 100 s of simulated time"):
        play(peers(FAR, *APART, fading, "stop={rounds=1}", mac=mac), waits_for_its_message)


@pytest.mark.parametrize("mac", ["ideal", "shared"])
@pytest.mark.parametrize("fading", ["channel.fading=none", "channel.fading={kind='rayleigh', block_s=1.0}"])
@pytest.mark.parametrize("mortal", [0, 1])
def test_the_death_of_either_end_sets_the_other_free(mac: str, fading: str, mortal: int) -> None:
    """One of them fails after 10 s."""
    told.clear()
    churn = "devices.0.churn={kind='schedule', file='churn.csv'}"
    loaded = peers(
        FAR, *APART, fading, "stop={rounds=1}", churn, mac=mac, referenced={"churn.csv": f"{mortal}, 10.0, leave"}
    )
    run = play(loaded, waits_for_its_message)
    assert run.stop_reason == "finished"
    assert run.clock.now_s == 10.0
    assert told == [[(0,)], ["lost"]][mortal]
    assert run.record().messages_lost["departure"] == 1


def test_the_first_of_two_batteries_to_die_on_a_dead_link_is_the_receivers() -> None:
    """Its radio is on for what never comes, while who stalls listens; the sender learns of its death and ends."""
    told.clear()
    fading = "channel.fading={kind='rayleigh', block_s=1.0}"
    changes = (*APART, fading, "stop={rounds=1}", "devices.0.energy.battery_j=9.0")
    run = play(peers(FAR, *changes, mac="shared"), waits_for_its_message)
    assert run.presence is not None
    assert (run.stop_reason, run.presence.failed, told) == ("finished", {1}, ["lost"])
    assert run.clock.now_s == pytest.approx(9.0 / RX_W, abs=2e-9)
    assert run.record().energy_j[0].sum() == pytest.approx(9.0 / RX_W * LISTEN_W, abs=1e-8)


def test_a_server_whose_only_device_dies_is_told() -> None:
    def server(node: Any) -> Any:
        told.append((yield Receive([0], "m", 0)).missing)

    def forever(node: Any) -> Any:
        yield Receive([SERVER], "never")

    told.clear()
    loaded = cell([0.0], "devices.0.energy.battery_j=0.5", "stop={rounds=1}")
    run = play(loaded, {SERVER: server, 0: forever})
    assert run.stop_reason == "nobody_left"
