"""The picture of SINRs over time: what is drawn are the steps, their quantiles by time, and the hand-overs."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wsim.records import make_record
from wsim.errors import ResultError
from wsim.record import RunRecord
from wsim.sinr_picture import (
    Steps,
    band_over_time,
    directions,
    draw_sinr,
    outline,
    plot_sinr,
    quantiles,
    typical_devices,
)


def steps(*rows: tuple[float, float, int, int, float]) -> Steps:
    """(begin, end, transfer, device, dB)."""
    begin, end, transfer, device, sinr_db = zip(*rows, strict=True)
    return Steps(np.array(begin), np.array(end), np.array(transfer), np.array(device), np.array(sinr_db))


def lines(axis: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axis.get_lines()}


def test_quantiles_weigh_by_time() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 8.0, 1.0])
    assert quantiles(values, weights, (0.05, 0.5, 0.8, 0.81, 0.9, 0.95)).tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 3.0]


def test_the_band_is_of_what_is_on_the_air_in_each_span() -> None:
    """A long step counts in every span that it reaches into, by the part of it that lies there; a span without any has none."""
    found = steps((0.0, 2.5, 0, 0, 10.0), (1.0, 1.2, 1, 1, 0.0), (2.2, 3.0, 2, 1, 20.0))
    edges, band = band_over_time(found, 5.0, 5)
    assert edges.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert band[0].tolist() == [10.0, 10.0, 10.0]
    assert band[1].tolist() == [0.0, 10.0, 10.0]  # 0.2 s of 1.2
    assert band[2].tolist() == [10.0, 20.0, 20.0]  # 0.5 s and 0.8 s
    assert np.isnan(band[3:]).all()


def test_the_outline_goes_on_within_a_transfer_and_stops_at_its_end() -> None:
    x, y = outline(steps((0.0, 1.0, 0, 0, 5.0), (1.0, 2.0, 0, 0, 7.0), (2.0, 3.0, 1, 0, 7.0)))
    assert x.tolist() == [0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0]
    np.testing.assert_array_equal(y, [5.0, 5.0, 7.0, 7.0, 7.0, np.nan, 7.0, 7.0, np.nan])


def test_directions_and_devices() -> None:
    """Of a star the uplink; of peers the receiver's."""
    star = directions(make_record())
    assert list(star) == ["uplink, at the station"]
    assert star["uplink, at the station"].of.max() < 20
    peers = directions(make_record(server=False))
    assert list(peers) == ["between devices, at the one that receives"]
    found = steps((0.0, 1.0, 0, 4, 5.0), (0.0, 1.0, 1, 2, -3.0), (0.0, 1.0, 2, 7, 9.0), (1.0, 1.1, 3, 4, 90.0))
    assert typical_devices(make_record(), [found]) == [2, 4, 7]


def test_steps_band_and_handovers_are_drawn() -> None:
    record = make_record()
    figure = draw_sinr(record, [1, 3])
    whole, near = figure.axes
    drawn = lines(whole)
    own = directions(record)["uplink, at the station"].of_device(3)
    np.testing.assert_array_equal(drawn["device 3"].get_xdata(), outline(own)[0])
    np.testing.assert_array_equal(drawn["device 3"].get_ydata(), outline(own)[1])
    np.testing.assert_array_equal(drawn["4 hand-overs"].get_xdata(), record.handover_time_s)
    assert whole.get_xlabel() == near.get_xlabel() == "simulated time [s]"
    assert whole.get_ylabel() == "SINR [dB]"
    begin, end = near.get_xlim()
    assert 0 <= begin < end < record.simulated_s / 4
    assert draw_sinr(record, [1], at_s=50.0).axes[1].get_xlim()[0] == 50.0


def test_levels_are_drawn_where_the_scenario_has_them() -> None:
    resolved = {"phy": {"min_snr_db": -10.0, "preamble_snr_db": -4.0}}
    drawn = lines(draw_sinr(make_record(resolved=resolved)).axes[0])
    assert drawn["below -10 dB: adaptive rates send nothing"].get_ydata()[0] == -10.0
    assert drawn["below -4 dB: no lock on the preamble"].get_ydata()[0] == -4.0


def first_row(record: RunRecord) -> RunRecord:
    return dataclasses.replace(
        record, **{name: getattr(record, name)[:1] for name in vars(record) if name.startswith("sinr_")}
    )


@pytest.mark.parametrize("case", ["star", "peers", "one device", "one step", "hours"])
def test_odd_records_are_drawn_without_a_warning(case: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "peers": {"server": False},
        "one device": {"num_devices": 1, "group": np.zeros(1, dtype=np.int64)},
        "hours": {"simulated_s": 2e4},
    }.get(case, {})
    record = make_record(**changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_sinr(first_row(record) if case == "one step" else record, tmp_path / "sinr.png")
    assert (tmp_path / "sinr.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "devices", "says"),
    [
        ({"sinr_db": np.empty(0)}, None, "quickstart: holds no SINRs; run it again with --set output.sinr=true"),
        ({}, [3, 20], "quickstart: has no device 20; they are 0 to 19"),
        ({}, [0, 1, 2, 3, 4, 5], "quickstart: 6 devices; name one to 5"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(changes: Any, devices: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ResultError) as error:
        plot_sinr(make_record(**changes), tmp_path / "sinr.png", devices)
    assert str(error.value) == says
