"""Where base stations stand and which way they look: hexagonal layouts of sites and sectors, with wrap-around.

Sites lie on a triangular lattice of spacing D, the inter-site distance, ring by ring around the origin: 1, 7 or 19 sites are
the center with 0, 1 or 2 rings, 3 sites a triangle around the origin. The directions of the neighbors are 30, 90, ... degrees;
a site's own cell is the hexagon of points nearest to it, with inradius D/2. One site has one station that radiates alike in
all directions, or three that share its place, with boresights at 30, 150 and 270 degrees: each towards the flat side of the
hexagon, that is towards a neighboring site (the usual layout of 3GPP TR 36.942 and TR 38.901 section 7.8).

Wrap-around (7 or 19 sites): the cluster of hexagons tiles the plane when it is repeated by the lattice that the vectors
i a_1 + j a_2 and its turns by 60 degrees span, with i^2 + i j + j^2 sites: (i, j) = (2, 1) for 7 and (3, 2) for 19. The offset
from a station to a point is the shortest one among all copies of the station, so that every cell has the same surroundings.

Left out: antenna heights and down-tilt (the pattern is that over azimuth), sites that differ in their sectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SITE_COUNTS = (1, 3, 7, 19)
WRAPPED = {7: (2, 1), 19: (3, 2)}
"""(i, j) of the vector by which the cluster is repeated."""

BORESIGHTS_DEG = {1: (math.nan,), 3: (30.0, 150.0, 270.0)}
"""By the number of sectors; nan: the same in all directions."""


@dataclass(frozen=True)
class SectorAntenna:
    """Gain of a sector's antenna over azimuth:  G(phi) = gain - min(12 (phi / beamwidth)^2, front_to_back)   [dB]

    phi: angle from the boresight, -180 to 180 degrees. beamwidth_deg: between the points at -3 dB.
    Defaults: 3GPP TR 38.901 table 7.3-1 (65 degrees, 30 dB, 8 dBi an element), horizontal cut.
    """

    gain_dbi: float = 8.0
    beamwidth_deg: float = 65.0
    front_to_back_db: float = 30.0

    def gain_db(self, angle_deg: ArrayLike) -> Floats:
        """[...] angles from the boresight, any number of turns, to [...] gain."""
        phi = np.mod(np.asarray(angle_deg, dtype=np.float64) + 180.0, 360.0) - 180.0
        loss: Floats = np.minimum(12 * (phi / self.beamwidth_deg) ** 2, self.front_to_back_db)
        return self.gain_dbi - loss


TR36942_ANTENNA = SectorAntenna(gain_dbi=15.0, beamwidth_deg=65.0, front_to_back_db=20.0)
"""3GPP TR 36.942 section 4.2.1.1, three sectors in a macro cell."""


@dataclass(frozen=True)
class Sites:
    """The stations of a hexagonal layout; station s is sector s % sectors of site s // sectors.

    num_sites: 1, 3, 7 or 19. sectors: per site, 1 or 3.
    inter_site_distance_m: between neighboring sites, D. With one site only the cell's size: its hexagon has inradius D/2.
    wraparound: the layout is repeated for ever (7 and 19 sites).
    """

    num_sites: int
    inter_site_distance_m: float
    sectors: int = 1
    wraparound: bool = False
    antenna: SectorAntenna = SectorAntenna()

    def __post_init__(self) -> None:
        if self.num_sites not in SITE_COUNTS:
            raise ValueError(f"num_sites = {self.num_sites}: hexagonal layouts have 1, 3, 7 or 19 sites")
        if self.sectors not in BORESIGHTS_DEG:
            raise ValueError(f"sectors = {self.sectors}: a site has 1 or 3")
        if not (math.isfinite(self.inter_site_distance_m) and self.inter_site_distance_m > 0):
            says = "a positive number of meters is needed"
            raise ValueError(f"inter_site_distance_m = {self.inter_site_distance_m}: {says}")
        if self.wraparound and self.num_sites not in WRAPPED:
            raise ValueError(f"wraparound = {self.wraparound}: only 7 or 19 sites tile the plane, not {self.num_sites}")

    @property
    def num_stations(self) -> int:
        return self.num_sites * self.sectors

    @cached_property
    def sites_m(self) -> Floats:
        """[num_sites, 2] x and y; their mean is the origin. The center comes first, then ring by ring, counterclockwise."""
        basis = _lattice(self.inter_site_distance_m)
        if self.num_sites == 3:
            corners = np.array([(0, 0), (1, 0), (0, 1)]) @ basis
            return np.asarray(corners - corners.mean(axis=0))
        rings = {1: 0, 7: 1, 19: 2}[self.num_sites]
        steps = range(-rings, rings + 1)
        cells = [(a, b) for a in steps for b in steps if abs(a + b) <= rings]
        points = np.array(cells) @ basis
        angles = np.round(np.mod(np.arctan2(points[:, 1], points[:, 0]), 2 * np.pi), 6)
        ring = np.array([max(abs(a), abs(b), abs(a + b)) for a, b in cells])
        return np.asarray(points[np.lexsort((angles, ring))])

    @cached_property
    def stations_m(self) -> Floats:
        """[num_stations, 2] x and y."""
        return np.repeat(self.sites_m, self.sectors, axis=0)

    @cached_property
    def site_of_station(self) -> Ints:
        """[num_stations]."""
        return np.repeat(np.arange(self.num_sites), self.sectors)

    @cached_property
    def boresights_deg(self) -> Floats:
        """[num_stations] direction counterclockwise from the x axis; nan for a station that radiates alike all around."""
        return np.tile(np.array(BORESIGHTS_DEG[self.sectors]), self.num_sites)

    @cached_property
    def shifts_m(self) -> Floats:
        """[6, 2] vectors by which the layout is repeated, [0, 2] without wrap-around."""
        if not self.wraparound:
            return np.zeros((0, 2))
        first = np.array(WRAPPED[self.num_sites]) @ _lattice(self.inter_site_distance_m)
        return np.stack([_turned(first, math.radians(60 * k)) for k in range(6)])

    def shortest(self, offsets_m: Floats) -> Floats:
        """[..., 2] differences of two places to [..., 2] the shortest among all copies; itself without wrap-around."""
        offsets = np.asarray(offsets_m, dtype=np.float64)
        if not self.wraparound:
            return offsets
        basis = self.shifts_m[:2]  # 60 degrees apart: they span the lattice, and the six shifts bound its Voronoi cell
        offsets = offsets - np.rint(offsets @ np.linalg.inv(basis)) @ basis
        best, least = offsets, (offsets**2).sum(axis=-1)
        for shift in self.shifts_m:
            other = offsets - shift
            squared = (other**2).sum(axis=-1)
            nearer = squared < least
            best, least = np.where(nearer[..., None], other, best), np.where(nearer, squared, least)
        return best

    def offsets_m(self, stations: Ints, points_m: Floats) -> Floats:
        """From stations to points, the shortest way. stations: [...]; points_m: [..., 2], x and y; returns [..., 2]."""
        return self.shortest(np.asarray(points_m)[..., :2] - self.stations_m[stations])

    def gain_db(self, stations: Ints, offsets_m: Floats) -> Floats:
        """Antenna gain of stations [...] towards offsets [..., 2] from them: [...], 0 without sectors."""
        offsets = np.asarray(offsets_m)
        if self.sectors == 1:
            return np.zeros(np.broadcast_shapes(np.shape(stations), offsets.shape[:-1]))
        azimuth_deg = np.degrees(np.arctan2(offsets[..., 1], offsets[..., 0]))
        return self.antenna.gain_db(azimuth_deg - self.boresights_deg[stations])

    def nearest_site(self, points_m: Floats) -> Ints:
        """[..., 2] points to [...] the site in whose hexagon each lies (the nearest one where it lies in none)."""
        offsets = self.shortest(np.asarray(points_m)[..., None, :2] - self.sites_m)
        return np.asarray((offsets**2).sum(axis=-1).argmin(axis=-1))

    def draw(self, rng: np.random.Generator, num_points: int) -> Floats:
        """[num_points, 2] points, uniform over the hexagons of all sites."""
        # a point of a hexagon is one of its three rhombi, and one of that rhombus's two coordinates each
        site = rng.integers(self.num_sites, size=num_points)
        rhombus = rng.integers(3, size=num_points)
        u, v = rng.random((2, num_points))
        radius = self.inter_site_distance_m / math.sqrt(3)  # of the corners, at 0, 60, ... degrees
        corners = radius * np.array([(math.cos(a), math.sin(a)) for a in np.radians([0, 120, 240])])
        local = u[:, None] * corners[rhombus] + v[:, None] * corners[(rhombus + 1) % 3]
        return np.asarray(self.sites_m[site] + local)


def _lattice(spacing_m: float) -> Floats:
    """Basis vectors of the triangular lattice, as rows: towards 30 and 90 degrees."""
    return spacing_m * np.array([(math.sqrt(3) / 2, 0.5), (0.0, 1.0)])


def _turned(vector: Floats, angle: float) -> Floats:
    c, s = math.cos(angle), math.sin(angle)
    return np.asarray((c * vector[0] - s * vector[1], s * vector[0] + c * vector[1]))
