"""Times of transfers in a simulated cell against rates by hand.

    t = bits / (band held * log2(1 + SNR over the band held))

for one device, for equal devices that share the band (fdma: the power follows the band) or the time (tdma); and over many
independent blocks of fading, where the mean rate is the ergodic capacity, exp(1/a) E1(1/a)/ln 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from learners.protocol import SERVER, Payload, Receive, Send
from wsim.engine import simulate
from wsim.scenario import load_text
from wsim.validation.comparison import Comparison, of_samples, of_value

BANDWIDTH_HZ, CARRIER_HZ, DISTANCE_M = 1e6, 1e9, 100.0
PACKET_BITS, HEADER_BITS = 1500 * 8, 44 * 8
NUM_PACKETS = 300
BLOCK_S, NUM_RUNS = 1e-3, 12

_SCENARIO = """
scenario = {{ name = "validate", seed = {seed} }}
stop = {{ simulated_s = 1e6, rounds = 1 }}
area = {{ shape = "disc", radius_m = 1000.0 }}
data = {{ name = "gaussian_mixture", num_classes = 2, num_features = 2, num_samples = 400 }}
model = {{ name = "mlp", hidden = [2] }}
phy = {{ snr_gap_db = 0.0, overhead = 0.0, max_efficiency_bps_hz = 100.0, min_snr_db = -60.0 }}
channel = {{ carrier_hz = {carrier_hz}, bandwidth_hz = {bandwidth_hz}, path_loss = "free_space", fading = {fading} }}
transport = {{ reliability = "none" }}
evaluation = {{ every_rounds = 1000000 }}
algorithm = "uploads"
topology = "star"
mac = "{mac}"
[server]
position_m = [0.0, 0.0, 0.0]
radio = {{ tx_power_dbm = 20.0, noise_figure_db = 7.0 }}
[[devices]]
name = "d"
positions_m = {places}
compute = {{ effective_flops = 1e9 }}
radio = {{ tx_power_dbm = {power_dbm!r} }}
"""


@dataclass(frozen=True)
class Uploads:
    """Every device sends one message of NUM_PACKETS full packets; the run ends with the last arrival."""

    task: Any
    codec: Any
    num_rounds: int | None

    uses_server: ClassVar[bool] = True
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False

    def program(self, node: Any) -> Any:
        if node.id == SERVER:
            for _ in node.neighbors:
                yield Receive(None, "upload", count=1)
        else:
            yield Send(SERVER, "upload", 0, Payload(None, NUM_PACKETS * (PACKET_BITS - HEADER_BITS)))


def comparisons(effort: int) -> Iterator[Comparison]:
    bits = NUM_PACKETS * PACKET_BITS
    snr_db = 10.0
    snr = 10 ** (snr_db / 10)
    for mac, num_devices, share in (("fdma", 1, 1), ("fdma", 4, 4), ("tdma", 4, 1)):
        measured = _seconds(mac, num_devices, snr_db)
        rate = BANDWIDTH_HZ * math.log2(1 + snr * share) / num_devices
        what = "one device" if num_devices == 1 else f"{num_devices} devices"
        yield of_value(f"transfer, {mac}", f"{what}: seconds", measured, bits / rate, 1e-6 * bits / rate)
    capacity = float(special.exp1(1 / snr) * np.exp(1 / snr) / np.log(2))
    expected = bits / (BANDWIDTH_HZ * capacity)
    fading = f'{{ kind = "rayleigh", block_s = {BLOCK_S} }}'
    times = np.array([_seconds("tdma", 1, snr_db, fading, seed) for seed in range(NUM_RUNS * effort)])
    yield of_samples("transfer, Rayleigh blocks", "over 1,200 blocks: seconds", times, expected, 0.03 * expected)
    ergodic = _seconds("tdma", 1, snr_db, '{ kind = "rayleigh", correlation = "ergodic" }')
    yield of_value("transfer, ergodic", "one device: seconds", ergodic, expected, 1e-4 * expected)


def _seconds(mac: str, num_devices: int, snr_db: float, fading: str = '"none"', seed: int = 1) -> float:
    """Until the last upload has arrived; snr_db over the whole band."""
    noise_dbm = -174.0 + 10 * math.log10(BANDWIDTH_HZ) + 7.0
    loss_db = 20 * math.log10(4 * math.pi * DISTANCE_M * CARRIER_HZ / 299_792_458.0)
    angles = [2 * math.pi * i / num_devices for i in range(num_devices)]
    places = [[DISTANCE_M * math.cos(a), DISTANCE_M * math.sin(a), 0.0] for a in angles]
    text = _SCENARIO.format(
        seed=seed,
        carrier_hz=CARRIER_HZ,
        bandwidth_hz=BANDWIDTH_HZ,
        fading=fading,
        mac=mac,
        places=places,
        power_dbm=snr_db + noise_dbm + loss_db,
    )
    record = simulate(load_text(text, learner=Uploads), executor="null", window=None, progress=None, learner=Uploads)
    return float(record.simulated_s)
