"""The picture of a study."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wsim.study.runs import make_comparison
from wsim.scenario.study import Definition, Picture
from wsim.study.comparison import compared
from wsim.study.picture import MAX_ROWS, draw_comparison, plot_comparison
from wsim.study.statistics import estimate


def curve(axis: Any, color: str) -> Any:
    return next(line for line in axis.get_lines() if line.get_color() == color and len(line.get_xdata()) > 2)


def test_a_curve_is_the_mean_over_the_seeds_held_from_step_to_step() -> None:
    comparison = make_comparison()
    axis = draw_comparison(comparison).axes[0]
    x, y = curve(axis, "#0072B2").get_data()  # the first arm's
    runs = comparison.rows[0].runs
    for at in (5.0, 42.0, 100.0):
        means = np.mean([run.accuracy[run.time_s <= at][-1] for run in runs])
        assert y[np.searchsorted(x, at, side="right") - 1] == pytest.approx(means, rel=1e-12)
    assert (x[0], x[-1]) == (5.0, 100.0)


def test_the_band_is_the_interval() -> None:
    comparison = make_comparison()
    axis = draw_comparison(comparison).axes[0]
    band = axis.collections[0].get_paths()[0].vertices
    end = estimate([run.accuracy[-1] for run in comparison.rows[0].runs])
    at_end = band[np.isclose(band[:, 0], 100.0), 1]
    assert at_end.min() == pytest.approx(end.mean - end.half_width, rel=1e-9)
    assert at_end.max() == pytest.approx(end.mean + end.half_width, rel=1e-9)


def test_curves_end_where_the_first_seed_ends() -> None:
    comparison = make_comparison()
    slow = comparison.rows[0]
    shorter = replace(slow.runs[0], time_s=slow.runs[0].time_s * 0.5)
    axis = draw_comparison(compared("x", [replace(slow, runs=(shorter, *slow.runs[1:]))], "slow", 5)).axes[0]
    assert curve(axis, "#0072B2").get_xdata()[-1] == 50.0


def test_panels_are_seconds_bits_and_joules_the_bits_on_a_scale_that_shows_both_arms() -> None:
    axes = draw_comparison(make_comparison()).axes
    assert [axis.get_xlabel() for axis in axes] == [
        "simulated time [s]",
        "on the air [Mbit]",
        "energy of all devices [J]",
    ]
    assert [axis.get_xscale() for axis in axes] == ["linear", "log", "linear"]  # "fast" sends a fiftieth


def test_an_arm_that_sends_nothing_leaves_the_others_their_logarithmic_scale() -> None:
    comparison = make_comparison(arms=("slow", "fast", "odd"), seeds=(1, 2))
    *others, odd = comparison.rows
    silent = replace(odd, runs=tuple(replace(run, on_air_bits=0 * run.on_air_bits) for run in odd.runs))
    seconds, bits, _ = draw_comparison(compared("x", [*others, silent], "slow", 2)).axes
    assert bits.get_xscale() == "log"
    assert [sum(len(line.get_xdata()) > 2 for line in axis.get_lines()) for axis in (seconds, bits)] == [3, 2]


def test_every_point_of_the_axes_has_a_row_or_one_place_among_many() -> None:
    points: Any = [{"channel.bandwidth_hz": 1e6 * (1 + i)} for i in range(MAX_ROWS + 1)]
    few = draw_comparison(make_comparison(points=tuple(points[:2])))
    assert len(few.axes) == 6
    assert few.axes[1].get_title() == "bandwidth_hz = 1e6"
    many = draw_comparison(make_comparison(points=tuple(points), seeds=(1, 2)))
    assert len(many.axes) == 1
    assert len(many.axes[0].get_xticks()) == MAX_ROWS + 1
    tables: Any = [{"channel.forced_loss": {"rate": 0.1 * i, "mean_burst_packets": 5.0}} for i in range(MAX_ROWS + 1)]
    by_table = draw_comparison(make_comparison(points=tuple(tables), seeds=(1, 2)))
    assert by_table.axes[0].get_xticklabels()[1].get_text() == "0.1, 5"


def test_a_family_shares_a_color_and_a_column_of_the_legend() -> None:
    families = {"a": "one", "b": "one", "d": "two"}
    study = Definition({}, {}, None, families, Picture())
    figure = draw_comparison(replace(make_comparison(arms=("a", "c", "b", "d"), seeds=(1, 2)), study=study))
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c", " ", "d", " "]
    a, b, c, _, d, _ = legend.get_lines()
    assert a.get_color() == b.get_color()
    assert len({line.get_color() for line in (a, c, d)}) == 3
    assert a.get_linestyle() != b.get_linestyle()


def test_a_study_says_how_its_picture_is_drawn() -> None:
    picture = Picture(logarithmic=True, accuracy_from=0.5, titles={"channel.bandwidth_hz": "band"})
    comparison = make_comparison(points=({"channel.bandwidth_hz": 1e6},), seeds=(1, 2))
    axes = draw_comparison(replace(comparison, study=Definition({}, {}, None, {}, picture))).axes
    assert [axis.get_xscale() for axis in axes] == ["log"] * 3
    assert axes[1].get_title() == "band = 1e6"
    top = axes[0].get_ylim()[1]
    assert axes[0].get_ylim()[0] == pytest.approx(0.5 - 0.03 * (top - 0.5) / 1.03)
    first = min(
        line.get_xdata()[line.get_ydata() >= 0.5][0] for line in axes[0].get_lines() if len(line.get_xdata()) > 2
    )
    assert axes[0].get_xlim()[0] == pytest.approx(0.9 * first), "where the first curve comes into sight"


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": (1,)},
        {"arms": tuple(f"arm number {i} $x_1$" for i in range(12)), "seeds": (1, 2)},
        {"accuracy": np.full(20, np.nan), "seeds": (1, 2)},
        {"eval_on_air_bits": np.zeros(20, dtype=np.int64), "seeds": (1, 2)},
        {"points": ({"a": [1.0, 2.0], "b.c": "x"},)},
    ],
)
def test_odd_studies_are_drawn_without_a_warning(changes: dict[str, Any], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_comparison(make_comparison(**changes), tmp_path / "study.png")
    assert (tmp_path / "study.png").stat().st_size > 10_000


def test_equal_studies_give_equal_pictures(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_comparison(make_comparison(seeds=(1, 2)), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
