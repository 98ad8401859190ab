"""The map: its coverage is what a device would see there, its links are those of the scenario."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.wsim.builders import cell, free_space_db, peers
from tests.wsim.cellular import cells
from tests.wsim.test_mobility import world_of
from wsim import scene as scenes
from wsim.map_picture import draw_scene, levels_db, plot_scene
from wsim.scene import scene

UMI = (
    "channel.carrier_hz=3.5e9",
    "channel.path_loss={kind='tr38901_umi', strict=true}",
    "channel.shadowing=tr38901_umi",
    "area.side_m=600.0",
    "server.position_m=[0.0, 0.0, 10.0]",
    *(f"devices.d-{i}.positions_m=[[{80 + i}.0, 0.0, 1.5]]" for i in range(3)),
)


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "GRID", 24)


def test_coverage_of_a_cell_in_free_space() -> None:
    """The server's 10 dB at 100 m, by the distance of each point."""
    found = scene(cell([5.0, 5.0], "area.side_m=600.0"))
    assert found.snr_db.shape == (len(found.y_m), len(found.x_m)) == (24, 24)
    distance = np.sqrt(found.x_m[None, :] ** 2 + found.y_m[:, None] ** 2 + 1.5**2)
    expected = [[10.0 + free_space_db(100.0) - free_space_db(d) for d in row] for row in distance.tolist()]
    np.testing.assert_allclose(found.snr_db, expected, rtol=0, atol=1e-9)
    assert found.num_stations == 1
    assert found.edges.tolist() == [[0, 2], [1, 2]]
    assert found.threshold_db is None


def test_a_device_sees_what_the_map_shows_where_it_stands() -> None:
    """Line of sight and shadowing too; the model is strict, and part of the grid too near for it."""
    found = scene(cell([5.0] * 3, *UMI))
    for column, row in ((2, 3), (20, 11), (9, 21)):
        place = [[float(found.x_m[column]), float(found.y_m[row]), 1.5]]
        world = world_of(cell([5.0] * 3, *UMI, f"devices.d-1.positions_m={place}"))
        cn0 = world.links.mean_cn0(np.array([3]), np.array([1]), 0.0)
        assert 10 * np.log10(cn0[0] / 1e6) == pytest.approx(found.snr_db[row, column], abs=1e-9)


def test_between_devices_coverage_is_that_of_the_best_one() -> None:
    changes = ["area.side_m=400.0", "topology={kind='radio', neighbor_mean_snr_db=12.0, hysteresis_db=0.0}"]
    places = [(-100, 0), (0, 0), (90, 0), (0, 150)]
    found = scene(peers(places, *changes))
    x, y = np.meshgrid(found.x_m, found.y_m)
    nearest = np.min([np.sqrt((x - a) ** 2 + (y - b) ** 2 + 1.5**2) for a, b in places], axis=0)
    expected = 10.0 + free_space_db(100.0) - 20 * np.log10(4 * np.pi * nearest * 1e9 / 299_792_458.0)
    np.testing.assert_allclose(found.snr_db, expected, rtol=0, atol=1e-9)
    assert found.edges.tolist() == []  # 12 dB reach 79 m
    assert scene(peers(places, *changes, "topology.neighbor_mean_snr_db=10.5")).edges.tolist() == [[1, 2]]
    assert found.threshold_db == 12.0


def test_places_and_neighbors_are_those_of_the_time() -> None:
    trace = "0 0 0 0\n1 0 200 0\n1 10 50 0\n"
    loaded = peers(
        [(0, 0), (0, 0)],
        "devices.peers.mobility={kind='trace', file='t.csv'}",
        "topology={kind='radio', neighbor_mean_snr_db=10.0}",
        referenced={"t.csv": trace},
    )
    early, late = scene(loaded), scene(loaded, 10.0)
    assert early.edges.tolist() == []
    assert late.edges.tolist() == [[0, 1]]
    assert late.place_m.tolist() == [[0, 0], [50, 0]]
    assert late.x_m.max() < 60  # around the traces, not over the area


def test_who_is_away_has_no_links_and_is_drawn_hollow() -> None:
    places = [(-50, 0), (0, 0), (20, 30)]
    loaded = peers(
        places,
        "area.side_m=400.0",
        "topology={kind='radio', neighbor_mean_snr_db=10.0}",
        "devices.0.churn={kind='schedule', file='churn.csv'}",
        referenced={"churn.csv": "1, 2.0, leave\n1, 5.0, join\n2, 7.0, leave\n"},
    )
    links = {0.0: 3, 2.0: 1, 5.0: 3, 8.0: 1}
    assert {time_s: len(scene(loaded, time_s).edges) for time_s in links} == links
    seen = scene(loaded, 2.0)
    assert seen.away.tolist() == [False, True, False]
    assert seen.edges.tolist() == [[0, 2]]
    (legend,) = draw_scene(seen).legends
    assert [text.get_text() for text in legend.get_texts()] == ["neighborhood, 10 dB", "1 link", "peers", "1 away"]


def test_the_picture_says_what_it_shows(tmp_path: Path) -> None:
    loaded = peers(
        [(-50, 0), (0, 0), (20, 30)], "area.side_m=400.0", "topology={kind='radio', neighbor_mean_snr_db=10.0}"
    )
    seen = scene(loaded)
    figure = draw_scene(seen)
    assert figure.get_suptitle() == "tiny: 3 devices at 0 s"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["neighborhood, 10 dB", "3 links", "peers"]
    assert figure.axes[1].get_ylabel() == "best device's mean SNR over the band [dB]"
    for name in ("a.png", "b.png"):
        plot_scene(seen, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_shades_are_in_round_steps_from_what_carries_anything() -> None:
    seen = scene(peers([(0, 0), (50, 0)], "area.side_m=400.0"))
    ramp = np.linspace(-40, 60, 24 * 24).reshape(24, 24)
    assert levels_db(replace(seen, snr_db=ramp, min_snr_db=-10.0)).tolist() == list(range(-10, 61, 10))
    flat = levels_db(replace(seen, snr_db=np.full((24, 24), 17.0), min_snr_db=-10.0))
    assert flat.tolist() == [16, 18]


def test_several_cells_show_the_best_station() -> None:
    found = scene(cells([(-100, 0), (100, 0)], [(-50, 0), (60, 0), (-10, 5)], "area.side_m=400.0"))
    assert found.edges.tolist() == [[0, 3], [1, 4], [2, 3]]
    assert found.num_stations == 2
    x, y = np.meshgrid(found.x_m, found.y_m)
    nearest = np.sqrt((abs(x) - 100) ** 2 + y**2 + 1.5**2)
    expected = 10.0 + free_space_db(100.0) - 20 * np.log10(4 * np.pi * nearest * 1e9 / 299_792_458.0)
    np.testing.assert_allclose(found.snr_db, expected, rtol=0, atol=1e-9)


def test_hexagons_are_drawn_where_devices_are_placed() -> None:
    layout = ["cells={layout='hexagonal', sites=7, sectors=3, inter_site_distance_m=200.0}", "area.shape=cells"]
    found = scene(cells([(0, 0)], [(5, 5), (200, 40)], *layout))
    figure = draw_scene(found)
    assert len(figure.axes[0].patches) == 7
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["2 links", "d-0", "d-1", "21 stations"]
    assert found.x_m.min() < -200 < 200 < found.x_m.max()
