"""Hand-over: where a device changes the station, by the hysteresis, in a simulated pair of cells.

In free space a device that walks from one station to another, D apart, at the stations' height changes where the second one is
h dB stronger: 20 log10(x / (D - x)) = h, hence x = D r/(1 + r) with r = 10^(h/20), and on the way back at D - x. It looks every
update_every_s, so that it is some of its way late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from learners.protocol import Sleep
from wsim.engine import simulate
from wsim.record import RunRecord
from wsim.scenario import load_text
from wsim.validation.comparison import Comparison, of_value

DISTANCE_M, MARGIN_M, SPEED_MPS, LOOK_S = 1000.0, 50.0, 50.0, 0.02
WAY_S = (DISTANCE_M - 2 * MARGIN_M) / SPEED_MPS
HYSTERESES_DB = (0.0, 3.0, 6.0)

_TRACE = f"0, 0.0, {MARGIN_M}, 0.0, 0.0\n0, {WAY_S}, {DISTANCE_M - MARGIN_M}, 0.0, 0.0\n0, {2 * WAY_S}, {MARGIN_M}, 0.0, 0.0\n"
_SCENARIO = f"""
scenario = {{{{ name = "validate", seed = 1 }}}}
stop = {{{{ simulated_s = {2 * WAY_S} }}}}
area = {{{{ shape = "disc", radius_m = {2 * DISTANCE_M} }}}}
data = {{{{ name = "gaussian_mixture", num_classes = 2, num_features = 2, num_samples = 400 }}}}
model = {{{{ name = "mlp", hidden = [2] }}}}
channel = {{{{ carrier_hz = 1e9, bandwidth_hz = 1e6, path_loss = "free_space" }}}}
evaluation = {{{{ every_rounds = 1000000 }}}}
output = {{{{ topology_every_s = {LOOK_S} }}}}
algorithm = "waits"
topology = "star"
mac = "fdma"
cells = {{{{ layout = "positions", positions_m = [[0.0, 0.0], [{DISTANCE_M}, 0.0]], hysteresis_db = {{hysteresis_db}}, \
update_every_s = {LOOK_S} }}}}
[server]
position_m = [0.0, 0.0, 0.0]
radio = {{{{ tx_power_dbm = 20.0 }}}}
[[devices]]
name = "d"
count = 1
mobility = {{{{ kind = "trace", file = "walk.csv" }}}}
compute = {{{{ effective_flops = 1e9 }}}}
radio = {{{{ tx_power_dbm = 20.0 }}}}
"""


@dataclass(frozen=True)
class Waits:
    """Nobody sends anything."""

    task: Any
    codec: Any
    num_rounds: int | None

    uses_server: ClassVar[bool] = True
    synchronous: ClassVar[bool] = False
    value_dependent: ClassVar[bool] = False

    def program(self, node: Any) -> Any:
        yield Sleep(2 * WAY_S + 1)


def comparisons(effort: int) -> Iterator[Comparison]:
    """The same at every effort: nothing is drawn."""
    late_m = 2 * LOOK_S * SPEED_MPS
    for hysteresis_db in HYSTERESES_DB:
        loaded = load_text(
            _SCENARIO.format(hysteresis_db=hysteresis_db), learner=Waits, referenced={"walk.csv": _TRACE}
        )
        places_m = _places_m(simulate(loaded, executor="null", learner=Waits))
        ratio = 10 ** (hysteresis_db / 20)
        expected_m = (DISTANCE_M * ratio / (1 + ratio), DISTANCE_M / (1 + ratio))
        name = f"hand-over, hysteresis {hysteresis_db:g} dB"
        yield of_value(name, "number of hand-overs", len(places_m), 2, 0.0)
        for way, found_m, there_m in zip(("there", "back"), places_m, expected_m, strict=False):
            yield of_value(name, f"place on the way {way}, m", found_m, there_m, late_m)


def _places_m(record: RunRecord) -> list[float]:
    """How far from the first station the device was when the station that serves it had changed."""
    serving = record.edges[:, 1]
    changed = record.edge_snapshot[1:][np.diff(serving) != 0]
    return [float(record.positions_m[look, 0, 0]) for look in changed]
