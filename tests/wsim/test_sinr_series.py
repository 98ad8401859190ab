"""The SINR of what is on the air, kept as steps: against closed forms, against the rates that it set, and within its bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from learners.protocol import SERVER, Actuate, Send, Sleep
from tests.wsim.builders import (
    BANDWIDTH_HZ,
    FEEDBACK_BITS,
    bits,
    cell,
    coded_bits,
    free_space_db,
    peers,
    play,
    power_dbm,
    sends,
    waits,
)
from tests.wsim.cellular import cells
from wsim import results
from wsim.engine import Run
from wsim.mac.sinr_series import SinrSeries
from wsim.scenario import Loaded

KEPT = "output.sinr=true"
HIDDEN = 'mac={kind="shared", interference="sinr", sensing_snr_db=50.0}'  # nobody senses anybody
PLACES = [(0.0, 0.0), (100.0, 0.0), (300.0, 50.0), (250.0, 250.0)]
PAYLOAD = 4_000_000
ON_AIR = coded_bits(PAYLOAD) + FEEDBACK_BITS
LONG = waits(60.0)
BLOCKS = 'channel.fading={kind="rayleigh", correlation="block", block_s=0.05}'


def snr(tx: int, rx: int) -> float:
    """Linear, of what has 10 dB over 100 m."""
    return 10 ** ((10.0 + free_space_db(100.0) - free_space_db(math.dist(PLACES[tx], PLACES[rx]))) / 10)


def series(run: Run) -> dict[str, np.ndarray]:
    assert run.sinr is not None
    return run.sinr.columns()


def of_link(run: Run, tx: int, rx: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begin and end (ns) and SINR (linear) of the steps of a link."""
    found = series(run)
    rows = (found["sinr_tx"] == tx) & (found["sinr_rx"] == rx)
    begin_ns = np.rint(found["sinr_time_s"][rows] * 1e9).astype(int)
    return (
        begin_ns,
        begin_ns + np.rint(found["sinr_duration_s"][rows] * 1e9).astype(int),
        10 ** (found["sinr_db"][rows] / 10),
    )


def late(seconds: float, to: int | tuple[int, ...], payload: int, **how: Any) -> Any:
    def program(node: Any) -> Any:
        yield from waits(seconds)(node)
        yield Send(to, "m", 0, bits(payload), **how)

    return program


def test_a_hidden_sender_makes_a_step_down_and_one_up() -> None:
    """0 -> 1 from the start; 2 -> 3 begins at 1 s, midway. Both SINRs by hand, and the end of 2 -> 3 to the nanosecond."""
    run = play(peers(PLACES, HIDDEN, KEPT, mac="shared"), {0: sends(1, 4 * PAYLOAD), 2: late(1.0, 3, PAYLOAD), 1: LONG})
    loud = snr(2, 3) / (1 + snr(0, 3))
    end_ns = 1_000_000_000 + math.ceil(ON_AIR / (BANDWIDTH_HZ * math.log2(1 + loud)) * 1e9)
    begin, end, sinr = of_link(run, 2, 3)
    assert (begin.tolist(), end.tolist()) == ([1_000_000_000], [end_ns])
    assert sinr == pytest.approx([loud], rel=1e-12)
    begin, end, sinr = of_link(run, 0, 1)
    assert begin.tolist() == [0, 1_000_000_000, end_ns]
    assert end[:-1].tolist() == begin[1:].tolist()
    assert sinr == pytest.approx([snr(0, 1), snr(0, 1) / (1 + snr(2, 1)), snr(0, 1)], rel=1e-12)


@pytest.mark.parametrize("mac", ["ideal", "shared"])
def test_a_broadcast_has_steps_at_every_receiver(mac: str) -> None:
    """At a given rate; on the shared carrier 3 is heard by 1 and 2 for the second second."""
    change = HIDDEN if mac == "shared" else 'mac="ideal"'
    places = [*PLACES, (250.0, 300.0)]
    programs = {0: sends((1, 2), 4_000_000, broadcast=True), 3: late(1.0, 4, PAYLOAD)}
    loaded = peers(places, change, KEPT, "mac.broadcast_rate_bps=1e6", mac=mac)
    run = play(loaded, {**programs, 1: LONG})
    for rx in (1, 2):
        begin, _, sinr = of_link(run, 0, rx)
        if mac == "ideal":
            assert begin.tolist() == [0]
            assert sinr == pytest.approx([snr(0, rx)], rel=1e-12)
        else:
            assert begin[:2].tolist() == [0, 1_000_000_000]
            assert sinr == pytest.approx(
                [snr(0, rx), snr(0, rx) / (1 + snr(3, rx)), snr(0, rx)][: len(sinr)], rel=1e-12
            )
            assert len(sinr) >= 2


def worlds(name: str) -> Loaded:
    """Fading blocks, adaptive rates, everybody on the whole band all of the time that he is on the air."""
    if name == "cells":
        return cells(
            [(0.0, 0.0), (700.0, 0.0)], [(100.0, 0.0), (600.0, 200.0)], BLOCKS, KEPT, keys='interference = "sinr"'
        )
    if name == "hidden":
        return peers(PLACES, HIDDEN, BLOCKS, KEPT, mac="shared")
    if name == "fdma":
        return cell([10.0], BLOCKS, KEPT, mac="fdma")
    return peers(PLACES, HIDDEN.replace("sinr", "none") if name == "shared" else 'mac="ideal"', BLOCKS, KEPT, mac=name)


@pytest.mark.parametrize("name", ["cells", "hidden", "fdma", "shared", "ideal"])
def test_the_rates_that_follow_from_it_carry_the_bits(name: str) -> None:
    """sum over the steps of B log2(1 + SINR) * duration = bits of every transfer: it is the SINR that set the rate. Ends are rounded up to a
    nanosecond, which carries less than 0.1 bit here."""
    loaded = worlds(name)
    peer = loaded.scenario.server is None
    programs: dict[int, Any] = {0: sends(1 if peer else SERVER, 2 * PAYLOAD), 1 if peer else SERVER: LONG}
    if name == "cells":
        programs[1] = late(0.33, SERVER, PAYLOAD)
    elif peer:
        programs[2] = late(0.33, 3, PAYLOAD)
    run = play(loaded, programs)
    found = series(run)
    amounts = BANDWIDTH_HZ * np.log2(1 + 10 ** (found["sinr_db"] / 10)) * found["sinr_duration_s"]
    through = np.bincount(found["sinr_transfer"], amounts)
    expected = [coded_bits(2 * PAYLOAD) + FEEDBACK_BITS, ON_AIR][: len(programs) - 1]
    assert through == pytest.approx(expected, abs=0.1)
    assert len(amounts) > 20 * len(expected)


def test_uplinks_of_two_cells_with_fading_are_as_the_gains_say() -> None:
    """C / (N0 + I0) / B from the very links, looked up anew in the middle of every step."""
    run = play(worlds("cells"), {0: sends(SERVER, 2 * PAYLOAD), 1: late(0.33, SERVER, PAYLOAD), SERVER: LONG})
    links = run.world.links
    on_air = [of_link(run, 0, 2), of_link(run, 1, 3)]
    for own, other in ((0, 1), (1, 0)):
        begin, end, sinr = on_air[own]
        from_ns, until_ns = on_air[other][0].min(), on_air[other][1].max()
        middle = (begin + end) // 2
        gains = [
            links.cn0(np.array([tx]), np.array([own + 2]), 0, int(end.max() // links.cell_ns) + 1)[0][
                middle // links.cell_ns
            ]
            for tx in (own, other)
        ]
        heard = (middle >= from_ns) & (middle < until_ns)
        assert heard.any()
        assert sinr == pytest.approx(gains[0] / BANDWIDTH_HZ / (1 + heard * gains[1] / BANDWIDTH_HZ), rel=1e-12)


def test_in_fdma_two_uplinks_of_one_cell_share_the_power_of_the_band() -> None:
    """Who has half of the band has twice the SNR there."""
    run = play(
        cell([10.0, 10.0], KEPT, mac="fdma"), {0: sends(SERVER, PAYLOAD), 1: late(0.5, SERVER, PAYLOAD), SERVER: LONG}
    )
    _, _, sinr = of_link(run, 0, 2)
    assert sinr == pytest.approx([10.0, 20.0, 10.0][: len(sinr)], rel=1e-9)
    assert len(sinr) >= 2


def test_a_hand_over_is_kept_with_its_station() -> None:
    trace = "0, 0.0, -200.0, 0.0, 0.0\n0, 40.0, 200.0, 0.0, 0.0\n"
    changes = ['devices.0.mobility={kind="trace", file="walk.csv"}', 'devices.0.positions_m="none"', KEPT]
    loaded = cells([(-200.0, 0.0), (200.0, 0.0)], [(0.0, 0.0)], *changes, referenced={"walk.csv": trace})
    run = play(loaded, {0: waits(40.0)})
    found = series(run)
    assert found["handover_device"].tolist() == [0]
    assert found["handover_station"].tolist() == [2]
    assert 20.0 < found["handover_time_s"][0] < 40.0


@pytest.mark.parametrize("mac", ["ideal", "shared"])
def test_another_power_is_a_step(mac: str) -> None:
    """3.01 dB less from 1 s on."""

    def program(node: Any) -> Any:
        yield Send(1, "m", 0, bits(4 * PAYLOAD))
        yield Sleep(1.0)
        yield Actuate("power", power_dbm(10.0) - 10 * math.log10(2.0))
        yield Sleep(20.0)

    run = play(peers(PLACES, f'mac="{mac}"', KEPT, mac=mac), {0: program})
    begin, end, sinr = of_link(run, 0, 1)
    assert begin.tolist() == [0, 1_000_000_000]
    assert end[0] == 1_000_000_000
    assert sinr == pytest.approx([10.0, 5.0], rel=1e-9)


# -- how much is kept ---------------------------------------------------------------------------------------------------


def add(kept: SinrSeries, transfer: int, edges: list[int], sinr: list[float]) -> None:
    index = np.array([transfer])
    kept.add(index, index, index + 1, np.array(edges, dtype=np.float64), np.array([sinr]))


def test_equal_steps_of_one_transfer_that_follow_each_other_are_one() -> None:
    kept = SinrSeries()
    add(kept, 0, [0, 10, 20], [1.0, 1.0])
    add(kept, 1, [0, 20], [1.0])
    add(kept, 0, [20, 30, 40], [1.0, 2.0])
    add(kept, 0, [50, 60], [2.0])
    found = kept.columns()
    assert (found["sinr_time_s"] * 1e9).tolist() == pytest.approx([0, 30, 50, 0])
    assert (found["sinr_duration_s"] * 1e9).tolist() == pytest.approx([30, 10, 10, 20])
    assert found["sinr_transfer"].tolist() == [0, 0, 0, 1]
    assert found["sinr_db"].tolist() == pytest.approx([0.0, 10 * math.log10(2), 10 * math.log10(2), 0.0])


def test_a_full_series_says_until_when_it_goes() -> None:
    kept = SinrSeries(max_steps=100)
    for i in range(1000):
        add(kept, 0, [i, i + 1], [1.0])  # joined again and again
    assert kept.until_ns is None
    for i in range(1000, 1200):
        add(kept, 0, [i, i + 1], [float(i)])
    assert kept.until_ns is not None
    assert len(kept.columns()["sinr_db"]) <= 100
    ends = kept.columns()["sinr_time_s"] + kept.columns()["sinr_duration_s"]
    assert ends.max() * 1e9 == pytest.approx(kept.until_ns)
    assert kept.notes() == [f"[output] sinr: kept up to {kept.until_ns / 1e9:g} s, 100 steps are the most"]


def test_who_does_not_ask_gets_nothing(tmp_path: Path) -> None:
    """No group in the file, no key in the resolved scenario; events and energies are those of the run that keeps it."""
    runs = []
    for changes in ((), (KEPT,)):
        run = play(peers(PLACES, HIDDEN, *changes, mac="shared"), {0: sends(1, PAYLOAD), 2: sends(3, PAYLOAD)})
        runs.append((run, run.recorder.energy_j(), run.ledger.event_digest))
    assert runs[0][0].sinr is None
    assert "sinr" not in runs[0][0].scenario.resolved()["output"]
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert runs[0][2] == runs[1][2]


def test_a_file_has_the_groups_only_where_there_is_something(tmp_path: Path) -> None:
    from tests.wsim.records import make_record

    nothing = {name: np.empty(0) for name in ("sinr_time_s", "sinr_duration_s", "sinr_db", "handover_time_s")}
    nothing |= {name: np.empty(0, dtype=np.int64) for name in ("sinr_transfer", "sinr_tx", "sinr_rx")}
    nothing |= {name: np.empty(0, dtype=np.int64) for name in ("handover_device", "handover_station")}
    for name, changes, there in (("with", {}, True), ("without", nothing, False)):
        results.write(make_record(**changes), tmp_path / f"{name}.h5")
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert ("/sinr/sinr_db" in file, "/handovers/time_s" in file) == (there, there)
        assert len(results.read(tmp_path / f"{name}.h5").sinr_db) > 0 or not there
