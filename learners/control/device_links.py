"""Draws of device-to-device layouts: K links in a square, and the SNR from every transmitter to every receiver.

Transmitters are uniform over the square, each receiver at a uniform direction and distance from its transmitter. Path loss with a
breakpoint, between antennas of height h at wavelength lambda (ITU-R P.1411, line of sight, median):

    L(d) = L_bp + 6 + 20 log10(d / R_bp), beyond R_bp + 40 log10(d / R_bp)      [dB],   R_bp = 4 h^2 / lambda
    L_bp = |20 log10(lambda^2 / (8 pi h^2))|

The numbers are those of Shen et al. 2021: 50 links a square km of 2 to 65 m, 5 MHz at 2.4 GHz, h = 1.5 m, antennas of 2.5 dB, 40 dBm,
noise of -169 dBm/Hz, an SNR gap of 6 dB, which is taken off the links' own gains. Ours: the square grows with K, so that the links
lie equally dense at any K; receivers may lie outside of it; 2.5 dB is counted once a path; no fading; no path is shorter than 1 m.

Links come in the order of their transmitters' distance to the middle, the larger of its two components: the first k of K lie then as a
layout of k links does, uniform over a square (whose side is that of the nearest transmitter left out), and are as dense: taken at random
they would be K / k times as far apart in area, and disturb each other less.
"""

from __future__ import annotations

from math import log10, pi

import numpy as np

from learners.control.gains import check_scale
from learners.fields import check_number

WAVELENGTH_M = 299_792_458 / 2.4e9
ANTENNA_HEIGHT_M = 1.5
BREAKPOINT_M = 4 * ANTENNA_HEIGHT_M**2 / WAVELENGTH_M
SHORTEST_M = 1.0
LINK_LENGTHS_M = (2.0, 65.0)
SNR_GAP_DB = 6.0
SNR_WITHOUT_LOSS_DB = 40.0 + 2.5 - (-169.0 + 10 * log10(5e6))
"""Power and antennas over the noise of the band."""


def path_loss_db(distance_m: np.ndarray) -> np.ndarray:
    """L(d) [...] in dB of distances [...] in m; below 1 m that of 1 m."""
    at_breakpoint_db = abs(20 * log10(WAVELENGTH_M**2 / (8 * pi * ANTENNA_HEIGHT_M**2))) + 6
    ratio = np.maximum(distance_m, SHORTEST_M) / BREAKPOINT_M
    return at_breakpoint_db + np.where(ratio > 1, 40, 20) * np.log10(ratio)


def draw_device_links(
    rng: np.random.Generator, num_layouts: int, num_links: int, links_per_km2: float = 50.0
) -> np.ndarray:
    """SNRs at full power [num_layouts, K, K], float64, the diagonal less the SNR gap; row = receiver, column = transmitter, both from the
    middle outwards. ValueError for K = 0 or a density that is not above 0."""
    check_scale("num_links", num_links)
    check_number("links_per_km2", links_per_km2)
    side_m = 1000 * np.sqrt(num_links / links_per_km2)
    from_middle = rng.random((num_layouts, num_links, 2)) - 0.5
    order = np.abs(from_middle).max(2).argsort(1)
    transmitters_m = side_m * np.take_along_axis(from_middle, order[..., None], 1)
    lengths_m = rng.uniform(*LINK_LENGTHS_M, (num_layouts, num_links))
    angles = rng.uniform(0, 2 * pi, (num_layouts, num_links))
    offsets_m = lengths_m[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    receivers_m = transmitters_m + offsets_m
    distances_m = np.linalg.norm(receivers_m[:, :, None] - transmitters_m[:, None], axis=-1)
    snr_db = SNR_WITHOUT_LOSS_DB - path_loss_db(distances_m) - SNR_GAP_DB * np.eye(num_links)
    return 10 ** (snr_db / 10)
