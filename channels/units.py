"""Conversions between linear and logarithmic units, and the constants of nature that they need."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SPEED_OF_LIGHT_MPS = 299_792_458.0
LN10_OVER_10 = math.log(10) / 10


def db_to_linear(db: Any) -> Any:
    """10^(x/10): [...] decibels to a power ratio."""
    return np.exp(np.multiply(db, LN10_OVER_10))


def linear_to_db(ratio: Any) -> Any:
    """10 log10(x): [...] power ratio (> 0) to decibels."""
    return 10 * np.log10(ratio)


def dbm_to_w(power_dbm: Any) -> Any:
    """[...] dBm (decibels above one milliwatt) to watts."""
    return 1e-3 * db_to_linear(power_dbm)


def w_to_dbm(power_w: Any) -> Any:
    """[...] watts (> 0) to dBm."""
    return linear_to_db(np.multiply(power_w, 1e3))


def wavelength_m(carrier_hz: float) -> float:
    """c / f, in vacuum."""
    return SPEED_OF_LIGHT_MPS / carrier_hz


def whole_ns(duration_s: float) -> float:
    """A duration in s shortened to a whole number of nanoseconds (at least one): declared grids have such steps, so that a
    caller whose clock counts nanoseconds numbers the cells exactly as the channel does."""
    return max(1, math.floor(duration_s * 1e9)) / 1e9
