"""The picture of a study: accuracy against seconds, bits on the air and joules, a curve for each arm with its 95 % interval, a band or, of many
arms, bars at some of its points.

Curves are held from one evaluation to the next and averaged over the seeds on one grid. They begin where every seed has been
evaluated and end where the first seed ends, so that every point is a mean over all of them. Each point of the axes has a row of
its own; where there are too many, one panel shows the accuracy at equal time against the point instead. Each arm has a color of
its own, or shares that of its family, which then has a column of the legend; what else a study may say of its picture is
`wsim.scenario.study.Picture`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learners.representation.names import ACCURACIES
from wsim.headline import share_of
from wsim.plotting import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    LIGHT_GRAY,
    ORANGE,
    PINK,
    RED,
    SKY,
    TIGHT,
    YELLOW,
    scaled,
    write_figure,
)
from wsim.scenario.evaluation import OWN_DATA
from wsim.scenario.messages import shown
from wsim.scenario.study import Picture
from wsim.study import names
from wsim.study.comparison import ACCURACY, Comparison, Row
from wsim.study.finished import Finished
from wsim.study.statistics import band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (BLUE, ORANGE, GREEN, RED, PINK, SKY, YELLOW, GRAY)
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))  # once the colors are used up
MAX_ROWS = 6
_MAX_BANDS = len(COLORS)  # of more arms, intervals are bars here and there: so many bands would hide each other
_BARS = 3  # of a curve
_GRID = 400
_LOGARITHMIC = 20.0  # an axis on which arms lie this far apart
_SPENT: tuple[tuple[Callable[[Finished], np.ndarray], str, str], ...] = (
    (lambda run: run.time_s, "s", "simulated time"),
    (lambda run: run.on_air_bits, "bit", "on the air"),
    (lambda run: run.energy_j, "J", "energy of all devices"),
)


def plot_comparison(comparison: Comparison, path: str | Path, force: bool = True) -> None:
    """Draw into a PNG, PDF or SVG file, by the ending of its name. Raises ResultError."""
    write_figure(lambda: draw_comparison(comparison), path, force)


def draw_comparison(comparison: Comparison) -> Figure:
    """The figure; one row of panels for each point of the axes."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    points, picture = comparison.points(), _picture(comparison)
    families = _families(comparison)
    in_families = len(families) < len(comparison.arms)
    styles = _styles(families)
    by_point = len(points) > MAX_ROWS
    num_rows = 1 if by_point else max(len(points), 1)
    legend_rows = max(map(len, families)) if in_families else -(-sum(len(arm) + 5 for arm in styles) // 90)
    figure = Figure(
        figsize=(
            max(9.6, 1.75 * len(families)) if in_families else 9.6,
            0.9 + 0.28 * legend_rows + (4.2 if by_point else 2.9 * num_rows),
        ),
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, hspace=0.03, wspace=0.03),
    )
    if by_point:
        _draw_by_point(figure.subplots(), comparison, styles)
    else:
        panels = figure.subplots(num_rows, len(_SPENT), squeeze=False, sharey=True)
        reached: list[float] = []
        for axes, (point, rows) in zip(panels, points):
            reached += _draw_curves(axes, rows, comparison.targets, styles, picture)
            axes[0].set_ylabel(_accuracy(comparison))
            if point:
                axes[1].set_title(_words(comparison, point))
        if reached:  # what an interval of few seeds claims beyond 0 and 1 is cut off
            low = max(min(reached), 0.0) if picture.accuracy_from is None else picture.accuracy_from
            best = max(
                run.accuracy[np.isfinite(run.accuracy)].max(initial=0) for row in comparison.rows for run in row.runs
            )
            high = max(min(max(reached), max(best, 1.0)), low)
            panels[0][0].set_ylim(low - 0.03 * (high - low or 1), high + 0.03 * (high - low or 1))
    seeds = max((len(row.runs) for row in comparison.rows), default=0)
    what = f"mean and 95 % interval over {seeds} seeds" if seeds > 1 else "one seed"
    figure.suptitle(f"{comparison.name}: {what}", fontsize=14)
    by_arm = {arm: Line2D([], [], linewidth=2.2, label=arm, **style) for arm, style in styles.items()}
    look = TIGHT | {"handlelength": 1.8}
    if in_families:  # a column of the legend each
        nothing = Line2D([], [], linestyle="none", label=" ")
        columns = [[by_arm[arm] for arm in family] + [nothing] * (legend_rows - len(family)) for family in families]
        handles, num_columns = [handle for column in columns for handle in column], len(columns)
        look |= {"handlelength": 2.4, "fontsize": 9}
    else:
        handles, num_columns = list(by_arm.values()), -(-len(by_arm) // max(legend_rows, 1))
    figure.legend(handles=handles, loc="outside lower center", ncols=num_columns, **look)
    return figure


def _picture(comparison: Comparison) -> Picture:
    return Picture() if comparison.study is None else comparison.study.picture


def _families(comparison: Comparison) -> list[list[str]]:
    """The arms, family by family; one that is in none is a family of its own."""
    named = {} if comparison.study is None else comparison.study.families
    families: dict[tuple[bool, str], list[str]] = {}
    for row in comparison.rows:
        family = named.get(row.runs[0].arm or row.arm)
        members = families.setdefault((family is not None, family or row.arm), [])
        if row.arm not in members:
            members.append(row.arm)
    return list(families.values())


def _styles(families: Sequence[Sequence[str]]) -> dict[str, dict[str, Any]]:
    """How the line of each arm is drawn."""
    return {
        arm: {"color": COLORS[i % len(COLORS)], "linestyle": LINES[(i // len(COLORS) + j) % len(LINES)]}
        for i, family in enumerate(families)
        for j, arm in enumerate(family)
    }


def _draw_curves(
    axes: Sequence[Axes],
    rows: Sequence[Row],
    targets: Sequence[float],
    styles: Mapping[str, dict[str, Any]],
    picture: Picture,
) -> list[float]:
    """One panel for each of what is spent. Returns how far up and down they reach."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    reached: list[float] = []
    for axis, (spent, unit, label) in zip(axes, _SPENT, strict=True):
        ends = [_end(row, spent) for row in rows if _evaluated(row)]
        positive = [end for end in ends if end > 0]  # an arm that sends nothing has no place on a logarithmic axis
        far_apart = len(positive) > 1 and unit != "s" and max(positive) > _LOGARITHMIC * min(positive)
        logarithmic = far_apart or (picture.logarithmic and bool(positive))
        factor, scaled_unit = scaled(max(ends, default=0.0), unit)
        for target in targets:
            axis.axhline(target, color=LIGHT_GRAY, linewidth=1, linestyle=(0, (5, 3)), zorder=0)
        begins: list[float] = []  # where curves come into sight
        for number, row in enumerate(rows):
            if _evaluated(row) and not (logarithmic and _end(row, spent) == 0):
                grid, mean, half = _curve(row, spent, logarithmic)
                begins += list(grid[mean >= picture.accuracy_from][:1]) if picture.accuracy_from else []
                low, high = mean - half, mean + half
                color = styles[row.arm]["color"]
                if len(rows) <= _MAX_BANDS:
                    axis.fill_between(grid / factor, low, high, color=color, alpha=0.2, linewidth=0)
                else:
                    at = [int((i + (number + 0.5) / len(rows)) * _GRID / _BARS) for i in range(_BARS)]
                    axis.vlines(grid[at] / factor, low[at], high[at], color=color, alpha=0.5, linewidth=1)
                axis.plot(grid / factor, mean, linewidth=2.0 if len(rows) <= _MAX_BANDS else 1.6, **styles[row.arm])
                reached += [*mean[np.isfinite(mean)], *high[np.isfinite(high)], *targets]
        axis.set_xlabel(f"{label} [{scaled_unit}]")
        if logarithmic:
            axis.set_xscale("log")
            if begins and min(begins) > 0:
                axis.set_xlim(left=0.9 * min(begins) / factor)
            if picture.logarithmic:
                axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        else:
            axis.set_xlim(0, 1.02 * max(ends, default=0.0) / factor or 1)
    return reached


def _end(row: Row, spent: Callable[[Finished], np.ndarray]) -> float:
    """Up to where all seeds of a row have a curve."""
    return min(float(spent(run)[-1]) for run in row.runs)


def _curve(
    row: Row, spent: Callable[[Finished], np.ndarray], logarithmic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(grid, mean, half width) over what all seeds of a row have in common."""
    curves = [(spent(run), run.accuracy) for run in row.runs]
    first = max(float(x[0]) for x, _ in curves)
    last = max(min(float(x[-1]) for x, _ in curves), first)
    grid = np.geomspace(first, last, _GRID) if logarithmic and first > 0 else np.linspace(first, last, _GRID)
    grid[0], grid[-1] = first, last  # a grid of powers rounds: its ends must not lie outside
    return grid, *band(curves, grid)


def _draw_by_point(axis: Axes, comparison: Comparison, styles: Mapping[str, dict[str, Any]]) -> None:
    """Accuracy at equal time with its interval, arms beside each other at each point."""
    points = comparison.points()
    arms = list(styles)
    for i, (_, rows) in enumerate(points):
        for row in rows:
            found = row.estimate(ACCURACY)
            shift = 0.6 * ((arms.index(row.arm) + 0.5) / len(arms) - 0.5)
            half = np.nan_to_num(found.half_width)
            axis.errorbar(i + shift, found.mean, half, fmt="o", markersize=5, color=styles[row.arm]["color"], capsize=2)
    labels = [", ".join(_values(point[key]) for key in comparison.axes if key in point) for point, _ in points]
    axis.set_xlabel(", ".join((names.short_keys(comparison.axes) | _picture(comparison).titles).values()))
    axis.set_xticks(range(len(points)), labels, rotation=30, ha="right", rotation_mode="anchor", fontsize=9, color=INK)
    axis.set_xlim(-0.5, len(points) - 0.5)
    axis.set_ylabel(f"{_accuracy(comparison)} at equal time")


def _values(value: Any) -> str:
    """Of an axis, those of a table one after the other."""
    return ", ".join(map(_values, value.values())) if isinstance(value, dict) else shown(value, 16)


def _accuracy(comparison: Comparison) -> str:
    """Of what the accuracies are, where it is the same for all."""
    words = [set(row.measured.split(", ")) for row in comparison.rows]
    same = set.intersection(*words) if words else set()
    if metrics := sorted(same & set(ACCURACIES)):
        return metrics[0].replace("_", " ")
    shares = {share_of(run.resolved) for row in comparison.rows for run in row.runs}
    if len(shares) == 1 and (share := shares.pop()) is not None:
        return share
    return "own test accuracy" if same & set(OWN_DATA) else "test accuracy"


def _evaluated(row: Row) -> bool:
    return all(len(run.time_s) and np.isfinite(run.accuracy).any() for run in row.runs)


def _words(comparison: Comparison, point: Mapping[str, Any]) -> str:
    short = names.short_keys(comparison.axes) | _picture(comparison).titles
    return names.words(point, short, 30)
