import itertools
import math

import numpy as np
import pytest

from channels.sites import TR36942_ANTENNA, SectorAntenna, Sites


@pytest.mark.parametrize(("num_sites", "num_pairs"), [(1, 0), (3, 3), (7, 12), (19, 42)])
def test_sites_lie_on_a_triangular_lattice(num_sites, num_pairs):
    """Neighbors are exactly D apart and nobody is nearer; the pairs are the edges of the triangle, 6 + 6, and 12 + 30."""
    sites = Sites(num_sites, 500.0)
    assert np.abs(sites.sites_m.mean(axis=0)).max() < 1e-9
    pairs = [math.dist(a, b) for a, b in itertools.combinations(sites.sites_m, 2)]
    assert all(distance > 499.999 for distance in pairs)
    assert sum(abs(distance - 500) < 1e-6 for distance in pairs) == num_pairs


def test_center_first_then_ring_by_ring():
    radii = np.hypot(*Sites(19, 1.0).sites_m.T)
    assert np.allclose(radii[:7], [0, 1, 1, 1, 1, 1, 1], atol=1e-9)
    assert sorted(np.round(radii[7:], 6)) == sorted([2.0] * 6 + [1.732051] * 6)


@pytest.mark.parametrize("num_sites", [7, 19])
def test_shortest_offset_is_that_of_a_search_over_many_copies(num_sites):
    sites = Sites(num_sites, 200.0, wraparound=True)
    rng = np.random.default_rng(1)
    points = rng.uniform(-3000, 3000, (400, 2))
    a, b = sites.shifts_m[:2]
    copies = np.array([i * a + j * b for i in range(-12, 13) for j in range(-12, 13)])
    slow = np.linalg.norm(points[:, None] - copies, axis=-1).min(axis=-1)
    assert np.allclose(np.linalg.norm(sites.shortest(points), axis=-1), slow, rtol=0, atol=1e-8)


@pytest.mark.parametrize("num_sites", [7, 19])
def test_repeated_cluster_tiles_the_plane(num_sites):
    """The area of the repeated lattice's cell is that of the hexagons, D^2 sqrt(3)/2 each, and no two sites coincide."""
    sites = Sites(num_sites, 1.0, wraparound=True)
    a, b = sites.shifts_m[:2]
    assert abs(a[0] * b[1] - a[1] * b[0]) == pytest.approx(num_sites * math.sqrt(3) / 2)
    distances = np.linalg.norm(sites.shortest(sites.sites_m[:, None] - sites.sites_m), axis=-1)
    assert distances[~np.eye(num_sites, dtype=bool)].min() == pytest.approx(1.0)


@pytest.mark.parametrize("num_sites", [7, 19])
def test_every_site_sees_the_same_surroundings(num_sites):
    sites = Sites(num_sites, 1.0, wraparound=True)
    distances = np.sort(np.linalg.norm(sites.shortest(sites.sites_m[:, None] - sites.sites_m), axis=-1), axis=1)
    assert np.allclose(distances, distances[0], atol=1e-9)


def test_sector_gains_are_those_of_the_standards():
    """TR 38.901 table 7.3-1: 8 dBi, 3 dB down at 32.5 degrees, 30 dB behind; TR 36.942: 15 dBi, 20 dB behind."""
    element = SectorAntenna()
    assert element.gain_db([0, 32.5, -32.5, 65, 180, 360 + 32.5]).tolist() == pytest.approx([8, 5, 5, -4, -22, 5])
    assert TR36942_ANTENNA.gain_db([0, 32.5, 180]).tolist() == pytest.approx([15, 12, -5])


def test_boresights_point_at_neighboring_sites():
    sites = Sites(7, 100.0, sectors=3)
    assert sites.num_stations == 21
    assert sites.site_of_station[:4].tolist() == [0, 0, 0, 1]
    ring = sites.sites_m[1:]
    towards = np.mod(np.degrees(np.arctan2(ring[:, 1], ring[:, 0])), 360)
    assert set(sites.boresights_deg[:3]) <= set(np.round(towards, 6))
    gains = sites.gain_db(np.arange(3), np.array([[math.sqrt(3) / 2, 0.5]] * 3) * 40)
    assert gains.tolist() == pytest.approx([8.0, -22.0, -22.0])
    assert Sites(7, 100.0).gain_db(np.arange(3), ring[:3]).tolist() == [0, 0, 0]


def test_drawn_points_are_uniform_over_the_hexagons():
    """Counts of sites and of thirds and shells of the hexagon; 4 standard errors each.

    The hexagon of inradius 1/2 has area sqrt(3)/2; its inscribed circle covers pi/4 of it over that: 0.9069.
    """
    n = 20_000
    sites = Sites(7, 1.0, sectors=3)
    points = sites.draw(np.random.default_rng(2), n)
    site = sites.nearest_site(points)
    assert np.abs(np.bincount(site, minlength=7) - n / 7).max() < 4 * math.sqrt(n / 7 * 6 / 7)
    local = points - sites.sites_m[site]
    radius = np.linalg.norm(local, axis=1)
    assert radius.max() <= 1 / math.sqrt(3)
    p = math.pi / (2 * math.sqrt(3))
    assert abs((radius < 0.5).mean() - p) < 4 * math.sqrt(p * (1 - p) / n)
    p /= 4
    assert abs((radius < 0.25).mean() - p) < 4 * math.sqrt(p * (1 - p) / n)
    sixth = np.floor(np.mod(np.degrees(np.arctan2(local[:, 1], local[:, 0])), 360) / 60)
    assert np.abs(np.bincount(sixth.astype(int), minlength=6) - n / 6).max() < 4 * math.sqrt(n / 6 * 5 / 6)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_sites": 4}, "num_sites = 4: hexagonal layouts have 1, 3, 7 or 19"),
        ({"sectors": 2}, "sectors = 2"),
        ({"inter_site_distance_m": 0.0}, "inter_site_distance_m = 0.0"),
        ({"num_sites": 3, "wraparound": True}, "only 7 or 19"),
    ],
)
def test_impossible_layouts_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Sites(**{"num_sites": 7, "inter_site_distance_m": 500.0} | given)
