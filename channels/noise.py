"""Thermal noise: N = -174 dBm/Hz + noise figure (kT at 290 K is -173.98 dBm/Hz; the rounded value is the convention)."""

from __future__ import annotations

from typing import Any

from .units import dbm_to_w

THERMAL_NOISE_DBM_PER_HZ = -174.0


def noise_w_per_hz(noise_figure_db: Any) -> Any:
    """Noise power density at a receiver's input.

    noise_figure_db: [...] noise figure (handset 7 to 9 dB, base station 5 dB)
    Returns [...] W/Hz; times the bandwidth in Hz it is the noise power.
    """
    return dbm_to_w(THERMAL_NOISE_DBM_PER_HZ + noise_figure_db)
