"""The picture of a validation: measured minus expected in units of the tolerance, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsim.plotting import BLUE, INK, LIGHT_GRAY, RED
from wsim.validation.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 2.5  # in tolerances; what lies farther away is drawn at the edge
MOST_ROWS = 64  # of a column
COLUMN_INCHES, ROW_INCHES = 6.8, 0.19


def draw(comparisons: Sequence[Comparison]) -> Figure:
    """One line a comparison, from top to bottom and column by column; the tolerance is the band from -1 to 1."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    num_columns = max(1, math.ceil(len(comparisons) / MOST_ROWS))
    num_rows = math.ceil(len(comparisons) / num_columns)
    size = (max(11.0, COLUMN_INCHES * num_columns), 1.3 + ROW_INCHES * num_rows)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
    for column, axes in enumerate(figure.subplots(1, num_columns, squeeze=False)[0]):
        _draw_column(axes, comparisons[column * num_rows : (column + 1) * num_rows], num_rows)
    passed = sum(comparison.passed for comparison in comparisons)
    figure.suptitle(f"Models beside theory: {passed} of {len(comparisons)} within tolerance", fontsize=11)
    figure.supxlabel("(measured - expected) / tolerance, with one standard error", fontsize=9)
    return figure


def _draw_column(axes: Axes, comparisons: Sequence[Comparison], num_rows: int) -> None:
    """num_rows: of the longest column, so that all have one height."""
    axes.axvspan(-1, 1, color=LIGHT_GRAY, alpha=0.4, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.6)
    labels = []
    for y, comparison in enumerate(comparisons):
        deviation = comparison.deviation
        x = math.copysign(SHOWN, deviation) if not abs(deviation) < SHOWN else deviation
        error = comparison.standard_error / comparison.tolerance if comparison.tolerance > 0 else 0.0
        marker = "o" if x == deviation else (">" if x > 0 else "<")
        color = BLUE if comparison.passed else RED
        axes.errorbar(x, y, xerr=error, fmt=marker, color=color, markersize=3.5, linewidth=1, capsize=0)
        labels.append(f"{comparison.model}: {comparison.quantity}")
    axes.set_yticks(range(len(comparisons)), labels, fontsize=6.5)
    for label, comparison in zip(axes.get_yticklabels(), comparisons, strict=True):
        label.set_color(INK if comparison.passed else RED)
    axes.set_ylim(num_rows - 0.5, -0.5)
    axes.set_xlim(-SHOWN - 0.1, SHOWN + 0.1)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
