"""The picture of a scene: coverage as shades, streets and links as lines, devices and stations as marks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim.plotting import GRAY, GROUP_COLORS, INK, RED, TIGHT, short, write_figure
from wsim.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LEVELS = 10
STEPS_DB = (2, 5, 10, 20, 50)


def plot_scene(scene: Scene, path: str | Path, force: bool = True) -> None:
    """Draw a scene into a PNG, PDF or SVG file. Raises ResultError as `wsim.plotting.plot_run`."""
    write_figure(lambda: draw_scene(scene), path, force)


def draw_scene(scene: Scene) -> Figure:
    from matplotlib.figure import Figure

    wide, high = float(np.ptp(scene.x_m)), float(np.ptp(scene.y_m))
    height = float(np.clip(6.2 * high / wide, 3.0, 7.2))
    figure = Figure(figsize=(8.2, height + 1.5), layout="constrained")
    axis: Any = figure.subplots()
    _draw_coverage(figure, axis, scene)
    _draw_area(axis, scene)
    width = float(np.clip(20 / max(len(scene.streets_m), 1), 0.4, 2.5))
    for street in scene.streets_m.tolist():
        for points in (([street, street], scene.streets_m[[0, -1]]), (scene.streets_m[[0, -1]], [street, street])):
            axis.plot(*points, color="white", linewidth=width, alpha=0.8, zorder=1.5)
    _draw_links(axis, scene)
    _draw_nodes(axis, scene)
    axis.set_aspect("equal")
    axis.set_xlim(scene.x_m[0], scene.x_m[-1])
    axis.set_ylim(scene.y_m[0], scene.y_m[-1])
    axis.set_xlabel("x [m]")
    axis.set_ylabel("y [m]")
    num_devices = f"{scene.num_devices:,} devices" if scene.num_devices != 1 else "1 device"
    figure.suptitle(f"{scene.name}: {num_devices} at {scene.time_s:g} s", fontsize=14)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), **TIGHT)
    return figure


def levels_db(scene: Scene) -> np.ndarray:
    """Edges of the shades: from the least SNR that carries anything (or the least that there is) to all but the brightest
    hundredth, in round steps."""
    low = max(float(np.percentile(scene.snr_db, 1)), scene.min_snr_db)
    high = max(float(np.percentile(scene.snr_db, 99)), low + 1)
    step = next((step for step in STEPS_DB if (high - low) / step <= MOST_LEVELS), STEPS_DB[-1])
    return np.arange(np.floor(low / step) * step, np.ceil(high / step) * step + step / 2, step)


def _draw_coverage(figure: Figure, axis: Axes, scene: Scene) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap

    levels = levels_db(scene)
    colors = colormaps["GnBu"](np.linspace(0.08, 0.8, len(levels)))
    shades = ListedColormap(colors[:-1]).with_extremes(under="white", over=colors[-1])
    norm = BoundaryNorm(levels, len(levels) - 1)
    mesh = axis.pcolormesh(
        scene.x_m, scene.y_m, scene.snr_db, cmap=shades, norm=norm, shading="nearest", rasterized=True, zorder=0
    )
    bar = figure.colorbar(mesh, ax=axis, extend="both", shrink=0.85, pad=0.02)
    best = "station" if scene.num_stations else "device"
    whose = f"best {best}'s" if scene.num_stations != 1 else "station's"
    bar.set_label(f"{whose} mean SNR over the band [dB]")
    threshold_db = scene.threshold_db
    if threshold_db is not None and scene.snr_db.min() < threshold_db < scene.snr_db.max():
        axis.contour(scene.x_m, scene.y_m, scene.snr_db, levels=[threshold_db], colors=[RED], linewidths=1.2, zorder=1)
        axis.plot([], [], color=RED, linewidth=1.2, label=f"neighborhood, {threshold_db:g} dB")


def _draw_area(axis: Axes, scene: Scene) -> None:
    """The area's edge, or the hexagons of the sites."""
    from matplotlib.patches import Circle, Patch, Rectangle, RegularPolygon

    style: Any = {"fill": False, "edgecolor": GRAY, "linewidth": 1, "linestyle": (0, (5, 3)), "zorder": 1}
    patches: list[Patch] = []
    if scene.hexagons is not None:
        radius = scene.hexagons.inter_site_distance_m / np.sqrt(3)
        for place in (scene.hexagons.sites_m + scene.center_m).tolist():
            patches.append(RegularPolygon(place, 6, radius=radius, orientation=np.pi / 6, **style))
    elif scene.area is not None:
        size = scene.area.size_m
        square = scene.area.shape == "square"
        patches.append(
            Rectangle((-size / 2, -size / 2), size, size, **style) if square else Circle((0, 0), size, **style)
        )
    for patch in patches:
        axis.add_patch(patch)


def _draw_links(axis: Axes, scene: Scene) -> None:
    from matplotlib.collections import LineCollection

    if not len(scene.edges):
        return
    alpha = float(np.clip(200 / len(scene.edges), 0.08, 0.75))
    lines = LineCollection(list(scene.place_m[scene.edges]), colors=INK, linewidths=0.8, alpha=alpha, zorder=2)
    axis.add_collection(lines)
    axis.plot([], [], color=GRAY, linewidth=1, label=f"{len(scene.edges):,} link{'s' * (len(scene.edges) != 1)}")


def _draw_nodes(axis: Axes, scene: Scene) -> None:
    size = float(np.clip(3000 / scene.num_devices, 4, 45))
    edge = 0.5 if size > 10 else 0.0
    for number, name in enumerate(scene.group_names):
        own = scene.group == number
        x, y = scene.place_m[: scene.num_devices][own & ~scene.away].T
        color = GROUP_COLORS[(number + 1) % len(GROUP_COLORS)]  # orange first: the shades are blue
        axis.scatter(x, y, s=size, color=color, edgecolors="white", linewidths=edge, zorder=3, label=short(name))
        x, y = scene.place_m[: scene.num_devices][own & scene.away].T
        axis.scatter(x, y, s=size, facecolors="white", edgecolors=color, linewidths=1.2, zorder=3)
    if scene.away.any():
        label = f"{scene.away.sum():,} away"
        axis.scatter([], [], s=size, facecolors="white", edgecolors=GRAY, linewidths=1.2, label=label)
    x, y = scene.place_m[scene.num_devices :].T
    if len(x):
        label = "station" if len(x) == 1 else f"{len(x)} stations"
        axis.scatter(x, y, s=110, marker="^", color=INK, edgecolors="white", linewidths=0.8, zorder=4, label=label)
