"""Kinds of devices by name: `[[devices]] preset = "phone"`, `[server] preset = "base_station"`.

A preset fills in what a group's tables do not say. Its numbers are starting points, each with its source; where that is "order of
magnitude", no data sheet stands behind it, and a study that depends on it must put its own.

phone           speed: 0.6 GFLOP of a mobile network (MobileNet class) at about 60 ms a sample, between the 15 ms of fast and the 200
                ms of slow phones in public traces of half a million; spread: log-normal, sigma 0.6, as used for phones;
                23 dBm: power class 3 of the 3GPP user equipment specifications; noise figure 9 dB: TR 36.942; amplifier
                efficiency 0.35 and circuit 0.1 W: usual for handsets (0.3 to 0.4, about 0.1 W); compute, receive and idle powers:
                order of magnitude.
raspberry_pi_4  6.4 W computing and 4.4 W uploading over Wi-Fi (4 to 4.8 W), for the whole board, as in a federated-learning energy
                model fitted to measurements. The board rests at about 2.7 W (order of magnitude): that is `idle_w` and
                `listen_w`, and `active_w` is what computing adds. Speed, receive and sleep power, 15 dBm: order of magnitude.
mcu             a sensor node's radio: transmit 100 mW, receive 10 mW, idle 2 mW, sleep 1 mW (common simulator defaults);
                speed: 480 MHz (Cortex-M7 class) at 8 cycles a FLOP, 0.15 W, 10 dBm: order of magnitude.
laptop          a Wi-Fi radio at 3 V: transmit 380 mA, receive 313 mA, idle 273 mA, sleep 33 mA (common simulator defaults);
                50 GFLOP/s, 20 W, 20 dBm: order of magnitude.
base_station    of TR 38.901's UMi street canyon: 10 m high, 44 dBm in 20 MHz; 8 dBi: an antenna element's maximum there; noise
                figure 5 dB: TR 36.942; two receive antennas.

No preset has a battery in it: a device is on the mains unless its group says `battery_j` (a phone's 4 Ah at 3.85 V are 55 kJ).
"""

from __future__ import annotations

import copy
from typing import Any

from wsim.scenario.messages import nearest, problem

DEVICES: dict[str, dict[str, Any]] = {
    "phone": {
        "compute": {"effective_flops": 10e9, "spread": "lognormal", "spread_sigma_ln": 0.6, "active_w": 2.0},
        "radio": {"tx_power_dbm": 23.0, "noise_figure_db": 9.0},
        "energy": {
            "pa_efficiency": 0.35,
            "tx_circuit_w": 0.1,
            "rx_w": 0.5,
            "listen_w": 0.3,
            "idle_w": 0.05,
            "sleep_w": 0.01,
        },
    },
    "raspberry_pi_4": {
        "compute": {"effective_flops": 5e9, "active_w": 3.7},
        "radio": {"tx_power_dbm": 15.0},
        "energy": {"tx_w": 4.4, "rx_w": 3.5, "listen_w": 2.7, "idle_w": 2.7, "sleep_w": 2.5},
    },
    "mcu": {
        "compute": {"frequency_hz": 480e6, "cycles_per_flop": 8.0, "active_w": 0.15},
        "radio": {"tx_power_dbm": 10.0},
        "energy": {"tx_w": 0.1, "rx_w": 0.01, "listen_w": 0.01, "idle_w": 0.002, "sleep_w": 0.001},
    },
    "laptop": {
        "compute": {"effective_flops": 50e9, "active_w": 20.0},
        "radio": {"tx_power_dbm": 20.0},
        "energy": {"tx_w": 1.14, "rx_w": 0.939, "listen_w": 0.819, "idle_w": 0.819, "sleep_w": 0.099},
    },
}

SERVERS: dict[str, dict[str, Any]] = {
    "base_station": {
        "position_m": [0.0, 0.0, 10.0],
        "radio": {
            "tx_power_dbm": 44.0,
            "tx_power_reference_hz": 20e6,
            "antenna_gain_dbi": 8.0,
            "noise_figure_db": 5.0,
            "rx_antennas": 2,
        },
    },
}

_INSTEAD: dict[
    str, dict[str, tuple[str, ...]]
] = {  # a key of one's own, and those of the preset that it takes the place of
    "compute": {
        "frequency_hz": ("effective_flops",),
        "effective_flops": ("frequency_hz", "cycles_per_flop"),
        "kappa_w_per_hz3": ("active_w",),
    },
    "radio": {},
    "energy": {"pa_efficiency": ("tx_w",), "tx_circuit_w": ("tx_w",)},
}


def fill_in(table: dict[str, Any], known: dict[str, dict[str, Any]], path: tuple[str | int, ...], source: str) -> None:
    """Put the preset that a table names under its own keys, in place."""
    name = table.pop("preset")
    if not isinstance(name, str) or name not in known:
        guess = nearest(name, known) if isinstance(name, str) else ""
        raise problem(source, (*path, "preset"), f"has to be one of {', '.join(known)}{guess}", value=name)
    for key, value in copy.deepcopy(known[name]).items():
        own = table.get(key)
        if isinstance(value, dict) and isinstance(own, dict):
            replaced = {old for new, others in _INSTEAD[key].items() if new in own for old in others}
            table[key] = {**{old: value[old] for old in value if old not in replaced}, **own}
        else:
            table.setdefault(key, value)
