"""Several cells: association, one band a cell, broadcasts by station, hand-over, and books that close."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.compression.float32 import Float32
from learners.protocol import SERVER, Observe, Payload, Receive, Send, Sleep
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    ROOM_BITS,
    arrivals,
    bits,
    cell,
    coded_bits,
    ledger_closes,
    play,
    rate_bps,
    sends,
    waits,
)
from tests.wsim.cellular import cells
from wsim.engine import Run
from wsim.errors import ScenarioError
from wsim.scenario import Loaded

TWO = [(0.0, 0.0), (1000.0, 0.0)]
PAYLOAD = 400_000
ON_AIR = coded_bits(PAYLOAD) + FEEDBACK_BITS


def at_m(distance_m: float, snr_db: float = 10.0) -> float:
    """SNR in dB at a distance in free space, of what has snr_db at 100 m."""
    return snr_db - 20 * math.log10(distance_m / 100.0)


def test_devices_are_served_by_the_nearest_station_each_with_the_whole_band() -> None:
    """One device a cell: nobody shares, so each uplink takes bits / rate of its own distance over the whole band."""
    log: list[tuple[float, int, int]] = []
    loaded = cells(TWO, [(100.0, 0.0), (800.0, 0.0)])
    run = play(loaded, {SERVER: arrivals(log, 2), 0: sends(SERVER, PAYLOAD), 1: sends(SERVER, PAYLOAD)})
    assert run.cells is not None
    assert run.cells.serving == [2, 3]
    times = {sender: time for time, sender, _ in log}
    assert times[0] == pytest.approx(ON_AIR / rate_bps(at_m(100.0)), abs=2e-9)
    assert times[1] == pytest.approx(ON_AIR / rate_bps(at_m(200.0)), abs=2e-9)


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_cell_shares_its_band_among_its_own_devices_only(mac: str, direction: str) -> None:
    """Three devices in one cell and one in the other: the first cell behaves as it does alone, to the nanosecond."""
    places = [(100.0, 0.0), (0.0, 100.0), (0.0, -100.0), (1000.0, 100.0)]
    together = _instants(cells(TWO, places, mac=mac), direction)
    alone = _instants(cell([10.0, 10.0, 10.0], mac=mac), direction)
    assert {i: together[i] for i in range(3)} == alone


def _instants(loaded: Loaded, direction: str) -> dict[int, int]:
    """When the message of (or to) each device is there, in ns."""
    devices, found = range(loaded.scenario.num_devices), {}

    def receiver(node: Any) -> Any:
        for _ in devices if node.id == SERVER else [0]:
            message = (yield Receive(None, "m", count=1)).messages[0]
            found[message.sender if node.id == SERVER else node.id] = running[0].clock.now_ns

    def server(node: Any) -> Any:
        for i in devices:
            yield Send(i, "m", 0, bits(PAYLOAD * (1 + i % 3)))

    running: list[Run] = []
    if direction == "up":
        programs = {i: sends(SERVER, PAYLOAD * (1 + i % 3)) for i in devices} | {SERVER: receiver}
    else:
        programs = dict.fromkeys(devices, receiver) | {SERVER: server}
    assert ledger_closes(play(loaded, programs, hook=running.append))
    return found


def test_a_broadcast_goes_out_from_every_station_that_serves_somebody() -> None:
    """Five stations, devices at two of them: two transmissions, each at the rate of its own weakest device, one outcome."""
    stations = [(1000.0 * i, 0.0) for i in range(5)]
    log: list[tuple[float, int, int]] = []
    loaded = cells(stations, [(100.0, 0.0), (200.0, 0.0), (3100.0, 0.0)])
    everybody = {i: arrivals(log, 1) for i in range(3)}
    run = play(loaded, {SERVER: sends((0, 1, 2), PAYLOAD, broadcast=True), **everybody})
    assert run.ledger.sent == run.ledger.delivered == 3
    assert run.ledger.coded_bits == 2 * coded_bits(PAYLOAD)
    assert [int(b) for b in run.ledger.sent_bits_by_node[3:]] == [coded_bits(PAYLOAD), 0, 0, coded_bits(PAYLOAD), 0]
    times = sorted(time for time, _, _ in log)
    assert times[0] == pytest.approx(coded_bits(PAYLOAD) / rate_bps(at_m(100.0)), abs=2e-9)
    assert times[1:] == pytest.approx([coded_bits(PAYLOAD) / rate_bps(at_m(200.0))] * 2, abs=2e-9)


def test_messages_by_other_stations_than_the_first_take_the_backhaul() -> None:
    log: list[tuple[float, int, int]] = []
    loaded = cells(TWO, [(100.0, 0.0), (900.0, 0.0)], keys='interference = "none", backhaul_latency_s = 0.5')
    play(loaded, {SERVER: arrivals(log, 2), 0: sends(SERVER, PAYLOAD), 1: sends(SERVER, PAYLOAD)})
    air_s = ON_AIR / rate_bps(10.0)
    assert [(sender, round(time, 8)) for time, sender, _ in log] == [(0, round(air_s, 8)), (1, round(air_s + 0.5, 8))]


def test_a_station_sends_one_message_after_the_other_over_its_wire() -> None:
    """Two uplinks end together at the second station, whose wire is as fast as the air: the second one waits for the first."""
    log: list[tuple[float, int, int]] = []
    rate = f'interference = "none", backhaul_latency_s = 0.5, backhaul_rate_bps = {rate_bps(10.0)!r}'
    loaded = cells(TWO, [(100.0, 0.0), (900.0, 0.0), (1100.0, 0.0)], keys=rate, mac="tdma")
    run = play(loaded, {SERVER: arrivals(log, 3), **dict.fromkeys(range(3), sends(SERVER, PAYLOAD))})
    air_s, wire_s = ON_AIR / rate_bps(10.0), coded_bits(PAYLOAD) / rate_bps(10.0)
    expected = [air_s, 2 * air_s + 0.5 + wire_s, 2 * air_s + 0.5 + 2 * wire_s]
    assert [time for time, _, _ in log] == pytest.approx(expected, abs=4e-9)
    assert run.ledger.backhaul_bits == 2 * coded_bits(PAYLOAD)
    assert ledger_closes(run)


WIRED = 'interference = "none", backhaul_latency_s = 0.5, backhaul_rate_bps = 1e6'


@pytest.mark.parametrize(
    ("places_m", "crossings", "lost"),
    [
        ([100.0, 900.0, 1300.0], 1, 1),  # of the two behind the wire the far one is lost
        ([300.0, 900.0, 1100.0], 1, 1),  # that before the wire
        ([100.0, 1300.0, 1350.0], 1, 2),  # both behind it: the station had it on the air all the same
        ([100.0, 200.0, -100.0], 0, 1),  # nobody is behind the wire
        ([900.0, 1900.0, 1910.0], 2, 0),  # behind two wires, one of them with two devices
    ],
)
def test_a_broadcast_takes_each_wire_once_whatever_the_air_loses_of_it(
    places_m: list[float], crossings: int, lost: int
) -> None:
    """A fixed rate that reaches just beyond 100 m, where the SNR is 10 dB. The server stands at the first of three stations."""
    times: list[float] = []

    def hears(node: Any) -> Any:
        if (yield Receive(None, "m", count=1, timeout_s=100.0)).messages:
            times.append((yield Observe("time")))

    rate = f"mac.broadcast_rate_bps={0.99 * rate_bps(10.0)!r}"
    loaded = cells([*TWO, (2000.0, 0.0)], [(x, 0.0) for x in places_m], rate, keys=WIRED)
    programs = dict.fromkeys(range(3), hears) | {SERVER: sends((0, 1, 2), PAYLOAD, broadcast=True)}
    ledger = (run := play(loaded, programs)).ledger
    assert (ledger.sent, ledger.delivered) == (3, 3 - lost)
    assert {cause: number for cause, number in ledger.lost.items() if number} == ({"outage": lost} if lost else {})
    assert run.transport.in_flight == 0
    assert ledger.backhaul_bits == crossings * coded_bits(PAYLOAD)
    air_s, wire_s = coded_bits(PAYLOAD) / (0.99 * rate_bps(10.0)), 0.5 + coded_bits(PAYLOAD) / 1e6
    near = [x for x in places_m if min(abs(x), abs(x - 1000.0), abs(x - 2000.0)) <= 100.0]
    assert sorted(times) == pytest.approx(sorted(air_s + (wire_s if x > 500.0 else 0.0) for x in near), abs=4e-9)


def test_a_wire_has_all_of_a_downlink_and_of_an_uplink_what_arrived() -> None:
    """A device behind the wire and the server send each other 30 packets of float32, some of which the air loses in each direction;
    then the same where a message that lost a packet is lost."""
    values = 30 * ROOM_BITS // 32
    payload = Payload(None, 32 * values, Float32(), values)
    forced = "channel.forced_loss.rate=0.3"
    for partial, uplink_arrives in (("use", True), ("drop", False)):
        lost: dict[int, int] = {}  # packets, by who missed them

        def answers(node: Any, lost: dict[int, int] = lost) -> Any:
            yield Send(0 if node.id == SERVER else SERVER, "m", 0, payload)
            got = yield Receive(None, "m", count=1, timeout_s=100.0)
            for message in got.messages:
                lost[node.id] = 30 - int(message.mask.sum()) // (ROOM_BITS // 32)

        keys = [forced, "transport.reliability=none", f"transport.partial={partial}"]
        run = play(cells(TWO, [(900.0, 0.0)], *keys, keys=WIRED), dict.fromkeys((SERVER, 0), answers), executor="eager")
        assert ledger_closes(run)
        assert run.ledger.packets_lost > 5
        assert run.ledger.delivered == (2 if uplink_arrives else 0)
        up = 0
        if uplink_arrives:
            assert sum(lost.values()) == run.ledger.packets_lost
            assert lost[0] != lost[SERVER]
            up = coded_bits(32 * values) - lost[SERVER] * 8 * 1500
        assert run.ledger.backhaul_bits == coded_bits(32 * values) + up


def test_one_cell_is_the_cell_of_a_scenario_without_cells() -> None:
    """Same events and same books, also where FDMA divides the band."""
    digests = []
    place = [(100.0 * math.cos(2 * math.pi * i / 3), 100.0 * math.sin(2 * math.pi * i / 3)) for i in range(3)]
    for loaded in (cells([(0.0, 0.0)], place), cell([10.0] * 3, mac="fdma")):
        run = play(loaded, dict.fromkeys(range(3), sends(SERVER, PAYLOAD, 3)) | {SERVER: waits(1.0)})
        digests.append((run.ledger.event_digest, run.ledger.on_air_bits, run.ledger.airtime_ns, run.radios.tx_j.sum()))
    assert digests[0] == digests[1]


@settings(max_examples=15, deadline=None)
@given(
    sites=st.sampled_from([1, 3, 7, 19]),
    sectors=st.sampled_from([1, 3]),
    mac=st.sampled_from(["fdma", "tdma"]),
    rate=st.sampled_from(["adaptive", "fixed"]),
    handover=st.sampled_from(["continue", "lose"]),
    reliability=st.sampled_from(["default", "none", "nack", "fountain"]),
    fading=st.sampled_from(["none", "rayleigh"]),
    forced=st.sampled_from([0.0, 0.2]),
    interference=st.sampled_from(["sinr", "none"]),
    seed=st.integers(1, 1000),
)
def test_books_close_over_layouts(
    sites: int,
    sectors: int,
    mac: str,
    rate: str,
    handover: str,
    reliability: str,
    fading: str,
    forced: float,
    interference: str,
    seed: int,
) -> None:
    """sent = delivered + lost + in flight while walkers are handed over with messages of both directions under way; radio time
    adds up to the run's; bits on the air are those of the transmissions, each counted once at one station or another."""
    layout = f"cells.sites={sites}", f"cells.sectors={sectors}", f"cells.wraparound={str(sites >= 7).lower()}"
    loaded = cells(
        [(0.0, 0.0)],
        [(0.0, 0.0)],
        "cells.layout=hexagonal",
        "cells.inter_site_distance_m=100.0",
        *layout,
        "devices.0.count=6",
        'devices.0.positions_m="none"',
        "area.side_m=300.0",
        'devices.0.mobility={kind="random_waypoint", speed_mps=[20.0, 40.0]}',
        f"mac={mac}",
        f"phy.rate={rate}",
        "phy.fixed_efficiency_bps_hz=1.0",
        f"transport.reliability={reliability}",
        "transport.max_attempts=4",
        f"channel.forced_loss.rate={forced}",
        f"channel.fading={fading}",
        f"cells.handover={handover}",
        f"cells.interference={interference}",
        "cells.update_every_s=0.1",
        "cells.hysteresis_db=1.0",
        "stop.simulated_s=3.0",
        seed=seed,
    )

    def device(node: Any) -> Any:
        for k in range(10):
            yield Send(SERVER, "m", k, bits(300_000))
            yield Sleep(0.3)

    def server(node: Any) -> Any:
        for k in range(10):
            yield Send(tuple(range(6)), "b", k, bits(200_000), broadcast=True)
            yield Send((0, 1, 2), "m", k, bits(200_000))
            yield Sleep(0.2)

    run = play(loaded, dict.fromkeys(range(6), device) | {SERVER: server})
    assert ledger_closes(run)
    spent_ns = run.radios.state_ns.sum(axis=0)
    assert spent_ns == pytest.approx([run.clock.now_ns] * run.world.num_nodes)
    assert (run.radios.state_ns >= 0).all()
    assert int(run.ledger.sent_bits_by_node.sum()) == run.ledger.on_air_bits
    assert (run.ledger.backhaul_bits > 0) == (sites * sectors > 1)
    assert run.ledger.backhaul_bits <= run.ledger.coded_bits, "no message takes a wire twice"
    assert run.ledger.resource_hz_ns <= run.clock.now_ns * BANDWIDTH_HZ * 2 * run.world.num_stations * (1 + 1e-9)


def test_devices_are_placed_in_the_hexagons_and_served_by_their_own_sites() -> None:
    """Free space, equal heights: the strongest station is that of the hexagon, also across the edge of the wrapped layout; the
    counts per site are those of a uniform law (chi square of 6 degrees of freedom, above 27.9 once in 10,000 seeds)."""
    loaded = cells(
        [(0.0, 0.0)],
        [(0.0, 0.0)],
        "cells.layout=hexagonal",
        "cells.wraparound=true",
        "area.shape=cells",
        "area.min_distance_m=20.0",
        "devices.0.count=700",
        "data.num_samples=2000",
        'devices.0.positions_m="none"',
    )
    run = play(loaded, waits(1.0))
    hexagons = loaded.scenario.cells.hexagons  # type: ignore[union-attr]
    places = run.world.positions.at(np.arange(700), 0.0)
    assert run.cells is not None
    site = hexagons.nearest_site(places)  # type: ignore[union-attr]
    assert [serving - 700 for serving in run.cells.serving] == site.tolist()
    counts = np.bincount(site, minlength=7)
    assert ((counts - 100.0) ** 2 / 100.0).sum() < 27.9
    assert np.hypot(*(places[:, None, :2] - hexagons.sites_m).T).min() >= 20.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("cells.sites=4", "[cells] sites = 4"),
        ("cells.positions_m=[[0.0, 0.0], [0.0, 0.0]]", "names a place twice"),
        ('cells={layout="positions"}', "needs positions_m"),
        ("cells={sites=3, wraparound=true}", "sites = 7 or 19, not 3"),
        ("cells.sites=5", "sites = 5: accepted are 1, 3, 7, 19"),
        ("mac=ideal", "with them: fdma, tdma"),
        ('server="none"', "[server]"),
        ("area.shape=cells", 'layout = "hexagonal"'),
        ("cells.hysteresis_db=-1.0", "[cells] hysteresis_db = -1"),
    ],
)
def test_bad_cells_are_one_clear_line(change: str, says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        cells(TWO, [(100.0, 0.0)], change)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
