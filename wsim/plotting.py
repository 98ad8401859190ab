"""The picture of a run: accuracy against seconds, bits and joules; where time and energy went; who stands where."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learners.representation.names import ACCURACIES
from wsim.atomic import check_target, write_atomically
from wsim.errors import ResultError
from wsim.headline import share_of
from wsim.record import ENERGY_USES, RunRecord
from wsim.report import joules, num_rounds, server_energy_j, timeline_shares
from wsim.scenario.evaluation import OWN_DATA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any common color blindness; grays where nothing happens.
BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PINK = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
)
GRAY, LIGHT_GRAY, INK = "#8C8C8C", "#DDDDDD", "#222222"
STATE_COLORS = {
    "computing": ORANGE,
    "transmitting": RED,
    "receiving": BLUE,
    "both": PINK,
    "accessing": YELLOW,
    "listening": SKY,
    "awaiting_outcome": YELLOW,
    "observing": GREEN,
    "sleeping": GRAY,
    "asleep": GRAY,
    "idle": LIGHT_GRAY,
    "off": LIGHT_GRAY,
    "finished": LIGHT_GRAY,
}
USE_COLORS = {"compute": ORANGE, "transmit": RED, "receive": BLUE, "listen": SKY, "idle": LIGHT_GRAY, "observe": GREEN}
GROUP_COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
FORMATS = ("png", "pdf", "svg")
_STYLE: Any = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "axes.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "svg.hashsalt": "wsim",
    "text.parse_math": False,  # a name may hold a dollar sign
}
TIGHT: Any = {
    "handlelength": 0.9,
    "handleheight": 0.9,
    "handletextpad": 0.4,
    "columnspacing": 1.2,
    "labelspacing": 0.25,
}
_LEGEND_CHARACTERS = 76  # that fit into one row of the figure


def plot_run(record: RunRecord, path: str | Path, force: bool = True) -> None:
    """Draw one run into a PNG, PDF or SVG file, by the ending of its name.

    force: overwrite an existing file
    Raises ResultError where the name has another ending or the file cannot be written.
    """
    write_figure(lambda: draw_run(record), path, force)


def write_figure(draw: Callable[[], Figure], path: str | Path, force: bool = True) -> None:
    """As `plot_run`, for any figure; `draw` is called with our style set. Equal figures give equal files."""
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise ResultError(f"{path}: cannot be drawn; pictures end in .png, .pdf or .svg")
    check_target(path, force)
    import matplotlib as mpl  # takes a while: only here

    mpl.use("Agg")
    undated: Any = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(ending)
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        draw().savefig(buffer, format=ending, dpi=200, metadata=undated)
    write_atomically(path, buffer.getvalue(), force)


def draw_run(record: RunRecord) -> Figure:
    """The figure: on top accuracy (what was spent, for an estimate), below the shares and the map."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    figure = Figure(
        figsize=(8.4, 6.6), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06, hspace=0.03, wspace=0.04)
    )
    figure.suptitle(_title(record), fontsize=14)
    halves: Any = figure.subfigures(2, 1, height_ratios=[1, 1.08])
    top, bottom = halves
    if record.estimated or not np.isfinite(record.accuracy).any():
        _draw_spending(top.subplots(1, 3), record)
    else:
        _draw_accuracy(top.subplots(1, 3, sharey=True), record)
    times, uses, positions = bottom.subplots(1, 3, width_ratios=[1.1, 0.9, 1])
    states = _draw_timelines(times, record)
    _draw_energy(uses, record)
    _draw_map(positions, record)
    handles = [Patch(facecolor=color) for color in states]
    words = list(states.values())
    in_one_row = sum(len(word) + 3 for word in words) <= _LEGEND_CHARACTERS
    ncols = len(words) if in_one_row else -(-len(words) // 2)
    bottom.legend(handles, words, loc="outside upper center", ncols=max(ncols, 1), **TIGHT)
    return figure


def _title(record: RunRecord) -> str:
    kind = "estimate of " if record.estimated else ""
    num_nodes = f"{record.num_devices} devices" if record.num_devices != 1 else "1 device"
    return f"{kind}{record.name}: {record.learner}, {num_nodes}, seed {record.seed}"


def _draw_accuracy(axes: Any, record: RunRecord) -> None:
    """Accuracy against seconds, bits on the air and joules of all devices: the headline, the band from the worst to the best
    device, the groups where they are asked for, other subjects; a dot where a target is met."""
    curves = _accuracy_curves(record)
    worst, best = _range_of_devices(record)
    spent = (
        (record.eval_time_s, record.target_time_s, "s", "simulated time"),
        (record.eval_on_air_bits, record.target_on_air_bits, "bit", "on the air"),
        (record.eval_energy_j.sum(axis=1), record.target_energy_j, "J", "energy of all devices"),
    )
    markers: dict[str, Any] = {"marker": "o", "markersize": 3} if len(record.accuracy) <= 12 else {}
    for axis, (values, at_target, unit, label) in zip(axes, spent, strict=True):
        factor, scaled_unit = scaled(float(values[-1]), unit)
        for target in record.targets:
            axis.axhline(target, color=LIGHT_GRAY, linewidth=1, linestyle=(0, (5, 3)), zorder=0)
        for name, (accuracies, style) in curves.items():
            axis.plot(values / factor, accuracies, label=name, **style, **markers)
        if (best > worst).any():
            band = {"color": SKY, "alpha": 0.25, "linewidth": 0, "zorder": 1}
            axis.fill_between(values / factor, worst, best, label="worst to best device", **band)
        if np.isfinite(at_target).any():
            axis.plot(at_target / factor, record.targets, "o", color=INK, markersize=4.5, zorder=3, label="target met")
        axis.set_xlabel(f"{label} [{scaled_unit}]")
        axis.set_xlim(0, 1.02 * float(values[-1]) / factor or 1)
    axes[0].set_ylabel(_accuracy(record))
    num_entries = len(axes[0].get_legend_handles_labels()[1])
    axes[0].legend(loc="lower right", fontsize=11 if num_entries < 5 else 9, **TIGHT)


def _accuracy(record: RunRecord) -> str:
    """What the headline is."""
    if record.series_report[0] in ACCURACIES:
        return record.series_report[0].replace("_", " ")
    if (share := share_of(record.resolved)) is not None:
        return share
    return "own test accuracy" if record.series_data[0] in OWN_DATA else "test accuracy"


def _accuracy_curves(record: RunRecord) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """By name, accuracies [E] and the style of their line; the headline first."""
    names = record.series_report, record.series_subject, record.series_data
    named = list(zip(*names, record.series_accuracy, strict=True))
    same = [
        (subject, accuracies)
        for report, subject, data, accuracies in named
        if (report, data) == (record.series_report[0], record.series_data[0])
    ]
    by_group = record.by_group and len(record.group_names) > 1
    color = INK if by_group else BLUE  # the groups have their colors of the map
    curves: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        _curve_name(record, same[0][0]): (record.accuracy, {"color": color, "linewidth": 2.2, "zorder": 2.5})
    }
    for subject, accuracies in same[1:]:
        if subject != "device":  # whom the band and the worst device stand for
            style = {"color": GRAY if subject == "mean_model" else INK, "linewidth": 1.6, "linestyle": "--"}
            curves[_curve_name(record, subject)] = accuracies, style
    for report, subject, data, accuracies in named:
        if (report, subject, data) == (record.series_report[0], record.series_subject[0], "train"):
            curves["on training samples"] = accuracies, {"color": BLUE, "linewidth": 1.6, "linestyle": ":"}
    number = next((i for i, subject in enumerate(record.series_subject) if subject == "device"), 0)
    if by_group:
        for group, name in enumerate(record.group_names):
            color = GROUP_COLORS[group % len(GROUP_COLORS)]
            of_group = record.series_accuracy_by_group[number, :, group, 0]
            curves[short(name)] = of_group, {"color": color, "linewidth": 1.6}
    elif np.isfinite(record.accuracy_worst).any():
        curves["worst device"] = record.accuracy_worst, {"color": ORANGE, "linewidth": 1.6}
    return curves


def _curve_name(record: RunRecord, subject: str) -> str:
    if subject == "device" or (subject == "server" and record.series_data[0] in OWN_DATA):
        level = record.levels[0]
        whose = "devices" if subject == "device" else "server's model"
        return f"{level} over {whose}" if level == "mean" and subject == "device" else f"{level}, {whose}"
    return {"server": "server's model", "mean_model": "mean model (genie)"}[subject]


def _range_of_devices(record: RunRecord) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy of the worst and of the best device [E], NaN where no device holds a model."""
    accuracies = record.accuracy_by_device
    low, high = np.where(np.isnan(accuracies), np.inf, accuracies), np.where(np.isnan(accuracies), -np.inf, accuracies)
    held = np.isfinite(accuracies).any(axis=1)
    return np.where(held, low.min(axis=1), np.nan), np.where(held, high.max(axis=1), np.nan)


def _draw_spending(axes: Any, record: RunRecord) -> None:
    """For a run without accuracies: rounds, bits and joules against seconds."""
    spent = (
        (record.eval_round, num_rounds(record), "", "rounds"),
        (record.eval_on_air_bits, record.on_air_bits, "bit", "on the air"),
        (record.eval_energy_j.sum(axis=1), record.total_energy_j, "J", "energy of all devices"),
    )
    time_s = np.concatenate([[0.0], record.eval_time_s, [record.simulated_s]])
    time_factor, time_unit = scaled(record.simulated_s, "s")
    for axis, (values, end, unit, label) in zip(axes, spent, strict=True):
        factor, scaled_unit = scaled(float(end), unit)
        axis.plot(time_s / time_factor, np.concatenate([[0.0], values, [end]]) / factor, color=BLUE, linewidth=2.2)
        axis.set_xlabel(f"simulated time [{time_unit}]")
        axis.set_ylabel(f"{label} [{scaled_unit}]" if unit else label)
        axis.set_xlim(0, 1.02 * record.simulated_s / time_factor or 1)
        axis.set_ylim(0, 1.05 * float(end) / factor or 1)


def _draw_timelines(axis: Axes, record: RunRecord) -> dict[str, str]:
    """Stacked bars: share of the devices' time by state. Returns the states of each color, for a legend."""
    timelines = timeline_shares(record)
    words: dict[str, list[str]] = {color: [] for color in STATE_COLORS.values()}
    for row, shares in enumerate(timelines.values()):
        left = 0.0
        for state, color in STATE_COLORS.items():
            share = shares.get(state, 0.0)
            axis.barh(row, share, left=left, color=color, height=0.62, edgecolor="white", linewidth=0.8)
            if share >= 0.2:
                ink = "white" if color in (BLUE, RED) else INK
                axis.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=11)
            left += share
            word = state.replace("_", " ")
            if share >= 0.005 and word not in words[color]:
                words[color].append(word)
    axis.set_yticks(range(len(timelines)), list(timelines))
    axis.tick_params(axis="y", length=0)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    axis.set_xlabel("time of all devices [%]")
    axis.spines["left"].set_visible(False)
    return {color: " / ".join(states) for color, states in words.items() if states}


def _draw_energy(axis: Axes, record: RunRecord) -> None:
    """Joules by use, all devices; the server's total apart."""
    by_use = record.energy_by_use()
    names = [use for use in ENERGY_USES if by_use[use] > 0] or list(ENERGY_USES)
    values = [by_use[use] for use in names]
    colors = [USE_COLORS[use] for use in names]
    if server := server_energy_j(record):
        names, values, colors = [*names, "server"], [*values, server], [*colors, GRAY]
    largest = max(values)
    factor, unit = scaled(largest, "J")
    axis.barh(names, [value / factor for value in values], color=colors, height=0.62)
    for row, value in enumerate(values):
        axis.text(value / factor, row, f" {joules(value)}", va="center", fontsize=11)
    axis.set_xlim(0, 1.4 * largest / factor or 1)
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(f"energy [{unit}]")


def _draw_map(axis: Axes, record: RunRecord) -> None:
    """Positions and edges of the last snapshot, seen from above."""
    from matplotlib.collections import LineCollection

    axis.set_aspect("equal", adjustable="box")
    axis.set_xlabel("x [m]")
    axis.set_ylabel("y [m]")
    if not len(record.snapshot_time_s):
        axis.set_title("positions not recorded")
        return
    last = len(record.snapshot_time_s) - 1
    place = record.positions_m[last, :, :2]
    edges = record.edges[record.edge_snapshot == last]
    alpha = float(np.clip(100 / max(len(edges), 1), 0.1, 0.7))
    axis.add_collection(LineCollection(list(place[edges]), colors=GRAY, linewidths=0.8, alpha=alpha, zorder=1))
    size = float(np.clip(2000 / max(record.num_devices, 1), 2, 28))
    for group, name in enumerate(record.group_names):
        x, y = place[: record.num_devices][record.group == group].T
        axis.scatter(
            x, y, s=size, color=GROUP_COLORS[group % len(GROUP_COLORS)], zorder=2, linewidths=0, label=short(name)
        )
    x, y = place[record.num_devices :].T
    if len(x):
        axis.scatter(x, y, s=70, marker="^", color=INK, zorder=3, linewidths=0, label="server")
    center = (place.max(axis=0) + place.min(axis=0)) / 2
    half = 0.55 * float(np.ptp(place, axis=0).max()) or 1.0
    if 1 < len(axis.get_legend_handles_labels()[0]) <= 6:
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, borderaxespad=0.2, fontsize=10, **TIGHT)
    axis.set_xlim(center[0] - half, center[0] + half)
    axis.set_ylim(center[1] - half, center[1] + half)


def short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def scaled(largest: float, unit: str) -> tuple[float, str]:
    """(factor, unit with prefix) that bring the largest value of an axis between 1 and 1000; hours from two on."""
    if not unit or largest <= 0 or not np.isfinite(largest):
        return 1.0, unit
    if unit == "s":
        return (1.0, "s") if largest < 7200 else (3600.0, "h")
    power = int(np.clip(np.floor(np.log10(largest) / 3), 0 if unit == "bit" else -3, 5))
    return 1000.0**power, f"{'nµm kMGTP'[power + 3].strip()}{unit}"
