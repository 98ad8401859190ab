"""Rounds of learners between neighbors, counted by each device or by the newest heard of: `NeighborSgd.round_clock`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.worlds import calm
from wsim.engine import simulate
from wsim.errors import ScenarioError

OUT_OF_STEP = [
    "stop={simulated_s=2.0}",
    "algorithm.deadline_s=0.1",
    'topology={kind="radio", neighbor_mean_snr_db=50.0, update_every_s=0.02}',
    "area.side_m=1000.0",
    "channel.bandwidth_hz=1e5",  # a round with others takes much longer than one alone
    "devices.0.compute.effective_flops=1e8",
]


def used(clock: str, file: Path, learner: str) -> float:
    """Of the messages that arrived, the part that programs used. Device 5 is alone for the first 0.2 s, and counts rounds at the speed
    of its processor."""
    places = [f"{i},0,{10 * i},0" for i in range(5)]
    file.write_text("\n".join([*places, "5,0,250,0", "5,0.2,250,0", "5,0.25,50,0"]))
    mobility = f'devices.0.mobility={{kind="trace", file="{file}"}}'
    record = simulate(calm(learner, *OUT_OF_STEP, mobility, f"algorithm.round_clock={clock}"), executor="null")
    arrived = record.messages_delivered_used + record.messages_delivered_unused
    return record.messages_delivered_used / arrived


@pytest.mark.parametrize("learner", ["dpsgd", "ccl"])
def test_devices_that_meet_in_different_rounds_use_each_others_messages(learner: str, tmp_path: Path) -> None:
    own, newest = (used(clock, tmp_path / "walk.csv", learner) for clock in ("own", "newest"))
    assert own < 0.85 < 0.98 < newest, (own, newest)


@pytest.mark.parametrize(
    ("learner", "keys", "message"),
    [
        ("dpsgd", ["stop.rounds=4"], "stop by simulated_s, air_bits or energy_j"),
        ("dpsgd", ["stop={simulated_s=1.0}", "algorithm.warmup_rounds=2"], "the learning rate may not follow"),
        ("d2", ["stop={simulated_s=1.0}"], "belongs to consecutive rounds"),
        ("choco", ["stop={simulated_s=1.0}"], "belongs to consecutive rounds"),
        ("sgp", ["stop={simulated_s=1.0}"], "belongs to consecutive rounds"),
    ],
)
def test_what_belongs_to_consecutive_rounds_is_refused(learner: str, keys: list[str], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        simulate(calm(learner, *keys, "algorithm.round_clock=newest"), executor="null")
