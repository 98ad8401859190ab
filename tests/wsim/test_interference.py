"""Interference between cells: rates against closed forms by hand, the Poisson field, fates of fixed rates, wrap-around."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from channels.channel import Channel
from channels.fading import Rayleigh
from channels.link_adaptation import RateMap
from channels.mobility import Positions, Static
from channels.path_loss import LogDistance
from learners.protocol import SERVER, Send
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    arrivals,
    bits,
    coded_bits,
    free_space_db,
    ledger_closes,
    play,
    sends,
    waits,
)
from tests.wsim.cellular import Place, cells
from wsim.links import Links
from wsim.mac.cell_shares import CellShares
from wsim.mac.interference import InterferenceAhead
from wsim.mac.transfer import Transfer

SINR = 'interference = "sinr"'
STATIONS = [(0.0, 0.0), (700.0, 0.0)]
DEVICES = [(100.0, 0.0), (0.0, 150.0), (600.0, 200.0)]
PAYLOAD = 4_000_000
ON_AIR = coded_bits(PAYLOAD) + FEEDBACK_BITS


def snr(a: Place, b: Place, snr_db: float = 10.0) -> float:
    """Over the whole band, linear, of what has snr_db at 100 m."""
    return 10 ** ((snr_db + free_space_db(100.0) - free_space_db(math.dist(a, b))) / 10)


def finish_times(amounts: dict[int, float], rates: Any) -> dict[int, float]:
    """When each is through: rates(active) -> bit/s of each of them, until one is."""
    left, now, done = dict(amounts), 0.0, {}
    while left:
        rate = rates(set(left))
        step, first = min((left[i] / rate[i], i) for i in left)
        now += step
        left = {i: left[i] - rate[i] * step for i in left if i != first}
        done[first] = now
    return done


def uplink_rates(mac: str, snr_db: float, antennas: int = 1) -> Any:
    """Of devices 0 and 1 at station 0 and device 2 at station 1. Antennas add up for the wanted signal, and for it alone."""

    def rates(active: set[int]) -> dict[int, float]:
        found = {}
        cell_of = {0: 0, 1: 0, 2: 1}
        for i in active:
            peers = sum(cell_of[j] == cell_of[i] for j in active)
            station = STATIONS[cell_of[i]]
            others = 0.0
            for j in active:
                if cell_of[j] != cell_of[i]:
                    on_air = 1 / sum(cell_of[k] == cell_of[j] for k in active) if mac == "tdma" else 1.0
                    others += on_air * snr(DEVICES[j], station, snr_db)
            own = (
                antennas * snr(DEVICES[i], station, snr_db) * (peers if mac == "fdma" else 1)
            )  # the power in its part of the band
            found[i] = BANDWIDTH_HZ / peers * math.log2(1 + own / (1 + others))
        return found

    return rates


def downlink_rates(active: set[int]) -> dict[int, float]:
    cell_of = {0: 0, 1: 0, 2: 1}
    on = {cell_of[j] for j in active}
    found = {}
    for i in active:
        peers = sum(cell_of[j] == cell_of[i] for j in active)
        others = sum(snr(STATIONS[c], DEVICES[i]) for c in on if c != cell_of[i])
        found[i] = BANDWIDTH_HZ / peers * math.log2(1 + snr(STATIONS[cell_of[i]], DEVICES[i]) / (1 + others))
    return found


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
@pytest.mark.parametrize(("snr_db", "antennas"), [(0.0, 1), (10.0, 1), (10.0, 4), (40.0, 1)])
def test_uplinks_of_two_cells_finish_when_the_closed_form_says(mac: str, snr_db: float, antennas: int) -> None:
    """Three uplinks; when one ends, all others change rate, also those in the other cell. Nanoseconds are rounded up, once for
    each of the three ends, and 1e-9 is relative."""
    log: list[tuple[float, int, int]] = []
    change = f"server.radio.rx_antennas={antennas}"
    loaded = cells(STATIONS, DEVICES, change, mac=mac, keys=SINR, snr_db=snr_db)
    payloads = {0: PAYLOAD, 1: 3 * PAYLOAD, 2: 2 * PAYLOAD}
    programs = {i: sends(SERVER, payload) for i, payload in payloads.items()}
    run = play(loaded, {**programs, SERVER: arrivals(log, 3)})
    amounts = {i: float(coded_bits(payload) + FEEDBACK_BITS) for i, payload in payloads.items()}
    expected = finish_times(amounts, uplink_rates(mac, snr_db, antennas))
    assert {sender: time for time, sender, _ in log} == pytest.approx(expected, rel=1e-9, abs=4e-9)
    assert ledger_closes(run)


@pytest.mark.parametrize("mac", ["fdma", "tdma"])
def test_downlinks_hear_the_stations_that_have_something_to_send(mac: str) -> None:
    log: dict[int, list[tuple[float, int, int]]] = {i: [] for i in range(3)}
    loaded = cells(STATIONS, DEVICES, mac=mac, keys=SINR)
    payloads = {0: PAYLOAD, 1: 3 * PAYLOAD, 2: 2 * PAYLOAD}

    def server(node: Any) -> Any:
        for i, payload in payloads.items():
            yield Send(i, "m", 0, bits(payload))

    play(loaded, {SERVER: server} | {i: arrivals(log[i], 1) for i in range(3)})
    amounts = {i: float(coded_bits(payload) + FEEDBACK_BITS) for i, payload in payloads.items()}
    expected = finish_times(amounts, downlink_rates)
    assert {i: log[i][0][0] for i in range(3)} == pytest.approx(expected, rel=1e-9, abs=4e-9)


def test_directions_do_not_hear_each_other_and_noise_rise_is_noise() -> None:
    """An uplink beside a downlink of the other cell is as alone. interference_over_thermal_db = 3.0103 doubles the noise."""
    times = []
    for change in ((), ("channel.interference_over_thermal_db=3.010299956639812",)):
        log: list[tuple[float, int, int]] = []
        loaded = cells(STATIONS, [DEVICES[0], DEVICES[2]], *change, keys=SINR)

        def server(node: Any, log: Any = log) -> Any:
            yield Send(1, "m", 0, bits(100 * PAYLOAD))
            yield from arrivals(log, 1)(node)

        play(loaded, {SERVER: server, 0: sends(SERVER, PAYLOAD)})
        times.append(log[0][0])
    alone = [ON_AIR / (BANDWIDTH_HZ * math.log2(1 + snr(DEVICES[0], STATIONS[0]) / noise)) for noise in (1.0, 2.0)]
    assert times == pytest.approx(alone, rel=1e-9, abs=2e-9)


def test_a_fixed_rate_loses_the_packets_during_which_it_hears_too_much() -> None:
    """Device 2 sends from 1 s to 2 s. Device 0's rate is between the two rates that its link carries then and else: the packets
    that touch that second are lost, all others arrive."""
    quiet = math.log2(1 + snr(DEVICES[0], STATIONS[0]))
    loud = math.log2(1 + snr(DEVICES[0], STATIONS[0]) / (1 + snr(DEVICES[2], STATIONS[1 - 1], 10.0)))
    fixed = (quiet + loud) / 2
    loaded = cells(
        STATIONS,
        [DEVICES[0], DEVICES[2]],
        "phy.rate=fixed",
        f"phy.fixed_efficiency_bps_hz={fixed!r}",
        "transport.reliability=none",
        "transport.header_bytes=0",
        keys=SINR,
    )

    def other(node: Any) -> Any:
        yield from waits(1.0)(node)
        yield Send(SERVER, "m", 0, bits(int(fixed * BANDWIDTH_HZ)))

    payload = int(4 * fixed * BANDWIDTH_HZ) // 12_000 * 12_000
    run = play(loaded, {0: sends(SERVER, payload), 1: other, SERVER: waits(6.0)})
    duration_s = 12_000 / (fixed * BANDWIDTH_HZ)
    hit = math.ceil(2.0 / duration_s - 1e-6) - math.floor(1.0 / duration_s + 1e-6)
    own_lost = run.ledger.packets_lost - _packets_lost_of_the_other(fixed)
    assert own_lost in (hit, hit + 1)  # the last bit of the other's second may fall into one packet more
    assert ledger_closes(run)


def _packets_lost_of_the_other(fixed: float) -> int:
    """Device 2's own packets: at its station device 0 is heard all of the time."""
    sinr = snr(DEVICES[2], STATIONS[1]) / (1 + snr(DEVICES[0], STATIONS[1]))
    packets = math.ceil(math.ceil(int(fixed * BANDWIDTH_HZ) / 8) * 8 / 12_000)
    return packets if math.log2(1 + sinr) < fixed else 0


def test_a_broadcast_is_sent_at_what_the_weakest_decodes_among_all_stations() -> None:
    """Both stations broadcast at once; every device decodes, though with the rate by SNR alone none would."""
    loaded = cells(STATIONS, DEVICES, "mac.broadcast_reach=1.0", keys=SINR)
    run = play(loaded, {SERVER: sends((0, 1, 2), PAYLOAD, broadcast=True)} | {i: waits(60.0) for i in range(3)})
    assert run.ledger.delivered == 3
    rates = []
    for own, other, devices in ((0, 1, (0, 1)), (1, 0, (2,))):
        sinr = [snr(STATIONS[own], DEVICES[i]) / (1 + snr(STATIONS[other], DEVICES[i])) for i in devices]
        rates.append(BANDWIDTH_HZ * math.log2(1 + min(sinr)))
    airtime_s = sum(coded_bits(PAYLOAD) / rate for rate in rates)
    assert run.ledger.airtime_ns / 1e9 == pytest.approx(airtime_s, rel=1e-9)


# -- statistics of geometry, fading and interference together ---------------------------------------------------------


def outage_links(stations_m: np.ndarray, key: int, exponent: float) -> Links:
    """A device at the origin, index 0, and stations of unit power; Rayleigh blocks, next to no noise."""
    positions = Positions([Static((0.0, 0.0, 0.0)), *(Static((x, y, 0.0)) for x, y in stations_m.tolist())])
    n = positions.num_nodes
    channel = Channel(
        positions,
        1e9,
        LogDistance(exponent=exponent, reference_loss_db=0.0, reference_distance_m=1e-3),
        None,
        Rayleigh(correlation="block", block_s=1.0),
        [0.0] * n,
        [1] * n,
        key,
        base_station=range(1, n),
    )
    one = np.ones(n)
    return Links(channel, positions, RateMap(0.0, 100.0, -60.0, 0.0), one, one * 1e-30, one, None)


@pytest.mark.parametrize(("exponent", "seed"), [(4.0, 1), (3.0, 2)])
def test_coverage_in_a_poisson_field_of_stations_is_the_closed_form(exponent: float, seed: int) -> None:
    """Andrews, Baccelli and Ganti 2011, theorem 2 without noise: P(SINR > T) = 1 / (1 + rho(T)),
    rho = T^(2/a) int_{T^(-2/a)}^inf du / (1 + u^(a/2)); for a = 4 sqrt(T) (pi/2 - atan(1/sqrt(T))).

    400 fields of 150 stations on average, 40 fading blocks each. Standard error over the fields (at most 0.015); four of them.
    The field ends at the radius of 150 stations, the power from beyond is less than 1e-2 (a = 4) or 0.1 (a = 3) of the mean of
    what a device at the nearest station's distance hears: it moves the coverage by less than 0.002, or 0.01.
    """
    rng = np.random.default_rng(seed)
    thresholds = np.array([0.3, 1.0, 3.0])
    covered = []
    for field in range(400):
        n = rng.poisson(150)
        radius, angle = np.sqrt(rng.random(n) * 150 / math.pi), 2 * math.pi * rng.random(n)
        links = outage_links(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), field, exponent)
        shares = CellShares(1.0, 1, n, True, 1.0, True, True)
        nearest = int(radius.argmin())
        transfer = Transfer(None, nearest + 1, (0,), 1)  # type: ignore[arg-type]
        shares.admit(transfer)
        shares.in_cell[:] = 1  # everybody has something to send
        ahead = InterferenceAhead(links, shares, 1, 1.0)
        ahead._width = 40
        ahead.look(0, [transfer])
        sinr = ahead.since(0)[:, 0]
        assert len(sinr) == 40
        covered.append((sinr[:, None] > thresholds).mean(axis=0))
    found, error = np.mean(covered, axis=0), np.std(covered, axis=0) / math.sqrt(len(covered))
    u = np.linspace(0.0, 1.0, 200_001)[
        1:
    ]  # substitution u = c / v: int_c^inf du/(1+u^(a/2)) = int_0^1 c/v^2 / (1+(c/v)^(a/2)) dv
    expected = []
    for threshold in thresholds:
        c = threshold ** (-2 / exponent)
        values = c / u**2 / (1 + (c / u) ** (exponent / 2))
        expected.append(1 / (1 + threshold ** (2 / exponent) * values.mean()))
    if exponent == 4.0:
        closed = 1 / (1 + np.sqrt(thresholds) * (math.pi / 2 - np.arctan(1 / np.sqrt(thresholds))))
        assert expected == pytest.approx(closed, abs=1e-4)
    beyond = 0.002 if exponent == 4.0 else 0.01
    assert (np.abs(found - expected) < 4 * error + beyond).all()
    assert error.max() < 0.02


@pytest.mark.parametrize(("sites", "sectors"), [(7, 1), (7, 3), (19, 1)])
def test_with_wraparound_every_cell_hears_the_same(sites: int, sectors: int) -> None:
    """A device at the same place of each cell: without shadowing the SINR with all stations on is the same in all of them, and
    without wrap-around it is not."""
    sinr_db = {}
    for wraparound in (True, False):
        loaded = cells(
            [(0.0, 0.0)],
            [(0.0, 0.0)],
            "cells.layout=hexagonal",
            f"cells.sites={sites}",
            f"cells.sectors={sectors}",
            f"cells.wraparound={str(wraparound).lower()}",
            keys=SINR,
        )
        hexagons = loaded.scenario.cells.hexagons  # type: ignore[union-attr]
        places = hexagons.sites_m + [60.0, 110.0]  # type: ignore[union-attr]
        loaded = cells(
            [(0.0, 0.0)],
            [tuple(place) for place in places.tolist()],
            "cells.layout=hexagonal",
            f"cells.sites={sites}",
            f"cells.sectors={sectors}",
            f"cells.wraparound={str(wraparound).lower()}",
            keys=SINR,
        )
        run = play(loaded, waits(1.0))
        assert run.cells is not None
        power = 10 ** (run.cells.received_db(0.0) / 10) / BANDWIDTH_HZ  # [stations, devices]
        serving = np.array(run.cells.serving) - run.cells.first_station
        own = power[serving, np.arange(len(places))]
        sinr_db[wraparound] = 10 * np.log10(own / (1 + power.sum(axis=0) - own))
    assert np.ptp(sinr_db[True]) < 1e-6
    assert np.ptp(sinr_db[False]) > 0.5


@pytest.mark.parametrize("downlink", [True, False])
@pytest.mark.parametrize("num_active", [1, 2, 13, 200])
@pytest.mark.parametrize("divides_band", [True, False])
def test_interference_has_the_same_bits_however_many_cells_are_looked_at(
    downlink: bool, num_active: int, divides_band: bool
) -> None:
    """Cell by cell, any number together, and in a larger array; 19 stations, transfers at random ones."""
    rng = np.random.default_rng([3, num_active])
    shares = CellShares(1e6, num_active, 19, downlink, 1.0, divides_band, True)
    for i in range(num_active):
        station = num_active + int(rng.integers(19))
        shares.admit(Transfer(None, *((station, (i,)) if downlink else (i, (station,))), 1, 1.0))  # type: ignore[arg-type]
    ahead = object.__new__(InterferenceAhead)
    ahead._shares = shares
    own, others = rng.exponential(size=(64, num_active)), rng.exponential(size=(64, 19, num_active))
    wide = np.zeros((64, 19, num_active + 7))
    wide[:, :, :num_active] = others
    together = ahead._over_interference(own, others)
    assert (together > 0).all()
    assert (ahead._over_interference(own, wide[:, :, :num_active]) == together).all()
    for first, end in ((0, 1), (3, 5), (11, 48)):
        assert (ahead._over_interference(own[first:end], wide[first:end, :, :num_active]) == together[first:end]).all()
    assert (ahead._over_interference(own[7], others[7]) == together[7]).all()
