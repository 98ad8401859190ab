"""Draws of K parallel channels: gains over noise g_k ~ mean_gain * Exp(1), independent (Rayleigh fading).

The specification's task of known optimum (`learners.control.water_filling`), with mean_gain = 5 and a budget of 0.3 a channel.
"""

from __future__ import annotations

import numpy as np

from learners.control.gains import check_scale
from learners.fields import check_number


def draw_parallel(rng: np.random.Generator, num_samples: int, num_channels: int, mean_gain: float = 5.0) -> np.ndarray:
    """SNRs at unit power [num_samples, K], float64. ValueError for K = 0 or a mean_gain that is not above 0."""
    check_scale("num_channels", num_channels)
    check_number("mean_gain", mean_gain)
    return mean_gain * rng.standard_exponential((num_samples, num_channels))
