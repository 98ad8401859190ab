"""Outdoor to indoor: what walls, rooms and cars add to the path loss of a device (TR 38.901 section 7.4.3).

    low_loss   5 - 10 log10(0.3 10^(-L_glass/10) + 0.7 10^(-L_concrete/10)) + d_in/2 + N(0, 4.4)      [dB]
    high_loss  5 - 10 log10(0.7 10^(-L_coated/10) + 0.3 10^(-L_concrete/10)) + d_in/2 + N(0, 6.5)
    car        N(9, 5)

    L_glass = 2 + 0.2 f, L_coated = 23 + 0.3 f (IRR glass), L_concrete = 5 + 4 f (table 7.4.3-1), f in GHz

d_in, the distance from the outer wall, is the smaller one of two draws, uniform up to 25 m (UMa, UMi) or 10 m (RMa). Every device
has one draw for all of its links to base stations, as the standard has it. Left out: metallized car windows (mean 20 dB), the
model for single frequencies below 6 GHz (20 dB + d_in/2), wood. Cars are for 0.6 to 60 GHz.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

CAR_MEAN_DB, CAR_SIGMA_DB = 9.0, 5.0
SIGMA_DB = {"low_loss": 4.4, "high_loss": 6.5}


class Penetration(NamedTuple):
    """loss_db: what one device loses to every base station; depth_m: d_in, 0 in a car."""

    loss_db: float
    depth_m: float


def wall_loss_db(kind: str, carrier_hz: float) -> float:
    """PL_tw of "low_loss" or "high_loss" buildings in dB (TR 38.901 table 7.4.3-2)."""
    f = carrier_hz / 1e9
    concrete_db = 5 + 4 * f
    glass_db, glass_share = (2 + 0.2 * f, 0.3) if kind == "low_loss" else (23 + 0.3 * f, 0.7)
    through = glass_share * 10 ** (-glass_db / 10) + (1 - glass_share) * 10 ** (-concrete_db / 10)
    return 5 - 10 * math.log10(through)


def draw_penetration(kind: str, carrier_hz: float, indoor_depth_m: float, rng: np.random.Generator) -> Penetration:
    """One device's draw. kind: "low_loss", "high_loss" or "car"; indoor_depth_m: the largest d_in."""
    u, v = rng.random(2).tolist()
    normal = float(rng.standard_normal())
    if kind == "car":
        return Penetration(CAR_MEAN_DB + CAR_SIGMA_DB * normal, 0.0)
    depth_m = indoor_depth_m * min(u, v)
    return Penetration(wall_loss_db(kind, carrier_hz) + 0.5 * depth_m + SIGMA_DB[kind] * normal, depth_m)
