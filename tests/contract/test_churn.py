"""Every learner ends, whoever comes, goes, fails or runs out of energy, and every book closes.

An estimate (same events, no arithmetic) of two worlds: a calm one, in which whoever waits would wait for ever for a message that is
not sent, and a harsh one with deadlines, fading and losses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.learning import LEARNING, assert_books_close, assert_half_is_learned
from tests.contract.worlds import LEARNERS, OF_LINKS, VARIANTS, calm, harsh, has_key, says
from wsim.engine import simulate
from wsim.record import RADIO_STATES, RunRecord
from wsim.scenario import Loaded

OFF = RADIO_STATES.index("off")
PATTERNS = {
    "random": ['devices.0.churn={kind="random", mean_up_s=0.3, mean_down_s=0.2}'],
    "flapping": ['devices.0.churn={kind="random", mean_up_s=0.03, mean_down_s=0.03}'],
    "failing": ['devices.0.churn={kind="failure", mean_life_s=0.04}'],
    "together": ['devices.0.churn={kind="schedule", leave_s=[0.01, 0.3], join_s=[0.02, 0.7]}'],
    "late": ['devices.0.churn={kind="schedule", join_s=[0.4]}'],
    "battery": ["devices.0.energy.battery_j=0.02"],
    "everything": [
        "devices.0.energy.battery_j=0.6",
        'devices.0.churn={kind="random", mean_up_s=0.2, mean_down_s=0.1}',
        "mac.latency_s=0.01",
    ],
}


def ends(loaded: Loaded) -> RunRecord:
    record = simulate(loaded, executor="null")
    assert record.stop_reason in ("rounds", "nobody_left", "finished")  # the last: those who have a program have failed
    assert_books_close(record)
    assert (record.radio_s > -1e-9).all()
    for seconds in (record.radio_s, record.processor_s, record.program_s):
        assert seconds.sum(axis=1) == pytest.approx(record.simulated_s, abs=1e-8)
    return record


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("learner", [*LEARNERS, *VARIANTS, *OF_LINKS])
def test_learner_ends_whoever_comes_and_goes(learner: str, pattern: str) -> None:
    mac = "tdma" if says(learner, "uses_server", False) else "shared"
    worlds = ((calm,), (calm, f"mac.kind={mac}", "algorithm.local_steps=1"), (harsh,))
    for number, (make, *changes) in enumerate(worlds):
        loaded = make(learner, "stop.simulated_s=1000", *changes, *PATTERNS[pattern])
        record = ends(loaded)
        assert record.radio_s[: record.num_devices, OFF].any() or record.stop_reason != "rounds"
        if repeats(number, pattern):
            assert ends(loaded).event_digest == record.event_digest


def repeats(world: int, pattern: str) -> bool:
    """Whether the run is made twice, to see the same events: under every pattern in one of three worlds, in every world under
    two patterns or more."""
    return list(PATTERNS).index(pattern) % 3 == world


RADIO = 'topology={kind="radio", neighbor_mean_snr_db=20.0, update_every_s=0.05}'
BEACONS = RADIO.replace("}", ', discovery="beacon", beacon_every_s=0.04}')
ON_RADIO_GRAPHS = [
    name
    for name in [*LEARNERS, *OF_LINKS]
    if not says(name, "uses_server", False) and not says(name, "fixed_graph", False)
]


def comings_and_goings() -> list[Any]:
    """Every learner under every pattern, in one of the two graphs in turn; with the other one slow."""
    found = []
    for i, learner in enumerate(ON_RADIO_GRAPHS):
        for j, pattern in enumerate(PATTERNS):
            for k, (topology, name) in enumerate(((RADIO, "genie"), (BEACONS, "beacons"))):
                marks = () if (i + j + k) % 2 == 0 else pytest.mark.slow
                found.append(pytest.param(learner, pattern, topology, marks=marks, id=f"{learner}-{pattern}-{name}"))
    return found


@pytest.mark.parametrize(("learner", "pattern", "topology"), comings_and_goings())
def test_learner_ends_among_neighbors_in_radio_range(learner: str, pattern: str, topology: str) -> None:
    """Neighbors that walk, and neighbors that one of two devices may know alone."""
    limits = ["mac.kind=shared", "stop.simulated_s=200", topology]
    if has_key(learner, "deadline_s"):
        limits.append("algorithm.deadline_s=0.05")
    for number, (make, *changes) in enumerate(((calm, "stop.rounds=20"), (harsh,))):
        loaded = make(learner, *limits, *changes, *PATTERNS[pattern])
        record = ends(loaded)
        assert record.on_air_bits > 0 or topology is RADIO
        if repeats(number, pattern):
            assert ends(loaded).event_digest == record.event_digest


@pytest.mark.parametrize("seed", range(12))
def test_neighbors_find_together_after_the_last_arrival(seed: int, tmp_path: Path) -> None:
    """Random comings and goings that end early, so that no later one could untie a knot of devices that wait for each other."""
    rng = np.random.default_rng(seed)
    num_devices = 4 + seed % 7
    lines = []
    for device in range(num_devices):
        times = np.sort(rng.uniform(0.0, 0.4, 2 * int(rng.integers(1, 6))))
        lines += [f"{device} {time:.6f} {'leave' if i % 2 == 0 else 'join'}" for i, time in enumerate(times.tolist())]
    file = tmp_path / "churn.csv"
    file.write_text("\n".join(lines))
    topology = ["ring", "complete", {"kind": "erdos_renyi", "probability": 0.6}][seed % 3]
    record = ends(
        calm(
            "dpsgd",
            f"topology={topology!r}".replace("': ", "'=")
            .replace("'kind'", "kind")
            .replace("'probability'", "probability"),
            f'devices.0.churn={{kind="schedule", file="{file}"}}',
            f"devices.0.count={num_devices}",
            f"algorithm.local_steps={1 + seed % 2}",
            f"mac.kind={'shared' if seed % 2 else 'ideal'}",
            f"scenario.seed={seed}",
            "stop.rounds=40",
            "stop.simulated_s=2000",
        )
    )
    assert record.stop_reason == "rounds"
    assert record.messages_lost["departure"] > 0


@pytest.mark.parametrize("learner", [name for name in LEARNERS if name != "centralized"])
def test_learning_goes_on_among_those_who_are_there(learner: str) -> None:
    """A third of the time away costs less than half of what is learned above chance."""
    churn = 'devices.0.churn={kind="random", mean_up_s=0.2, mean_down_s=0.1}'
    record = simulate(calm(learner, *LEARNING, churn))
    assert record.radio_s[: record.num_devices, OFF].sum() > 0.1 * record.simulated_s
    assert_half_is_learned(learner, record)


@pytest.mark.parametrize("handover", ["continue", "lose"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_books_close_in_several_cells(pattern: str, handover: str) -> None:
    cells = (
        f'cells={{layout="hexagonal", sites=3, inter_site_distance_m=80.0, update_every_s=0.2, handover="{handover}"}}'
    )
    for downlink in ("unicast", "broadcast"):
        ends(harsh("fedavg", "stop.simulated_s=1000", cells, f"algorithm.downlink={downlink}", *PATTERNS[pattern]))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_over_the_air_sums_go_on_among_those_who_are_there(pattern: str) -> None:
    air = ["algorithm.uplink=aircomp", "algorithm.aircomp_snr_db=20.0", "stop.simulated_s=1000"]
    for make in (calm, harsh):
        record = ends(make("fedavg", *air, *PATTERNS[pattern]))
        assert record.messages_sent > 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_exchanges_of_factors_go_on_among_those_who_are_there(pattern: str) -> None:
    keys = ["algorithm.uplink=powersgd", "codec.name=float32", "transport.reliability=arq", "stop.simulated_s=1000"]
    assert ends(harsh("fedavg", *keys, *PATTERNS[pattern])).messages_sent > 0
