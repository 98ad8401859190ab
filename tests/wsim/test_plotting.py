"""The picture of a run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from tests.wsim.records import make_record
from wsim.errors import ResultError
from wsim.plotting import draw_run, plot_run

ONE = {"num_devices": 1, "num_evals": 1, "group": np.zeros(1, dtype=np.int64)}
STILL = {"simulated_s": 0.0, "energy_j": np.zeros((21, 6)), "processor_s": np.zeros((21, 2)), "num_evals": 0}
UNSEEN = {
    "snapshot_time_s": np.empty(0),
    "spectral_gap": np.empty(0),
    "positions_m": np.empty((0, 21, 3)),
    "edges": np.empty((0, 2), dtype=np.int64),
    "edge_snapshot": np.empty(0, dtype=np.int64),
}


def test_training_accuracy_is_dotted() -> None:
    record = make_record(server=False)
    record.series_data[2] = "train"
    lines = {line.get_label(): line for line in draw_run(record).axes[0].get_lines()}
    dotted = lines["on training samples"]
    np.testing.assert_array_equal(dotted.get_ydata(), record.series_accuracy[2])
    assert dotted.get_linestyle() == ":"


def axes_labels(figure: Any) -> list[str]:
    return [axis.get_xlabel() for axis in figure.axes]


@pytest.mark.parametrize(("ending", "signature"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_pictures_are_written_and_equal_for_equal_records(ending: str, signature: bytes, tmp_path: Path) -> None:
    plot_run(make_record(num_evals=9), tmp_path / f"a.{ending}")
    plot_run(make_record(num_evals=9), tmp_path / f"b.{ending}")
    assert (tmp_path / f"a.{ending}").read_bytes().startswith(signature)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_accuracy_is_drawn_against_seconds_bits_and_joules() -> None:
    record = make_record()
    top = draw_run(record).axes[:3]
    spent = (record.eval_time_s, record.eval_on_air_bits / 1e6, record.eval_energy_j.sum(axis=1))
    for axis, values in zip(top, spent, strict=True):
        lines = {line.get_label(): line for line in axis.get_lines()}
        np.testing.assert_allclose(lines["server's model"].get_xdata(), values, rtol=1e-12)
        np.testing.assert_array_equal(lines["server's model"].get_ydata(), record.accuracy)
        np.testing.assert_array_equal(lines["worst device"].get_ydata(), record.accuracy_worst)
    labels = axes_labels(draw_run(record))
    assert labels[:3] == ["simulated time [s]", "on the air [Mbit]", "energy of all devices [J]"]


def test_the_band_spans_the_devices() -> None:
    record = make_record(server=False)
    axis = draw_run(record).axes[0]
    assert "mean over devices" in axis.get_legend_handles_labels()[1]
    (band,) = [part for part in axis.collections if part.get_label() == "worst to best device"]
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].min() == record.accuracy_by_device.min()
    assert vertices[:, 1].max() == record.accuracy_by_device.max()
    same = np.broadcast_to(record.accuracy[:, None], record.accuracy_by_device.shape)
    agreeing = draw_run(make_record(server=False, accuracy_by_device=same)).axes[0]
    assert "worst to best device" not in agreeing.get_legend_handles_labels()[1]


def test_groups_are_drawn_apart_in_the_colors_of_the_map() -> None:
    record = make_record(server=False, by_group=True)
    figure = draw_run(record)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    for number, name in enumerate(record.group_names):
        np.testing.assert_array_equal(lines[name].get_ydata(), record.series_accuracy_by_group[0, :, number, 0])
    assert "worst device" not in lines
    dots = {dots.get_label(): dots for dots in figure.axes[5].collections if dots.get_label() in record.group_names}
    for name in record.group_names:
        assert to_rgba(lines[name].get_color()) == tuple(dots[name].get_facecolor()[0])


def test_other_subjects_on_the_same_data_have_a_line() -> None:
    record = make_record(server=False)
    lines = {line.get_label(): line for line in draw_run(record).axes[0].get_lines()}
    np.testing.assert_array_equal(lines["mean model (genie)"].get_ydata(), record.series_accuracy[1])


def test_bars_are_the_shares_and_the_joules() -> None:
    record = make_record()
    times, uses = draw_run(record).axes[3:5]
    assert sum(bar.get_width() for bar in times.patches) == pytest.approx(3, rel=1e-12)
    widths = [bar.get_width() for bar in uses.patches]
    assert sum(widths) == pytest.approx(record.energy_j.sum(), rel=1e-12)  # the last bar is the server's


def test_an_estimate_shows_what_it_spends() -> None:
    record = make_record(estimated=True)
    top = draw_run(record).axes[:3]
    assert [axis.get_ylabel() for axis in top] == ["rounds", "on the air [Mbit]", "energy of all devices [J]"]
    assert top[1].get_lines()[0].get_ydata()[-1] == pytest.approx(395, rel=1e-12)


@pytest.mark.parametrize(
    "changes", [ONE, STILL, UNSEEN, {"server": False}, {"estimated": True, "num_evals": 0}, {"name": r"$\oops$ {x"}]
)
def test_odd_records_are_drawn_without_a_warning(changes: dict[str, Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_run(make_record(**changes), tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_a_picture_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plot_run(make_record(num_evals=3), tmp_path / "run.png")
    assert not list(tmp_path.iterdir())


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"run\.jpeg: .*\.png, \.pdf or \.svg"):
        plot_run(make_record(num_evals=3), tmp_path / "run.jpeg")
    (tmp_path / "run.png").write_text("")
    with pytest.raises(ResultError, match="exists already"):
        plot_run(make_record(num_evals=3), tmp_path / "run.png", force=False)
