"""Hand-over: where it happens, and what becomes of the transfers that are under way, in both directions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learners.protocol import SERVER
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    MTU_BITS,
    arrivals,
    coded_bits,
    ledger_closes,
    play,
    rate_bps,
    sends,
    waits,
)
from tests.wsim.cellular import cells
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError
from wsim.scenario import load

FILE = Path(__file__).parents[2] / "scenarios/radio/multi_cell_handover.toml"
STATIONS = [(0.0, 0.0), (1000.0, 0.0)]
SPEED_MPS = 20.0
HEIGHT_M = 30.0  # the walk passes the stations at this distance
WALK = f"0, 0.0, 100.0, {HEIGHT_M}, 0.0\n0, 40.0, 900.0, {HEIGHT_M}, 0.0\n"
MOVES = ('devices.0.mobility={kind="trace", file="walk.csv"}', 'devices.0.positions_m="none"')


def walk(*changes: str, keys: str = "", **how: Any) -> Any:
    """One device that walks from the first station to the second."""
    keys = 'interference = "none", update_every_s = 0.25' + keys
    return cells(STATIONS, [(0.0, 0.0)], *MOVES, *changes, keys=keys, referenced={"walk.csv": WALK}, **how)


def distance_m(station: int, time_s: float) -> float:
    return math.hypot(100.0 + SPEED_MPS * min(time_s, 40.0) - STATIONS[station][0], HEIGHT_M)


def handover_s(hysteresis_db: float, every_s: float = 0.25) -> float:
    """The first look at which the second station is that much stronger, in free space."""
    looks = np.arange(1, 160) * every_s
    gain_db = [20 * math.log10(distance_m(0, t) / distance_m(1, t)) for t in looks.tolist()]
    return float(looks[int(np.argmax(np.array(gain_db) > hysteresis_db))])


def through(payload: int, begin_s: float, change_s: float) -> float:
    """When a transfer that begins at begin_s at 10 dB over 100 m is through: the integral of the rate at 1 ms."""
    left, t, step = float(coded_bits(payload) + FEEDBACK_BITS), begin_s, 1e-3
    while left > 0:
        middle = t + step / 2
        station = int(middle > change_s)
        rate = rate_bps(10.0 - 20 * math.log10(distance_m(station, middle) / 100.0))
        left -= rate * step
        t += step
    return t + left / rate


@pytest.mark.parametrize("hysteresis_db", [0.0, 3.0, 6.0])
def test_a_device_changes_where_the_hysteresis_says(hysteresis_db: float) -> None:
    seen: list[tuple[float, int]] = []

    def watch(run: Run) -> None:
        assert run.cells is not None
        look = run.cells.update

        def update(time_s: float) -> Any:
            changes = look(time_s)
            seen.extend((time_s, station) for _, station in changes)
            return changes

        run.cells.update = update  # type: ignore[method-assign]

    run = play(walk(keys=f", hysteresis_db = {hysteresis_db}"), waits(40.0), hook=watch)
    assert seen == [(handover_s(hysteresis_db), 2)]
    assert run.cells is not None
    assert run.cells.num_handovers == 1
    edges = run.topology.edges().tolist()
    assert edges == [[0, 2]]
    assert run.record().notes[-1:] != []


def test_who_is_away_makes_no_hand_over_and_comes_back_to_the_strongest_station() -> None:
    """Away while it passes the place of the hand-over, and back before the hysteresis would have it change."""
    away = ('devices.0.churn={kind="schedule", leave_s=[10.0], join_s=[22.0]}', "output.sinr=true")
    run = play(walk(*away, keys=", hysteresis_db = 6.0"), waits(40.0))
    assert handover_s(0.0) < 22.0 < handover_s(6.0)
    assert run.cells is not None
    assert run.sinr is not None
    assert run.cells.serving == [2]
    assert run.cells.num_handovers == len(run.sinr.handovers) == 0


PAYLOAD = 60_000_000  # some 40 s of air


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_transfer_that_goes_on_is_not_repeated(direction: str) -> None:
    """Every bit is on the air once, in part by the one station and in part by the other, and the message is there when the
    integral of the rate along the walk says (to 1e-4: the simulator's grid in time is that of the local mean)."""
    log: list[tuple[float, int, int]] = []
    programs = (
        {0: sends(SERVER, PAYLOAD), SERVER: arrivals(log, 1)}
        if direction == "up"
        else {SERVER: sends(0, PAYLOAD), 0: arrivals(log, 1)}
    )
    run = play(walk(), programs)
    assert ledger_closes(run)
    assert run.ledger.on_air_bits == coded_bits(PAYLOAD) + FEEDBACK_BITS
    change_s = handover_s(3.0)
    assert log[0][0] > change_s
    assert log[0][0] == pytest.approx(through(PAYLOAD, 0.0, change_s), rel=1e-4)
    by_node = run.ledger.sent_bits_by_node.tolist()
    if direction == "down":
        assert by_node[0] == 0
        assert min(by_node[1:]) > 0.2 * PAYLOAD
    radio_s = run.radios.state_ns[:, 1:].sum(axis=0) / 1e9
    busy = (run.radios.state_ns[0] + run.radios.state_ns[1])[1:] / 1e9  # a station's radio is on while it serves
    assert busy == pytest.approx([change_s, log[0][0] - change_s], abs=1e-6)
    assert radio_s == pytest.approx([log[0][0]] * 2)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_what_waits_behind_goes_by_the_new_station_in_order(direction: str) -> None:
    log: list[tuple[float, int, int]] = []
    programs = (
        {0: sends(SERVER, PAYLOAD // 3, 5), SERVER: arrivals(log, 5)}
        if direction == "up"
        else {SERVER: sends(0, PAYLOAD // 3, 5), 0: arrivals(log, 5)}
    )
    run = play(walk(), programs)
    assert ledger_closes(run)
    assert [k for _, _, k in log] == [0, 1, 2, 3, 4]
    assert run.ledger.on_air_bits == 5 * (coded_bits(PAYLOAD // 3) + FEEDBACK_BITS)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_transfer_that_is_lost_is_repeated_by_arq_only(direction: str) -> None:
    """arq: packets that were through stay through, so the cut packet and a feedback are what comes on top. Without
    repetition the message is lost, cause departure."""
    for reliability, delivered in (("arq", 1), ("none", 0)):
        to, of = (SERVER, 0) if direction == "up" else (0, SERVER)
        loaded = walk(f"transport.reliability={reliability}", keys=', handover = "lose"')
        run = play(loaded, {of: sends(to, PAYLOAD), to: waits(100.0)})
        assert ledger_closes(run)
        assert run.ledger.delivered == delivered
        assert run.ledger.lost["departure"] == 1 - delivered
        if delivered:
            extra = run.ledger.on_air_bits - coded_bits(PAYLOAD) - FEEDBACK_BITS
            assert FEEDBACK_BITS <= extra < FEEDBACK_BITS + MTU_BITS
            assert run.ledger.packets_lost > 100
        else:
            assert 0.2 * PAYLOAD < run.ledger.on_air_bits < 0.9 * PAYLOAD


def test_at_a_fixed_rate_the_cut_packet_is_sent_anew() -> None:
    loaded = walk("phy.rate=fixed", "phy.fixed_efficiency_bps_hz=0.3")
    run = play(loaded, {0: sends(SERVER, 9_000_000), SERVER: waits(40.0)})
    assert ledger_closes(run)
    assert run.ledger.delivered == 1
    extra = run.ledger.on_air_bits - coded_bits(9_000_000) - FEEDBACK_BITS
    assert 0 < extra < MTU_BITS
    assert run.ledger.packets_lost == 0


@pytest.mark.parametrize(("handover", "delivered"), [("continue", 1), ("lose", 0)])
def test_a_broadcast_under_way_is_heard_to_its_end_or_missed(handover: str, delivered: int) -> None:
    rate = BANDWIDTH_HZ * 0.05
    loaded = walk(f"mac.broadcast_rate_bps={rate}", keys=f', handover = "{handover}"')
    run = play(loaded, {SERVER: sends((0,), int(30 * rate), broadcast=True), 0: waits(40.0)})
    assert ledger_closes(run)
    assert run.ledger.delivered == delivered
    assert run.ledger.lost["departure"] == 1 - delivered
    by_node = run.ledger.sent_bits_by_node.tolist()
    assert by_node == [0, coded_bits(int(30 * rate)), 0]  # all of it by the station that began it


def test_an_estimate_of_several_cells_is_the_run() -> None:
    """Same events, bits and hand-overs with training and without."""
    loaded = load(FILE, ["stop.rounds=2", "devices.0.count=8", "channel.bandwidth_hz=3e5"])
    run, estimate = simulate(loaded), simulate(loaded, executor="null")
    assert run.event_digest == estimate.event_digest
    assert (run.on_air_bits, run.notes[-1]) == (estimate.on_air_bits, estimate.notes[-1])
    assert "7 cells, 0 hand-overs" not in run.notes
    assert any("hand-overs" in note for note in run.notes)


def test_a_learner_that_waits_for_all_is_told_that_a_handover_may_lose_its_message() -> None:
    changes = ("cells.handover=lose", "transport.reliability=none")
    with pytest.raises(ScenarioError, match=r'deadline_s: .* cells.handover = "lose" loses what is under way'):
        load(FILE, overrides=changes)
    load(FILE, overrides=(*changes, "algorithm.deadline_s=2.0"))
    load(FILE, overrides=(*changes, "devices.0.mobility=static"))
    load(FILE, overrides=changes[:1])
