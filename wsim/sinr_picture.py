"""The picture of a run's SINRs: over the whole run the median and the 5-95 % band of all links, and the steps of some devices; beside
it a short span in which the steps can be told apart.

Of every moment it shows what is on the air then, weighted by time: links that are slow are on the air for long. Where devices have
base stations the directions are apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim.errors import ResultError
from wsim.plotting import BLUE, GRAY, GREEN, INK, ORANGE, PINK, RED, SKY, TIGHT, scaled, write_figure
from wsim.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_SPANS = 80
"""Equal spans of time, of each of which the median and the band are drawn."""

BAND = (0.05, 0.95)
MOST_DEVICES = 5
_COLORS = (BLUE, ORANGE, GREEN, PINK, RED)
_STEPS_IN_CLOSE_UP, _TRANSFERS_IN_CLOSE_UP = 80, 12  # on average; the longer of the two
_PLACES = {1: ("",), 2: (" (lowest)", " (highest)"), 3: (" (lowest)", " (middle)", " (highest)")}  # of those not named


@dataclass(frozen=True)
class Steps:
    """Rows of the series. All [n]; of: the device that a row is shown for."""

    begin_s: np.ndarray
    end_s: np.ndarray
    transfer: np.ndarray
    of: np.ndarray
    sinr_db: np.ndarray

    def of_device(self, device: int) -> Steps:
        return self.where(self.of == device)

    def where(self, rows: np.ndarray) -> Steps:
        return Steps(self.begin_s[rows], self.end_s[rows], self.transfer[rows], self.of[rows], self.sinr_db[rows])


def plot_sinr(
    record: RunRecord,
    path: str | Path,
    devices: Sequence[int] | None = None,
    at_s: float | None = None,
    force: bool = True,
) -> None:
    """Draw the SINRs of a run into a PNG, PDF or SVG file.

    devices: whose steps are drawn; None: those with the lowest, the middle and the highest median
    at_s: where the close-up begins; None: where most transfers of these devices are
    Raises ResultError where the run has kept none, a device does not exist, or as `wsim.plotting.plot_run`.
    """
    if not len(record.sinr_db):
        raise ResultError(f"{record.name}: holds no SINRs; run it again with --set output.sinr=true")
    for device in devices or ():
        if not 0 <= device < record.num_devices:
            raise ResultError(f"{record.name}: has no device {device}; they are 0 to {record.num_devices - 1}")
    if devices is not None and not 0 < len(devices) <= MOST_DEVICES:
        raise ResultError(f"{record.name}: {len(devices)} devices; name one to {MOST_DEVICES}")
    write_figure(lambda: draw_sinr(record, devices, at_s), path, force)


def draw_sinr(record: RunRecord, devices: Sequence[int] | None = None, at_s: float | None = None) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import MaxNLocator

    panels = directions(record)
    shown = list(devices) if devices is not None else typical_devices(record, list(panels.values()))
    places = _PLACES[len(shown)] if devices is None else ("",) * len(shown)
    figure = Figure(
        figsize=(10.4, 2.3 + 2.5 * len(panels)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.05, wspace=0.02)
    )
    figure.suptitle(f"{record.name}: SINR of what is on the air, seed {record.seed}", fontsize=14)
    rows: Any = figure.subplots(len(panels), 2, squeeze=False, sharey="row", width_ratios=[1.7, 1])
    begin_s, end_s = close_up(list(panels.values()), shown, record.simulated_s, at_s)
    factor, unit = scaled(record.simulated_s, "s")
    for (title, steps), (whole, near) in zip(panels.items(), rows, strict=True):
        _draw_band(whole, steps, record.simulated_s, factor)
        x, y = outline(steps.where((steps.begin_s < end_s) & (steps.end_s > begin_s)))
        near.plot(x, y, color=GRAY, alpha=0.5, linewidth=0.6, zorder=1)
        for number, device in enumerate(shown):
            for axis, scale, width in ((whole, factor, 0.9), (near, 1.0, 1.8)):
                x, y = outline(steps.of_device(device))
                style: Any = {"color": _COLORS[number], "linewidth": width, "solid_capstyle": "round", "zorder": 3}
                axis.plot(x / scale, y, label=f"device {device}{places[number]}", **style)
        _draw_handovers(whole, record, shown, factor)
        _draw_handovers(near, record, shown, 1.0, lines=True)
        near.xaxis.set_major_locator(MaxNLocator(5))
        _draw_levels((whole, near), record)
        whole.set_title(title, loc="left")
        whole.set_ylabel("SINR [dB]")
        whole.set_ylim(*_limits(steps))
        whole.set_xlim(0, record.simulated_s / factor)
        near.set_xlim(begin_s, end_s)
        whole.axvspan(begin_s / factor, end_s / factor, color=SKY, alpha=0.35, linewidth=1.5, zorder=0)
    rows[0][1].set_title("close-up (shaded on the left)", loc="left")
    rows[-1][0].set_xlabel(f"simulated time [{unit}]")
    rows[-1][1].set_xlabel("simulated time [s]")
    found: dict[str, Any] = {}
    for axis in rows[:, 0]:
        found |= dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 4), **TIGHT)
    return figure


def directions(record: RunRecord) -> dict[str, Steps]:
    """What is on the air by where it is heard: at base stations and from them, or between devices."""
    num = record.num_devices
    tx, rx = record.sinr_tx, record.sinr_rx
    kinds = (
        ("uplink, at the station", tx, rx >= num),
        ("downlink, at the device", rx, tx >= num),
        ("between devices, at the one that receives", rx, (tx < num) & (rx < num)),
    )
    end_s = record.sinr_time_s + record.sinr_duration_s
    return {
        title: Steps(record.sinr_time_s, end_s, record.sinr_transfer, of, record.sinr_db).where(rows)
        for title, of, rows in kinds
        if rows.any()
    }


def typical_devices(record: RunRecord, panels: Sequence[Steps]) -> list[int]:
    """Those with the lowest, the middle and the highest median over time, of what was heard most of the time."""
    steps = max(panels, key=lambda steps: float((steps.end_s - steps.begin_s).sum()))
    seen = np.unique(steps.of)
    middle = []
    for device in seen.tolist():
        own = steps.of_device(device)
        middle.append(quantiles(own.sinr_db, own.end_s - own.begin_s, (0.5,))[0])
    order = seen[np.argsort(middle, kind="stable")]
    return [int(order[i]) for i in sorted({0, len(order) // 2, len(order) - 1})]


def close_up(
    panels: Sequence[Steps], devices: Sequence[int], simulated_s: float, at_s: float | None
) -> tuple[float, float]:
    """Begin and end of the span in which the steps of these devices can be told apart."""
    lengths = np.concatenate([steps.end_s - steps.begin_s for steps in panels])
    spans = np.concatenate([_transfer_spans_s(steps) for steps in panels])
    length = max(_STEPS_IN_CLOSE_UP * np.median(lengths), _TRANSFERS_IN_CLOSE_UP * simulated_s / len(spans))
    length = float(np.clip(length, 1e-6, max(simulated_s, 1e-6)))
    if at_s is None:
        begins = np.sort(
            np.concatenate([_transfer_spans_s(steps.where(np.isin(steps.of, devices)))[:, 0] for steps in panels])
        )
        if not len(begins):
            return 0.0, length
        within = np.searchsorted(begins, begins + length) - np.arange(len(begins))
        at_s = float(begins[within.argmax()]) - 0.02 * length
    begin_s = max(min(at_s, simulated_s - length), 0.0)
    return begin_s, begin_s + length


def _transfer_spans_s(steps: Steps) -> np.ndarray:
    """[num_transfers, 2] begin and end."""
    first = np.flatnonzero(np.diff(steps.transfer, prepend=-1))
    if not len(first):
        return np.empty((0, 2))
    return np.stack([steps.begin_s[first], np.maximum.reduceat(steps.end_s, first)], axis=1)


def band_over_time(steps: Steps, simulated_s: float, num_spans: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges [num_spans + 1] of equal spans in seconds, and [num_spans, 3] the low end, the median and the high end of the SINRs in each,
    weighted by time; NaN where nothing is on the air."""
    edges = np.linspace(0.0, simulated_s, num_spans + 1)
    found = np.full((num_spans, 3), np.nan)
    order = np.argsort(steps.begin_s, kind="stable")
    begin_s, end_s, sinr_db = steps.begin_s[order], steps.end_s[order], steps.sinr_db[order]
    latest_s = np.maximum.accumulate(end_s)
    for i in range(num_spans):
        rows = slice(np.searchsorted(latest_s, edges[i], side="right"), np.searchsorted(begin_s, edges[i + 1]))
        weights = np.clip(np.minimum(end_s[rows], edges[i + 1]) - np.maximum(begin_s[rows], edges[i]), 0.0, None)
        if weights.sum() > 0.0:
            found[i] = quantiles(sinr_db[rows], weights, (BAND[0], 0.5, BAND[1]))
    return edges, found


def quantiles(values: np.ndarray, weights: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """[len(shares)] least values at or below which these shares of the weight lie."""
    order = np.argsort(values, kind="stable")
    up_to = np.cumsum(weights[order])
    places = np.searchsorted(up_to, np.array(shares) * up_to[-1] * (1 - 1e-12))
    found: np.ndarray = values[order][places]
    return found


def outline(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """A line along the steps, interrupted where a transfer ends."""
    n = len(steps.begin_s)
    x, y = np.empty((n, 3)), np.empty((n, 3))
    x[:, 0], x[:, 1] = steps.begin_s, steps.end_s
    y[:, 0] = y[:, 1] = steps.sinr_db
    x[:, 2], y[:, 2] = steps.end_s, np.nan
    if n > 1:
        goes_on = (steps.transfer[1:] == steps.transfer[:-1]) & (np.abs(steps.begin_s[1:] - steps.end_s[:-1]) < 1e-10)
        y[:-1, 2][goes_on] = steps.sinr_db[1:][goes_on]
    return x.ravel(), y.ravel()


def _draw_band(axis: Axes, steps: Steps, simulated_s: float, factor: float) -> None:
    edges, found = band_over_time(steps, simulated_s, NUM_SPANS)
    low, middle, high = (np.append(values, values[-1]) for values in found.T)
    style: Any = {"step": "post", "color": GRAY, "alpha": 0.3, "linewidth": 0, "zorder": 1}
    axis.fill_between(edges / factor, low, high, label="5-95 % of all links", **style)
    axis.step(edges / factor, middle, where="post", color=INK, linewidth=1.5, zorder=4, label="median of all links")


def _draw_handovers(axis: Axes, record: RunRecord, devices: Sequence[int], factor: float, lines: bool = False) -> None:
    """Ticks at the bottom for all, triangles and lines for the devices shown."""
    times_s = record.handover_time_s / factor
    if not len(times_s):
        return
    place: Any = {"transform": axis.get_xaxis_transform(), "zorder": 5}
    count = f"{len(times_s)} hand-overs" if len(times_s) != 1 else "1 hand-over"
    axis.plot(times_s, np.full(len(times_s), 0.015), "|", color=INK, markersize=7, label=count, **place)
    for number, device in enumerate(devices):
        own = times_s[record.handover_device == device]
        if lines:
            axis.vlines(own, 0, 1, color=_COLORS[number], linewidth=1, linestyle=(0, (2, 2)), **place)
        axis.plot(own, np.full(len(own), 0.975), "v", color=_COLORS[number], markersize=5, **place)


def _draw_levels(axes: Sequence[Axes], record: RunRecord) -> None:
    phy = record.resolved.get("phy", {})
    levels = (
        ("min_snr_db", "adaptive rates send nothing", (0, (5, 3))),
        ("preamble_snr_db", "no lock on the preamble", (0, (1, 1))),
    )
    for key, label, dashes in levels:
        if phy.get(key) is not None:
            for axis in axes:
                style: Any = {"color": RED, "linewidth": 1, "linestyle": dashes, "zorder": 2}
                axis.axhline(phy[key], label=f"below {phy[key]:g} dB: {label}", **style)


def _limits(steps: Steps) -> tuple[float, float]:
    """All but the deepest and the highest hundredth of the time."""
    low, high = quantiles(steps.sinr_db, steps.end_s - steps.begin_s, (0.01, 0.99))
    margin = 0.08 * (high - low) + 1.0
    return float(low - margin), float(high + margin)
