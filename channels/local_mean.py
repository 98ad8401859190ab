"""The local mean of a link's gain: antenna gains - path loss - shadowing, without fading.

It is evaluated at the nodes' places on a grid in time and is linear in dB between the grid's points; that interpolation is
the model itself (every caller sees it, `exact_gain` included), so nothing has to be recomputed for small-scale steps. The
grid is absolute (point g at g x step_s) and so fine that a node moves at most a twentieth of the shortest correlation
distance from one point to the next, and never more than a meter. A link between nodes that never move has a constant mean.

What depends on one node only (the field values at its place, its link to the base station) is computed once per node and grid
point and kept for the last few points, so memory is linear in nodes and flat in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .counter import hash_int
from .path_loss import PathLoss
from .positions import Positions
from .shadowing import UMI_LOS_STATE_CORRELATION_M, LosShadowing, PlaneWaveField, Shadowing, pair_scale
from .sites import Sites
from .units import whole_ns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS_PER_CORRELATION = 20
LARGEST_STEP_M = 1.0
CELLS_PER_STEP = 5  # without fading: a step may cross from line of sight to none, some 30 dB on a straight line
KEPT_COLUMNS = 6
MANY_COLUMNS = 4  # from here on a call computes its grid points at once and keeps none

_LOS_STATE, _LOS_SHADOW, _NLOS_SHADOW, _PAIR = range(4)  # last part of a field's key


@dataclass
class LinkMeans:
    """L links and the means that were computed for them; near and far: [L] nodes, far is the base station where there is one."""

    near: Ints
    far: Ints
    station: Ints  # [L] which base station a link goes to, in the order of the list; -1 between devices
    antennas_db: Floats  # [L] sum of both ends' antenna gains
    never_moves: bool
    columns: dict[int, Floats] = field(default_factory=dict)  # grid point -> [L] dB


class _NodeColumn:
    """One grid point: places and one value of those nodes that were asked for."""

    def __init__(self, num_nodes: int) -> None:
        self.filled = np.zeros(num_nodes, dtype=bool)
        self.place_m = np.zeros((num_nodes, 3))
        self.value = np.zeros(num_nodes)

    def put(self, nodes: Ints, place_m: Floats, value: Floats) -> None:
        self.place_m[nodes] = place_m
        self.value[nodes] = value
        self.filled[nodes] = True


class LocalMean:
    """Mean gains of links; see the module."""

    def __init__(
        self,
        positions: Positions,
        carrier_hz: float,
        path_loss: PathLoss,
        shadowing: Shadowing | LosShadowing | None,
        antenna_gain_dbi: Floats,
        key: int,
        stations: Ints,
        layout: Sites | None = None,
    ) -> None:
        if isinstance(shadowing, LosShadowing) and not path_loss.has_los:
            raise ValueError(
                f"shadowing by line-of-sight state needs a path loss with such a state (tr38901_umi), not {path_loss}"
            )
        self._positions = positions
        self._carrier_hz = carrier_hz
        self._path_loss = path_loss
        self._antenna_gain_dbi = antenna_gain_dbi
        self._key = key
        self._stations = stations
        self._layout = layout
        self._ordinal = np.full(positions.num_nodes, -1, dtype=np.int64)
        self._ordinal[stations] = np.arange(stations.size)
        self._sites = self._sites_of(stations)
        los, nlos = (shadowing.los, shadowing.nlos) if isinstance(shadowing, LosShadowing) else (shadowing, shadowing)
        self._los = los if los is not None and los.sigma_db > 0 else None
        self._nlos = nlos if nlos is not None and nlos.sigma_db > 0 else None
        self.max_sigma_db = max((s.sigma_db for s in (self._los, self._nlos) if s), default=0.0)
        self._fields: dict[tuple[int, int], PlaneWaveField] = {}
        correlations = [s.correlation_m for s in (self._los, self._nlos) if s]
        self.step_m = min([LARGEST_STEP_M, *(c / STEPS_PER_CORRELATION for c in correlations)])
        self.step_s = math.inf
        if positions.max_speed_mps > 0:
            self.step_s = CELLS_PER_STEP * whole_ns(self.step_m / positions.max_speed_mps / CELLS_PER_STEP)
        self._columns: dict[tuple[int, int], _NodeColumn] = {}
        self._static = {kind: _NodeColumn(positions.num_nodes) for kind in range(-1, stations.size)}

    def links(self, near: Ints, far: Ints) -> LinkMeans:
        """What is needed for `mean_db` of links [L]; raises ValueError for links that the path loss model does not cover."""
        station = np.where(self._ordinal[near] < 0, self._ordinal[far], -1)
        if self._path_loss.needs_station and (station < 0).any():
            i = int(np.argmin(station))
            raise ValueError(
                f"tr38901_umi holds between a base station and a device only; nodes {near[i]} and {far[i]} are both devices "
                "(log_distance or free_space for device-to-device links)"
            )
        antennas_db = self._antenna_gain_dbi[near] + self._antenna_gain_dbi[far]
        never_moves = bool(self._positions.is_static[near].all() and self._positions.is_static[far].all())
        return LinkMeans(near, far, station, antennas_db, never_moves)

    def mean_db(self, links: LinkMeans, t_s: Floats) -> Floats:
        """Local mean gain in dB at times t_s [k]: [L, k], or [L, 1] where no link ever changes."""
        if links.never_moves:
            return self._column(links, 0)[:, None]
        if t_s.size == 0:
            return np.empty((links.near.size, 0))
        scaled = t_s / self.step_s
        point = np.floor(scaled)
        fraction = scaled - point
        first = int(point[0])
        if point.size == 1 or (point == first).all():
            before, after = self._column(links, first)[:, None], self._column(links, first + 1)[:, None]
        else:
            points, index = np.unique(np.concatenate((point, point + 1)).astype(np.int64), return_inverse=True)
            if points.size < MANY_COLUMNS:
                table = np.stack([self._column(links, g) for g in points.tolist()], axis=1)
            else:
                table = self._table(links, points)
            before, after = table[:, index[: point.size]], table[:, index[point.size :]]
        return before + (after - before) * fraction

    # -- grid points ---------------------------------------------------------------------------------------------------

    def _column(self, links: LinkMeans, point: int) -> Floats:
        column = links.columns.get(point)
        if column is None:
            column = self._table(links, [point], keep=True)[:, 0]
            links.columns[point] = column
            if len(links.columns) > KEPT_COLUMNS:
                del links.columns[next(iter(links.columns))]
        return column

    def _table(self, links: LinkMeans, points: Sequence[int] | Ints, keep: bool = False) -> Floats:
        """Means at grid points [G]: [L, G]. keep: by way of the kept columns of node values, for one point."""
        times = np.asarray(points, dtype=np.float64) * (0.0 if links.never_moves else self.step_s)
        table = np.empty((links.near.size, times.size))
        for kind in range(self._stations.size - 1, -2, -1):
            rows = np.flatnonzero(links.station == kind)
            if rows.size == 0:
                continue
            near, far = links.near[rows], links.far[rows]
            if kind >= 0:
                if keep:
                    column = self._node_column(kind, int(points[0]), near)
                    table[rows] = column.value[near][:, None]
                else:
                    nodes, inverse = np.unique(near, return_inverse=True)
                    table[rows] = self._node_values(kind, nodes, times)[1][inverse]
            elif keep:
                column = self._node_column(kind, int(points[0]), np.concatenate((near, far)))
                place, value = column.place_m[:, None], column.value[:, None]
                table[rows] = self._pair_db(place[near], place[far], value[near], value[far])
            else:
                nodes, inverse = np.unique(np.concatenate((near, far)), return_inverse=True)
                place, value = self._node_values(kind, nodes, times)
                a, b = inverse[: rows.size], inverse[rows.size :]
                table[rows] = self._pair_db(place[a], place[b], value[a], value[b])
        return table + links.antennas_db[:, None]

    def _node_column(self, kind: int, point: int, nodes: Ints) -> _NodeColumn:
        column = self._columns.get((kind, point))
        if column is None:
            column = self._columns[kind, point] = _NodeColumn(self._positions.num_nodes)
            if len(self._columns) > KEPT_COLUMNS * max(1, self._stations.size):
                del self._columns[next(iter(self._columns))]
        missing = ~column.filled[nodes]
        if missing.any():
            wanted = np.unique(nodes[missing])
            is_static = self._positions.is_static[wanted]
            moving, resting = wanted[~is_static], wanted[is_static]
            if moving.size:
                place, value = self._node_values(kind, moving, np.array([point * self.step_s]))
                column.put(moving, place[:, 0], value[:, 0])
            if resting.size:
                static = self._static[kind]
                new = resting[~static.filled[resting]]
                if new.size:
                    place, value = self._node_values(kind, new, np.zeros(1))
                    static.put(new, place[:, 0], value[:, 0])
                column.put(resting, static.place_m[resting], static.value[resting])
        return column

    # -- values --------------------------------------------------------------------------------------------------------

    def _node_values(self, kind: int, nodes: Ints, times: Floats) -> tuple[Floats, Floats]:
        """Places [n, G, 3] and, for kind 0 or more, the gain to that base station in dB, else the pair field, in dB [n, G]."""
        place = self._positions.at(nodes, times)
        if kind < 0:
            if self._los is None:
                return place, np.zeros(place.shape[:2])
            return place, self._los.sigma_db * self._field(_PAIR, 0, self._los.correlation_m, place)
        site, true_place = self._sites[kind], place
        station = np.broadcast_to(self._positions.at(self._stations[kind : kind + 1], times), place.shape)
        sector_db: Floats | float = 0.0
        if self._layout is not None:
            place, sector_db = self._seen_from(kind, station, place)
        los = None
        if self._path_loss.has_los:
            ground_m = np.hypot(place[..., 0] - station[..., 0], place[..., 1] - station[..., 1])
            probability = self._path_loss.los_probability(ground_m)
            los = ndtr(self._field(_LOS_STATE, site, UMI_LOS_STATE_CORRELATION_M, place)) < probability
        gain = sector_db - self._path_loss.loss_db(place, station, self._carrier_hz, los)
        if self._los is None and self._nlos is None:
            return true_place, gain
        shadow = self._shadow_db(self._los, _LOS_SHADOW, site, place, true_place)
        if los is not None:
            shadow = np.where(los, shadow, self._shadow_db(self._nlos, _NLOS_SHADOW, site, place, true_place))
        return true_place, gain - shadow

    def _seen_from(self, station: int, station_m: Floats, place: Floats) -> tuple[Floats, Floats]:
        """The copies of places [..., 3] that are nearest to a base station (wrap-around), and its sector's gain to them in dB."""
        assert self._layout is not None
        offsets = self._layout.shortest(place[..., :2] - station_m[..., :2])
        nearest = place.copy()
        nearest[..., :2] = station_m[..., :2] + offsets
        return nearest, self._layout.gain_db(np.array(station), offsets)

    def _shadow_db(self, law: Shadowing | None, which: int, site: int, place: Floats, true_place: Floats) -> Floats:
        """With several sites half of the variance is common to all; it depends on where a device is, the rest on how a site
        sees it."""
        if law is None:
            return np.zeros(place.shape[:-1])
        own = self._field(which, site, law.correlation_m, place)
        if site == 0:
            return law.sigma_db * own
        return law.sigma_db * math.sqrt(0.5) * (self._field(which, 0, law.correlation_m, true_place) + own)

    def _sites_of(self, stations: Ints) -> list[int]:
        """The site of each base station: 0 where there is one station only, else 1, 2, ... in the order of the list."""
        if stations.size < 2:
            return [0] * int(stations.size)
        sites: dict[tuple[float, float], int] = {}
        places = self._positions.at(stations, 0.0)[:, :2].tolist()
        return [sites.setdefault((x, y), len(sites) + 1) for x, y in places]

    def _field(self, which: int, site: int, correlation_m: float, place: Floats) -> Floats:
        """One field per purpose and site (base station), made when first asked for."""
        plane = self._fields.get((which, site))
        if plane is None:
            plane = self._fields[which, site] = PlaneWaveField(hash_int(self._key, which, site), correlation_m)
        return plane.at(place[..., 0], place[..., 1])

    def _pair_db(self, a_m: Floats, b_m: Floats, field_a: Floats, field_b: Floats) -> Floats:
        """Gain between two devices without antennas, in dB; symmetric in a and b."""
        gain = -self._path_loss.loss_db(a_m, b_m, self._carrier_hz, None)
        if self._los is None:
            return gain
        ground_m = np.hypot(a_m[..., 0] - b_m[..., 0], a_m[..., 1] - b_m[..., 1])
        return gain - (field_a + field_b) * pair_scale(ground_m, self._los.correlation_m)
