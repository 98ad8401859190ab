"""The local mean of a link's gain: antenna gains - path loss - shadowing, without fading.

It is evaluated at the nodes' places on a grid in time and is linear in dB between the grid's points; that interpolation is
the model itself (every caller sees it, `exact_gain` included), so nothing has to be recomputed for small-scale steps. The
grid is absolute (point g at g x step_s) and so fine that a node moves at most a twentieth of the shortest correlation
distance from one point to the next, and never more than a meter. A link between nodes that never move has a constant mean.

What depends on one node only (the field values at its place, its link to a base station) is computed once per node and grid
point and kept for the last few points, so memory is linear in nodes and flat in time.

Base stations: each has fields over space of its own. With several of them, shadowing is sqrt(1/2) of a common field plus
sqrt(1/2) of the site's: correlation 0.5 between sites and 1 among the stations of a site, those at one place over the ground
(3GPP TR 36.942 section 4.5.2; between a link with line of sight and one without, whose laws have fields of their own, it is 0).
Line of sight is drawn for each site apart (TR 38.901 table 7.6.3.4-1: site-specific). Links between two base stations are
links between two nodes. Every other pair of nodes has the symmetric field of `shadowing`, for its line of sight, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .counter import hash_int
from .near_pairs import NodeBounds
from .path_loss.model import PathLoss, ground_distance_m, optional
from .path_loss.ranges import OutsideModelError
from .positions import Positions
from .shadowing import LosShadowing, PlaneWaveField, Shadowing, StandardShadowing, pair_scale
from .sites import Sites
from .units import whole_ns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS_PER_CORRELATION = 20
LARGEST_STEP_M = 1.0
CELLS_PER_STEP = 5  # without fading: a step may cross from line of sight to none, some 30 dB on a straight line
KEPT_COLUMNS = 6
MANY_COLUMNS = 4  # from here on a call computes its grid points at once and keeps none

_BETWEEN_NODES = -1  # instead of the ordinal of a base station
# first part of a field's key; the second one is the site
_LOS_STATE, _LOS_SHADOW, _NLOS_SHADOW, _PAIR, _O2I_SHADOW, _SPREAD, _PAIR_NLOS, _PAIR_STATE, _PAIR_SPREAD = range(9)


@dataclass(frozen=True)
class Indoors:
    """Nodes behind a wall, as base stations outside see them; arrays [num_nodes].

    penetration_db: loss of the wall and the rooms behind it; depth_m: distance to the outer wall, 0 where there is no building
    """

    penetration_db: Floats
    depth_m: Floats


@dataclass(frozen=True)
class _PairField:
    """A field that is taken at both ends of a link between nodes: amplitude x (F(a) + F(b)) x pair_scale."""

    which: int
    correlation_m: float
    amplitude: float


@dataclass
class LinkMeans:
    """L links and the means that were computed for them; near and far: [L] nodes, far is the base station where there is one.

    mast: [L] where the base station of a link stands, in the order of `LocalMean`, -1 between nodes; sector: [L] which of those
        that stand there it is
    """

    near: Ints
    far: Ints
    mast: Ints
    sector: Ints
    antennas_db: Floats  # [L] sum of both ends' antenna gains
    never_moves: bool
    columns: dict[int, Floats] = field(default_factory=dict)  # grid point -> [L] dB


class _Devices:
    """Some nodes at some times and what the stations have in common there: places [n, G, 3], and the common fields as they are
    asked for, [n, G] each."""

    def __init__(self, nodes: Ints, times: Floats, place_m: Floats) -> None:
        self.nodes = nodes
        self.times = times
        self.place_m = place_m
        self.common: dict[int, Floats] = {}

    def are(self, nodes: Ints, times: Floats) -> bool:
        return np.array_equal(nodes, self.nodes) and np.array_equal(times, self.times)


class _NodeColumn:
    """One grid point: places and values of those nodes that were asked for."""

    def __init__(self, num_nodes: int, num_values: int) -> None:
        self.filled = np.zeros(num_nodes, dtype=bool)
        self.place_m = np.zeros((num_nodes, 3))
        self.value = np.zeros((num_values, num_nodes))

    def put(self, nodes: Ints, place_m: Floats, value: Floats) -> None:
        self.place_m[nodes] = place_m
        self.value[:, nodes] = value
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
        indoors: Indoors | None = None,
        layout: Sites | None = None,
    ) -> None:
        """stations: [S] nodes that are base stations; the rest as for `Channel`."""
        if (
            isinstance(shadowing, LosShadowing)
            and not isinstance(shadowing, StandardShadowing)
            and not path_loss.has_los
        ):
            raise ValueError(
                f"shadowing by line-of-sight state needs a path loss with such a state (tr38901_umi), not {path_loss}"
            )
        self._positions = positions
        self._carrier_hz = carrier_hz
        self._path_loss = path_loss
        self._antenna_gain_dbi = antenna_gain_dbi
        self._key = key
        self._stations = stations
        self._ordinal = np.full(positions.num_nodes, _BETWEEN_NODES, dtype=np.int64)
        self._ordinal[stations] = np.arange(stations.size)
        self._sites = self._sites_of(stations)
        self._masts, self._mast_of, self._sector_of = self._masts_of(stations)
        self._layout = layout
        self._indoors = indoors
        self._los_correlation_m: float = optional(path_loss, "los_correlation_m")
        self._spread_m: float | None = optional(path_loss, "spread_correlation_m")
        los, nlos = (shadowing.los, shadowing.nlos) if isinstance(shadowing, LosShadowing) else (shadowing, shadowing)
        standard = shadowing if isinstance(shadowing, StandardShadowing) else None
        self._los = los if los is not None and los.sigma_db > 0 else None
        self._nlos = nlos if nlos is not None and nlos.sigma_db > 0 else None
        self._o2i = standard.o2i if standard is not None and indoors is not None else None
        self._far_los_sigma_db = standard.far_los_sigma_db if standard is not None else None
        laws = [s for s in (self._los, self._nlos, self._o2i) if s]
        self.max_sigma_db = max([self._far_los_sigma_db or 0.0, *(s.sigma_db for s in laws)])
        self._pair_fields = self._fields_of_pairs()
        self._fields: dict[tuple[int, int], PlaneWaveField] = {}
        correlations = [s.correlation_m for s in laws]
        self.step_m = min([LARGEST_STEP_M, *(c / STEPS_PER_CORRELATION for c in correlations)])
        self.step_s = math.inf
        if positions.max_speed_mps > 0:
            self.step_s = CELLS_PER_STEP * whole_ns(self.step_m / positions.max_speed_mps / CELLS_PER_STEP)
        self._columns: dict[tuple[int, int], _NodeColumn] = {}
        self._static = {kind: self._new_column(kind) for kind in range(_BETWEEN_NODES, len(self._masts))}
        self._last_asked: _Devices | None = None

    def links(self, near: Ints, far: Ints) -> LinkMeans:
        """What is needed for `mean_db` of links [L]; raises OutsideModelError for links that the path loss model does not cover."""
        station = np.where(self._ordinal[near] == _BETWEEN_NODES, self._ordinal[far], _BETWEEN_NODES)
        if self._path_loss.needs_station and (station == _BETWEEN_NODES).any():
            i = int(np.argmin(station))
            what = "devices" if self._ordinal[far[i]] == _BETWEEN_NODES else "base stations"
            hint = " (log_distance or free_space for device-to-device links)" if what == "devices" else ""
            raise OutsideModelError(
                f"{optional(self._path_loss, 'name')} holds between a base station and a device only; nodes {near[i]} and "
                f"{far[i]} are both {what}{hint}"
            )
        antennas_db = self._antenna_gain_dbi[near] + self._antenna_gain_dbi[far]
        never_moves = bool(self._positions.is_static[near].all() and self._positions.is_static[far].all())
        return LinkMeans(near, far, self._mast_of[station], self._sector_of[station], antennas_db, never_moves)

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
        if point.size == 1 and fraction[0] == 0.0:  # at a point of the grid, as at the multiples of most periods
            return self._column(links, first)[:, None]
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

    def node_bounds(self, nodes: Ints, t_s: float) -> NodeBounds:
        """What limits the means of the links among nodes [n], no base station among them, at time t_s."""
        place_m = self._positions.at(nodes, t_s)
        never_moves = bool(self._positions.is_static[nodes].all())
        points = [0] if never_moves else [math.floor(t_s / self.step_s), math.floor(t_s / self.step_s) + 1]
        values = np.stack([self._node_column(_BETWEEN_NODES, point, nodes).value[:, nodes] for point in points])
        fields = [pair.which for pair in self._pair_fields]
        los_db, nlos_db = (
            -values[:, fields.index(which)].min(axis=0) if which in fields else np.zeros(nodes.size)
            for which in (_PAIR, _PAIR_NLOS)
        )
        has_state = _PAIR_STATE in fields
        return NodeBounds(
            place_m=place_m,
            drift_m=0.0 if never_moves else 2 * self.step_m,
            antennas_db=self._antenna_gain_dbi[nodes],
            los_db=los_db,
            nlos_db=nlos_db if has_state else los_db,
            los_state=values[:, fields.index(_PAIR_STATE)].min(axis=0) if has_state else None,
        )

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
        for kind in range(len(self._masts) - 1, _BETWEEN_NODES - 1, -1):
            rows = np.flatnonzero(links.mast == kind)
            if rows.size == 0:
                continue
            near, far = links.near[rows], links.far[rows]
            if kind != _BETWEEN_NODES:
                sector = links.sector[rows]
                if keep:
                    column = self._node_column(kind, int(points[0]), near)
                    table[rows] = column.value[sector, near][:, None]
                else:
                    nodes, inverse = np.unique(near, return_inverse=True)
                    table[rows] = self._node_values(kind, nodes, times)[1][sector, inverse]
            elif keep:
                column = self._node_column(kind, int(points[0]), np.concatenate((near, far)))
                place, value = column.place_m[:, None], column.value[:, :, None]
                table[rows] = self._pair_db(place[near], place[far], value[:, near], value[:, far])
            else:
                nodes, inverse = np.unique(np.concatenate((near, far)), return_inverse=True)
                place, value = self._node_values(kind, nodes, times)
                a, b = inverse[: rows.size], inverse[rows.size :]
                table[rows] = self._pair_db(place[a], place[b], value[:, a], value[:, b])
        return table + links.antennas_db[:, None]

    def _new_column(self, kind: int) -> _NodeColumn:
        num_values = len(self._pair_fields) if kind == _BETWEEN_NODES else len(self._masts[kind])
        return _NodeColumn(self._positions.num_nodes, num_values)

    def _node_column(self, kind: int, point: int, nodes: Ints) -> _NodeColumn:
        column = self._columns.get((kind, point))
        if column is None:
            column = self._columns[kind, point] = self._new_column(kind)
            if len(self._columns) > KEPT_COLUMNS * max(1, len(self._masts)):
                del self._columns[next(iter(self._columns))]
        missing = ~column.filled[nodes]
        if missing.any():
            asked = np.zeros(self._positions.num_nodes, dtype=bool)
            asked[nodes[missing]] = True
            wanted = np.flatnonzero(asked)
            is_static = self._positions.is_static[wanted]
            moving, resting = wanted[~is_static], wanted[is_static]
            if moving.size:
                place, value = self._node_values(kind, moving, np.array([point * self.step_s]))
                column.put(moving, place[:, 0], value[..., 0])
            if resting.size:
                static = self._static[kind]
                new = resting[~static.filled[resting]]
                if new.size:
                    place, value = self._node_values(kind, new, np.zeros(1))
                    static.put(new, place[:, 0], value[..., 0])
                column.put(resting, static.place_m[resting], static.value[:, resting])
        return column

    # -- values --------------------------------------------------------------------------------------------------------

    def _node_values(self, kind: int, nodes: Ints, times: Floats) -> tuple[Floats, Floats]:
        """Places [n, G, 3] and values [F, n, G]: the gain to the base stations at mast `kind` in dB, or the fields of pairs."""
        devices = self._last_asked
        if devices is None or not devices.are(nodes, times):
            devices = _Devices(nodes, times, self._positions.at(nodes, times))
            self._last_asked = devices if len(self._masts) > 1 else None  # the next mast is asked about the same ones
        if kind == _BETWEEN_NODES:
            place = devices.place_m
            value = np.empty((len(self._pair_fields), *place.shape[:2]))
            for i, pair in enumerate(self._pair_fields):
                value[i] = pair.amplitude * self._field(pair.which, 0, pair.correlation_m, place)
            return place, value
        return devices.place_m, self._mast_db(kind, devices)

    def _mast_db(self, mast: int, devices: _Devices) -> Floats:
        """Gain of devices to the base stations at a mast, without antennas, in dB: [sectors, n, G]."""
        model, place, nodes, stations = self._path_loss, devices.place_m, devices.nodes, self._masts[mast]
        site = self._sites[stations[0]]
        other = np.broadcast_to(self._positions.at(self._stations[stations[:1]], devices.times), place.shape)
        sector_db: Sequence[Floats | float] = (0.0,) * len(stations)
        if self._layout is not None:
            place, sector_db = self._seen_from(stations, other, place)
        los = None
        if model.has_los:
            outside = place if self._indoors is None else self._outer_wall(nodes, place, other)
            probability = model.los_probability(outside, other)
            los = ndtr(self._field(_LOS_STATE, site, self._los_correlation_m, place)) < probability
        spread = () if self._spread_m is None else (self._field(_SPREAD, site, self._spread_m, place),)
        loss_db = model.loss_db(place, other, self._carrier_hz, los, *spread)
        gain = np.stack([sector - loss_db for sector in sector_db])
        if self._indoors is not None:
            gain -= self._indoors.penetration_db[nodes][:, None]
        if self._los is not None or self._nlos is not None:
            gain -= self._shadow_db(site, los, place, other, devices)
        return gain

    def _outer_wall(self, nodes: Ints, place: Floats, other: Floats) -> Floats:
        """The places, those of indoor devices moved towards the station to the outer wall: what P(LOS) counts the distance from."""
        assert self._indoors is not None
        ground_m = ground_distance_m(place, other)
        share = self._indoors.depth_m[nodes][:, None] / np.maximum(ground_m, 1e-9)
        outside = place + (other - place) * np.minimum(share, 1.0)[..., None]
        outside[..., 2] = place[..., 2]
        return outside

    def _seen_from(self, stations: Ints, mast_m: Floats, place: Floats) -> tuple[Floats, list[Floats]]:
        """The copies of places [..., 3] that are nearest to a mast (wrap-around), and its sectors' gains to them in dB."""
        assert self._layout is not None
        offsets = self._layout.shortest(place[..., :2] - mast_m[..., :2])
        nearest = place.copy()
        nearest[..., :2] = mast_m[..., :2] + offsets
        return nearest, [self._layout.gain_db(station, offsets) for station in stations]

    def _shadow_db(
        self, site: int, los: NDArray[np.bool_] | None, place: Floats, other: Floats, devices: _Devices
    ) -> Floats:
        """Shadowing of devices as a site sees them at places [n, G, 3]: [n, G]. Each field is evaluated where it counts."""
        everywhere = np.ones(place.shape[:-1], dtype=bool)
        inside = np.zeros_like(everywhere)
        if self._o2i is not None and self._indoors is not None:
            inside[:] = (self._indoors.depth_m[devices.nodes] > 0)[:, None]
        outside = ~inside
        with_los = outside if los is None else outside & los
        shadow = np.zeros(place.shape[:-1])
        for law, which, where in (
            (self._los, _LOS_SHADOW, with_los),
            (self._nlos, _NLOS_SHADOW, outside & ~with_los),
            (self._o2i, _O2I_SHADOW, inside),
        ):
            if law is not None and where.any():
                value, amplitude_db = self._field(which, site, law.correlation_m, place[where]), law.sigma_db
                if site > 0:  # half of the variance is common to all sites
                    value = self._common(which, law.correlation_m, devices)[where] + value
                    amplitude_db *= math.sqrt(0.5)
                shadow[where] = amplitude_db * value
        if self._far_los_sigma_db is not None and self._los is not None and los is not None:
            far = self._path_loss.beyond_breakpoint(place, other, self._carrier_hz)  # type: ignore[attr-defined]
            shadow[with_los & far] *= self._far_los_sigma_db / self._los.sigma_db
        return shadow

    def _common(self, which: int, correlation_m: float, devices: _Devices) -> Floats:
        """What a field has in common at all sites; it depends on where a device is, not on how a site sees it: [n, G]."""
        value = devices.common.get(which)
        if value is None:
            value = devices.common[which] = self._field(which, 0, correlation_m, devices.place_m)
        return value

    def _field(self, which: int, site: int, correlation_m: float, place: Floats) -> Floats:
        """One field per purpose and site (0: the only one, or what is common to all), made when first asked for."""
        plane = self._fields.get((which, site))
        if plane is None:
            plane = self._fields[which, site] = PlaneWaveField(hash_int(self._key, which, site), correlation_m)
        return plane.at(place[..., 0], place[..., 1])

    def _sites_of(self, stations: Ints) -> list[int]:
        """The site of each base station: 0 where there is one station only, else 1, 2, ... in the order of the list."""
        if stations.size < 2:
            return [0] * int(stations.size)
        sites: dict[tuple[float, float] | int, int] = {}
        places = self._positions.at(stations, 0.0)[:, :2].tolist()
        keys = [
            (x, y) if self._positions.is_static[n] else n for n, (x, y) in zip(stations.tolist(), places, strict=True)
        ]
        return [sites.setdefault(key, len(sites) + 1) for key in keys]

    def _masts_of(self, stations: Ints) -> tuple[list[Ints], Ints, Ints]:
        """The base stations at one point in space, as ordinals: they share what is not their antennas'. Then the mast of each
        station, and which of those at its mast it is; -1 last, for links between nodes."""
        height_m = self._positions.at(stations, 0.0)[:, 2].tolist()
        masts: dict[tuple[int, float], list[int]] = {}
        for i, where in enumerate(zip(self._sites, height_m, strict=True)):
            masts.setdefault(where, []).append(i)
        mast_of = np.full(stations.size + 1, _BETWEEN_NODES, dtype=np.int64)
        sector_of = mast_of.copy()
        for mast, members in enumerate(masts.values()):
            mast_of[members] = mast
            sector_of[members] = np.arange(len(members))
        return [np.array(members) for members in masts.values()], mast_of, sector_of

    # -- links between nodes -------------------------------------------------------------------------------------------

    def _fields_of_pairs(self) -> list[_PairField]:
        fields = []
        if self._los is not None:
            fields.append(_PairField(_PAIR, self._los.correlation_m, self._los.sigma_db))
        if self._path_loss.has_los and not self._path_loss.needs_station:
            if self._nlos is not None:
                fields.append(_PairField(_PAIR_NLOS, self._nlos.correlation_m, self._nlos.sigma_db))
            fields.append(_PairField(_PAIR_STATE, self._los_correlation_m, 1.0))
            if self._spread_m is not None:
                fields.append(_PairField(_PAIR_SPREAD, self._spread_m, 1.0))
        return fields

    def _pair_db(self, a_m: Floats, b_m: Floats, values_a: Floats, values_b: Floats) -> Floats:
        """Gain between two nodes without antennas, in dB; symmetric in a and b. values: [F, L, G] of `_fields_of_pairs`."""
        model = self._path_loss
        ground_m = ground_distance_m(a_m, b_m) if self._pair_fields else None
        found = {}
        for field_, value_a, value_b in zip(self._pair_fields, values_a, values_b, strict=True):
            assert ground_m is not None
            found[field_.which] = (value_a + value_b) * pair_scale(ground_m, field_.correlation_m)
        los = None
        if model.has_los:
            los = ndtr(found[_PAIR_STATE]) < model.los_probability(a_m, b_m)
        spread = (found[_PAIR_SPREAD],) if _PAIR_SPREAD in found else ()
        gain = -model.loss_db(a_m, b_m, self._carrier_hz, los, *spread)
        shadow = found.get(_PAIR)
        if los is not None and (shadow is not None or _PAIR_NLOS in found):
            zero = np.zeros_like(gain)
            shadow = np.where(los, zero if shadow is None else shadow, found.get(_PAIR_NLOS, zero))
        return gain if shadow is None else gain - shadow
