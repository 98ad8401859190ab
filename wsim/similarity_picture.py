"""The picture of how alike representations are: |cos| of every pair of features of test samples, which the devices' models made at the
end of the run, sorted by class and within a class by device.

Devices that agree on orthogonal subspaces for the classes give squares along the diagonal and nothing beside them; devices each of
which has its own give a stripe a device within the squares.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim.errors import ResultError
from wsim.plotting import write_figure
from wsim.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 1500
"""Of the picture; of more features every so many."""


def plot_similarity(record: RunRecord, path: str | Path, force: bool = True) -> None:
    """Draw the similarities of a run into a PNG, PDF or SVG file. Raises ResultError where there are none, or as
    `wsim.plotting.plot_run`."""
    if not len(record.similarity_label):
        raise ResultError(
            f'{record.name}: holds no features: run it with "similarity" in [evaluation] metrics, such as --set '
            """'evaluation.metrics=["similarity"]' (an estimate has none, nor have models that have diverged)"""
        )
    write_figure(lambda: draw_similarity(record), path, force)


def draw_similarity(record: RunRecord) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = _rows(len(record.similarity_label))
    labels, devices = record.similarity_label[rows], record.similarity_device[rows]
    cosines = np.clip(np.abs(record.similarity_features[rows] @ record.similarity_features[rows].T), 0.0, 1.0)
    figure = Figure(figsize=(7.6, 7.2), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    figure.suptitle(f"{record.name}: {record.learner}, seed {record.seed}", fontsize=14)
    axis = figure.add_subplot()
    image = axis.imshow(cosines, cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest")
    classes, starts = np.unique(labels, return_index=True)
    ends = np.append(starts[1:], len(labels))
    for end in ends[:-1]:
        axis.axhline(end - 0.5, color="white", linewidth=0.7)
        axis.axvline(end - 0.5, color="white", linewidth=0.7)
    every = -(-len(classes) // 20)
    middles: Any = ((starts + ends - 1) / 2)[::every]
    axis.set_xticks(middles, classes[::every].tolist())
    axis.set_yticks(middles, classes[::every].tolist())
    axis.tick_params(length=0)
    num_devices = len(np.unique(devices))
    axis.set_xlabel(
        f"class, within a class by device ({num_devices}), {len(labels):,} features\n{_means(cosines, labels, devices)}"
    )
    axis.set_ylabel("class")
    figure.colorbar(image, ax=axis, label="|cos| of features", fraction=0.046)
    return figure


def _rows(count: int) -> np.ndarray:
    """Of so many features, those that are drawn."""
    return np.arange(0, count, -(-count // MOST_ROWS))


def _means(cosines: np.ndarray, labels: np.ndarray, devices: np.ndarray) -> str:
    """Mean |cos| of pairs of one class, of the same device and of different ones, and of pairs of different classes."""
    alike = labels[:, None] == labels
    own = devices[:, None] == devices
    different = np.ones(len(labels), dtype=bool) ^ np.eye(len(labels), dtype=bool)
    groups = {
        "one class and device": alike & own & different,
        "one class, two devices": alike & ~own,
        "two classes": ~alike,
    }
    return " \u00b7 ".join(f"{name} {cosines[mask].mean():.3f}" for name, mask in groups.items() if mask.any())
