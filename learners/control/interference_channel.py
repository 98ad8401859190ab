"""Draws of the K-link interference channel: |h_kj| of h_kj ~ CN(0, 1), independent (Rayleigh amplitudes of mean square 1).

Sun et al. 2018 (noise sigma^2 = 1) and Shen et al., "Graph neural networks for scalable radio resource management", IEEE J. Sel. Areas
Commun. 2021 (sigma^2 = 0.1, 10 dB).
"""

from __future__ import annotations

import numpy as np

from learners.control.gains import check_scale


def draw_interference(rng: np.random.Generator, num_channels: int, num_links: int) -> np.ndarray:
    """Amplitudes |h_kj| [num_channels, K, K], float64; row k = receiver, column j = transmitter. ValueError for K = 0."""
    check_scale("num_links", num_links)
    return np.sqrt(rng.standard_exponential((num_channels, num_links, num_links)))
