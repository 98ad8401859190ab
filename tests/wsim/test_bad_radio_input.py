"""Impossible geometry, radios and movement through the command line: one clear line that names file, key and value, says what is
accepted and guesses what was meant, and exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsim import cli

SCENARIOS = Path(__file__).parents[2] / "scenarios"
CELL, PEERS = SCENARIOS / "quickstart.toml", SCENARIOS / "dpsgd_ring.toml"
CELLS, BATTERY = SCENARIOS / "radio/multi_cell_handover.toml", SCENARIOS / "radio/battery_churn.toml"
CLEAR = "channel.shadowing=none"
TWO_DEVICES = "devices.0.count=2"

CASES = {  # scenario, changes, what the line says after the scenario's name
    "server under ground": (CELL, ["server.position_m=[0,0,-10]"], "[server] position_m.2 = -10: heights are in m, 0 to 100000 (10?)"),
    "device under ground": (CELL, ["devices.0.position.height_m=-1.5"], "[devices.0.position] height_m = -1.5: heights are in m, 0 to 100000 (1.5?)"),
    "place under ground": (
        PEERS,
        ["devices.0.positions_m=[[0,0,-3],[1,1,1],[2,2,2]]", "devices.0.count=3"],
        "[devices.0] positions_m.0 = [0, 0, -3]: lies under the ground; heights are in m, 0 or more (3?)",
    ),
    "station under ground": (
        CELLS,
        ["cells.layout=positions", "cells.positions_m=[[0,0,25],[500,0,-25]]"],
        "[cells] positions_m.1 = [500, 0, -25]: lies under the ground; heights are in m, 0 or more (25?)",
    ),
    "place outside the area": (
        PEERS,
        ["devices.0.positions_m=[[0,0],[1,1],[9e3,0]]", "devices.0.count=3"],
        "[devices.0] positions_m.2 = [9000, 0]: lies outside the area, which reaches",
    ),
    "two-ray station on the ground": (
        CELL,
        ["server.position_m=[0,0,0]", "channel.path_loss=two_ray", CLEAR],
        "[channel.path_loss] two_ray: antenna height 0 m; it must be above the ground (1.5 m?)",
    ),
    "two-ray device on the ground": (
        CELL,
        ["devices.0.position.height_m=0", "channel.path_loss=two_ray", CLEAR],
        "[channel.path_loss] two_ray: antenna height 0 m; it must be above the ground (1.5 m?)",
    ),
    "device below the environment": (
        CELL,
        ["devices.0.position.height_m=0.5"],
        "[channel.path_loss] tr38901_umi: antenna height 0.5 m; it must be above the environment height of 1 m (1.5 m?)",
    ),
    "no inter-site distance": (CELLS, ["cells.inter_site_distance_m=0"], "[cells] inter_site_distance_m = 0: distances are in m, above 0 and at most 1e6"),
    "negative inter-site distance": (CELLS, ["cells.inter_site_distance_m=-500"], "[cells] inter_site_distance_m = -500: distances are in m, above 0 and at most 1e6 (500?)"),
    "cells smaller than the least distance": (
        CELLS,
        ["area={shape='cells', min_distance_m=260}", "cells.inter_site_distance_m=500", "devices.0.mobility=static"],
        "[area] min_distance_m = 260: leaves too little of a cell; below half of cells.inter_site_distance_m, 250",
    ),
    "five sites": (CELLS, ["cells.sites=5"], "[cells] sites = 5: accepted are 1, 3, 7, 19"),
    "two sectors": (CELLS, ["cells.sectors=2"], "[cells] sectors = 2: accepted are 1, 3"),
    "wrap-around of three sites": (CELLS, ["cells.sites=3", "cells.wraparound=true"], "[cells]: wraparound = true needs a layout that tiles the plane, sites = 7 or 19, not 3"),
    "two stations at one place": (CELLS, ["cells.layout=positions", "cells.positions_m=[[0,0],[0,0]]"], "[cells]: positions_m names a place twice"),
    "negative hysteresis": (CELLS, ["cells.hysteresis_db=-3"], "[cells] hysteresis_db = -3: margins are in dB, 0 to 60"),
    "no area": (CELL, ["area.radius_m=0"], "[area] radius_m = 0: distances are in m, above 0 and at most 1e6"),
    "area within the least distance": (CELL, ["area.radius_m=5", "area.min_distance_m=10"], "[area] min_distance_m = 10: leaves nothing of the area, which ends 5 m from the origin"),
    "ring outside the area": (CELL, ["devices.0.position.ring_m=[100,900]"], "[devices.0.position] ring_m = [100, 900]: ends outside the area, which reaches 300 m"),
    "ring reversed": (CELL, ["devices.0.position.ring_m=[100,50]"], "[devices.0.position] ring_m = [100, 50]: a range is [lowest, highest], lowest first"),
    "carrier in GHz": (CELL, ["channel.carrier_hz=3.5"], "[channel] carrier_hz = 3.5: carrier frequencies are in Hz, 1e6 to 3e11 (3.5e9?)"),
    "carrier below the model": (CELL, ["channel.carrier_hz=1e8"], "[channel] carrier_hz = 1e8: tr38901_umi holds from 0.5e9 to 100e9 Hz"),
    "carrier above the model": (PEERS, ["channel.carrier_hz=28e9", "channel.path_loss=tr36843_d2d", CLEAR], "[channel] carrier_hz = 2.8e10: tr36843_d2d holds from 0.45e9 to 6e9 Hz"),
    "carrier outside a strict model": (
        CELL,
        ["channel.carrier_hz=28e9", "channel.path_loss={kind='tgax_indoor', strict=true}", CLEAR],
        "[channel.path_loss] tgax_indoor: carrier 28 GHz is outside the model's range (2.4 to 7.125 GHz)",
    ),
    "base-to-user model between devices": (PEERS, ["channel.path_loss=tr38901_umi", CLEAR], '[channel] path_loss = "tr38901_umi": is a base-station-to-user model'),
    "no bandwidth": (CELL, ["channel.bandwidth_hz=0"], "[channel] bandwidth_hz = 0: bandwidths are in Hz, 100 to 1e11"),
    "negative bandwidth": (CELL, ["channel.bandwidth_hz=-1e6"], "[channel] bandwidth_hz = -1e6: bandwidths are in Hz, 100 to 1e11 (1e6?)"),
    "bandwidth in MHz": (CELL, ["channel.bandwidth_hz=20"], "[channel] bandwidth_hz = 20: bandwidths are in Hz, 100 to 1e11 (2e7?)"),
    "bandwidth above the carrier": (CELL, ["channel.bandwidth_hz=5e9"], "[channel] bandwidth_hz = 5e9: is wider than the carrier's frequency"),
    "battery below zero": (BATTERY, ["devices.0.energy.battery_j=-5"], "[devices.0.energy] battery_j = -5: energies are in J, above 0 and at most 1e12 (5?)"),
    "empty battery": (BATTERY, ["devices.0.energy.battery_j=0"], "[devices.0.energy] battery_j = 0: energies are in J, above 0 and at most 1e12"),
    "churn times reversed": (BATTERY, ["devices.0.churn={kind='schedule', leave_s=[5.0, 3.0]}"], "[devices.0.churn] leave_s = [5, 3]: times have to increase"),
    "churn out of turns": (
        BATTERY,
        ["devices.0.churn={kind='schedule', leave_s=[5.0, 6.0], join_s=[9.0]}"],
        "[devices.0.churn] leave_s = [5, 6]: a device that has left cannot leave at 6.0 s; times of leave_s and join_s take turns",
    ),
    "negative speed": (CELL, ["devices.0.mobility={kind='random_waypoint', speed_mps=[-1, 2]}"], "[devices.0.mobility] speed_mps.0 = -1: speeds are in m/s, 0 to 1000 (1?)"),
    "speeds reversed": (CELL, ["devices.0.mobility={kind='random_waypoint', speed_mps=[3, 2]}"], "[devices.0.mobility] speed_mps = [3, 2]: [lowest, highest] is needed, lowest first"),
    "negative speed of the surroundings": (
        CELL,
        ["channel.fading={kind='rayleigh', correlation='doppler', environment_speed_mps=-1}"],
        "[channel.fading] environment_speed_mps = -1: speeds are in m/s, 0 to 1000 (1?)",
    ),
    "memory of one": (CELL, ["devices.0.mobility={kind='gauss_markov', memory=1.0}"], "[devices.0.mobility] memory = 1: the memory has no unit, 0 to below 1"),
    "streets in a disc": (CELL, ["devices.0.mobility={kind='manhattan', block_m=50, speed_mps=[1, 2]}"], "[devices.0.mobility] kind = \"manhattan\": streets need [area] shape = \"square\""),
    "Nakagami's m too small": (CELL, ["channel.fading={kind='nakagami', m=0.3}"], "[channel.fading] m = 0.3: Nakagami's m has no unit; 1 is Rayleigh, 0.5 to 1000"),
    "no block": (CELL, ["channel.fading={kind='rayleigh', block_s=0}"], "[channel.fading] block_s = 0: times are in s, 1e-9 to 1e9"),
    "negative sigma": (CELL, ["channel.shadowing={sigma_db=-8, correlation_m=50}"], "[channel.shadowing] sigma_db = -8: standard deviations of shadowing are in dB, 0 to 40"),
    "no correlation distance": (CELL, ["channel.shadowing={sigma_db=8, correlation_m=0}"], "[channel.shadowing] correlation_m = 0: distances are in m, above 0"),
    "power in milliwatts": (CELL, ["devices.0.radio.tx_power_dbm=200"], "[devices.0.radio] tx_power_dbm = 200: radiated powers are in dBm, -60 to 90 (23.0103?)"),
    "no antenna": (CELL, ["server.radio.rx_antennas=0"], "[server.radio] rx_antennas = 0: antennas are whole numbers, 1 to 1024"),
}  # fmt: skip

TRACES = {  # lines of "node, t_s, x_m, y_m, z_m" of two devices, further keys, what is said of them
    "hole": ("0,0,0,0,1.5\n0,9,,0,1.5\n", "", "walk.csv line 2: value 3 is empty; node, time_s, x_m, y_m and perhaps z_m are needed"),
    "nobody": ("0,0,0,0,1.5\n0,9,5,0,1.5\n", "", "walk.csv: node 1 has no point; the group has 0 to 1"),
    "gap": (
        "0,0,0,0,1.5\n0,60,9,0,1.5\n1,0,0,0,1.5\n",
        ", max_gap_s=10",
        "walk.csv: node 0 has no point between 0 s and 60 s: a hole of more than max_gap_s = 10",
    ),
    "out of order": ("0,0,0,0,1.5\n0,9,5,0,1.5\n0,5,6,0,1.5\n", "", "line 3: node 0 at 5.0 s follows 9.0 s; times have to"),
    "before the start": ("0,-5,0,0,1.5\n", "", "walk.csv line 1: node 0 at -5.0 s; times start at 0 or later"),
    "no number": ("0,0,nan,0,1.5\n", "", "walk.csv line 1: 'nan' is no finite number"),
    "leap": ("0,0,0,0,1.5\n0,0.001,90,0,1.5\n1,0,0,0,1.5\n", "", "goes at 9e+04 m/s from 0 s to 0.001 s; at most 10000 m/s"),
    "under ground": (
        "0,0,0,0,1.5\n1,0,0,0,1.5\n1,9,5,0,-2\n",
        "",
        'device 1 of the group is at [5, 0, -2] at 9 s, under the ground; heights are in m, 0 or more',
    ),
    "outside the area": (
        "0,0,0,0,1.5\n0,900,5335,691,1.5\n1,0,0,0,1.5\n",
        "",
        'device 0 of the group is at [5335, 691, 1.5] at 900 s, outside the area, which reaches 300 m from the origin; '
        "offset_m moves a trace, or a larger area",
    ),
}  # fmt: skip


def refusal(path: Path, changes: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of error."""
    sets = [word for change in changes for word in ("--set", change)]
    assert cli.execute(["estimate", str(path), *sets]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("case", CASES)
def test_what_is_impossible_is_one_clear_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, changes, says = CASES[case]
    assert f"{path.name} {says}" in refusal(path, changes, capsys)


@pytest.mark.parametrize("case", TRACES)
def test_a_damaged_trace_is_one_clear_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, keys, says = TRACES[case]
    (tmp_path / "walk.csv").write_text(text)
    mobility = f"devices.0.mobility={{kind='trace', file='{tmp_path}/walk.csv'{keys}}}"
    assert says in refusal(CELL, [mobility, TWO_DEVICES, "algorithm.clients_per_round=2"], capsys)


def test_a_trace_along_the_very_edge_is_inside(tmp_path: Path) -> None:
    """Whose offset takes it there, and back from it by a rounding error."""
    (tmp_path / "walk.csv").write_text("0,0,375.1,0.3,2\n0,9,75.1,300.3,2\n1,0,75.1,-299.7,2\n")
    mobility = f"{{kind='trace', file='{tmp_path}/walk.csv', offset_m=[-75.1, -0.3]}}"
    changes = ["--set", f"devices.0.mobility={mobility}", "--set", TWO_DEVICES, "--set", "stop={simulated_s=0.1}"]
    assert cli.execute(["estimate", str(CELL), *changes, "--set", "algorithm.clients_per_round=2"]) == 0
