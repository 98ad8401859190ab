"""The picture of what devices measured of the learning algorithm: a panel for each measure, over simulated time, a line for each
component (mean over the devices), with the range of the devices as a band where components are few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim.errors import ResultError
from wsim.plotting import BLUE, ORANGE, TIGHT, scaled, write_figure
from wsim.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 2
"""Components that have colors of their own and a band; more of them go from dark to light."""

MOST_NAMED = 8
"""Lines that the legend names; of more, the first, the middle and the last."""


def plot_measures(record: RunRecord, path: str | Path, force: bool = True) -> None:
    """Draw the measures of a run into a PNG, PDF or SVG file. Raises ResultError where there are none, or as
    `wsim.plotting.plot_run`."""
    if not record.measure_name:
        raise ResultError(
            f"{record.name}: holds no measures; {record.learner} gives none, or nobody measured anything, or it is an estimate "
            '(weights are measured by drt_diffusion; staleness by fedbuff, fedasync, and in rounds with late = "use"; representations '
            "by [evaluation] metrics)"
        )
    write_figure(lambda: draw_measures(record), path, force)


def draw_measures(record: RunRecord) -> Figure:
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(dict.fromkeys(record.measure_name))
    figure = Figure(
        figsize=(1.0 + 4.2 * len(names), 4.0), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, wspace=0.03)
    )
    figure.suptitle(f"{record.name}: {record.learner}, seed {record.seed}, mean over devices", fontsize=14)
    factor, unit = scaled(record.simulated_s, "s")
    time = record.eval_time_s / factor
    for name, axis in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        rows = [i for i, other in enumerate(record.measure_name) if other == name]
        few = len(rows) <= FEW
        colors = (BLUE, ORANGE) if few else colormaps["viridis"](np.linspace(0, 0.92, len(rows)))
        for number, (row, color) in enumerate(zip(rows, colors, strict=False)):
            low, mean, high = _over_devices(record.measure_value[row])
            named = len(rows) <= MOST_NAMED or number in (0, len(rows) // 2, len(rows) - 1)
            label = record.measure_component[row] if named else None
            axis.plot(time, mean, color=color, linewidth=1.8 if few else 1.3, label=label)
            if few:
                axis.fill_between(time, low, high, color=color, alpha=0.18, linewidth=0)
        axis.set_title(name.replace("_", " "), loc="left")
        axis.set_xlabel(f"simulated time [{unit}]")
        axis.set_xlim(0, float(time[-1]) * 1.02 or 1)
        legend: Any = TIGHT | {"fontsize": 10}
        axis.legend(**legend)
    return figure


def _over_devices(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, mean and highest [E] of values [E, num_devices]; NaN where there is none."""
    there = np.isfinite(values)
    counted = np.where(there.any(axis=1), there.sum(axis=1), np.nan)
    mean = np.where(there, values, 0.0).sum(axis=1) / counted
    low, high = np.where(there, values, np.inf).min(axis=1), np.where(there, values, -np.inf).max(axis=1)
    return np.where(np.isnan(mean), np.nan, low), mean, np.where(np.isnan(mean), np.nan, high)
