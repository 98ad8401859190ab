"""`estimate` is the run without the arithmetic: the same events, seconds, bits, joules and messages, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.contract.equality import assert_equal_records
from tests.contract.recording import record
from tests.contract.worlds import LEARNERS, SENDERS, calm, harsh, has_key, says
from wsim.engine import simulate
from wsim.record import RunRecord

OF_VALUES = {
    "estimated",
    "exact",
    "accuracy",
    "accuracy_worst",
    "accuracy_p10",
    "accuracy_std",
    "accuracy_by_device",
    "test_loss",
    "series_accuracy",
    "series_loss",
    "series_accuracy_by_level",
    "series_loss_by_level",
    "series_accuracy_by_group",
    "series_accuracy_by_device",
    "series_loss_by_device",
    "series_disagreement",
    "measure_name",
    "measure_component",
    "measure_value",
    "target_time_s",
    "target_on_air_bits",
    "target_energy_j",
    "provenance",
}
"""What an estimate does not know."""

STOPS = ["stop.rounds=6", "stop.simulated_s=0.7", "stop.air_bits=60000", "stop.energy_j=0.3"]
WORLDS: dict[str, list[str]] = {
    "as it is": [],
    "broadcast": ["algorithm.exchange=broadcast", "algorithm.downlink=broadcast"],
    "tdma, tdd": ["mac.kind=tdma", "phy.duplex=tdd"],
    "fixed rate, arq": ["phy.rate=fixed", "phy.fixed_efficiency_bps_hz=1.5", "transport.reliability=arq"],
    "fountain, expiring": ["transport.reliability=fountain", "transport.expires_s=0.2"],
    "nack, drop": ["transport.reliability=nack", "transport.partial=drop"],
    "neighbors in range": ["topology.kind=radio", "topology.update_every_s=0.2"],
    "ideal": ["mac.kind=ideal", "mac.latency_s=0.01"],
    "epochs": ["algorithm.local_epochs=1", "evaluation.every_s=0.3"],
    "momentum": ["algorithm.momentum=0.9", "algorithm.learning_rate_schedule=cosine", "algorithm.warmup_rounds=2"],
}


def fits(learner: str, keys: list[str]) -> list[str]:
    """The keys that mean something for this learner; none if the world does not."""
    from learners import registry

    cell = registry.load("learner", learner).uses_server
    if "mac.kind=ideal" in keys and says(learner, "uses_edges", False):
        return []
    one_graph = cell or says(learner, "fixed_graph", False)
    if ("topology.kind=radio" in keys and one_graph) or ("mac.kind=tdma" in keys and not cell):
        return []
    chosen = []
    for key in keys:
        table, _, name = key.partition("=")[0].partition(".")
        if name in ("momentum", "nesterov") and not says(learner, "takes_momentum", True):
            continue
        if table != "algorithm" or has_key(learner, name):
            chosen.append(key)
    return chosen


def in_turn(learner: str, place: int, number: int) -> bool:
    """Whether it is this learner's turn at one of `number` places: every place has its learners, every learner its places."""
    return (LEARNERS.index(learner) + place) % number == 0


def cases() -> list[Any]:
    """Every learner as it is and in a third of the other worlds; the others are slow."""
    found = []
    for learner in LEARNERS:
        for place, (world, keys) in enumerate(WORLDS.items()):
            if not keys or fits(learner, keys):
                marks = () if not keys or in_turn(learner, place, 3) else pytest.mark.slow
                found.append(pytest.param(learner, world, marks=marks, id=f"{learner}-{world}"))
    return found


@pytest.mark.parametrize(("learner", "world"), cases())
def test_estimate_equals_run(learner: str, world: str) -> None:
    loaded = harsh(learner, *fits(learner, WORLDS[world]))
    in_order: dict[str, list[Any]] = {"batched": [], "null": []}
    run, estimate = (simulate(loaded, executor, trace=trace) for executor, trace in in_order.items())
    assert estimate.estimated
    assert estimate.exact
    assert not run.estimated
    assert estimate.provenance["executor_calls"] == 0
    assert np.isnan(estimate.accuracy).all()
    assert not np.isnan(run.accuracy[-1])
    assert in_order["batched"] == in_order["null"]
    assert_equal_but_for_values(run, estimate)
    assert run.messages_sent > 20 or learner not in SENDERS


@pytest.mark.parametrize("everyone", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["a fourth", "all"])
@pytest.mark.parametrize("stop", STOPS)
def test_estimate_stops_where_the_run_stops(stop: str, everyone: bool) -> None:
    for learner in SENDERS if "air_bits" in stop else LEARNERS:
        if not everyone and not in_turn(learner, STOPS.index(stop), len(STOPS)):
            continue
        loaded = harsh(learner, "stop.rounds=1000", stop)
        run, estimate = simulate(loaded), simulate(loaded, "null")
        assert run.stop_reason == stop.partition("=")[0].partition(".")[2]
        assert_equal_but_for_values(run, estimate)


def assert_equal_but_for_values(run: RunRecord, estimate: RunRecord) -> None:
    assert_equal_records(run, estimate, OF_VALUES)


def test_command_lines_agree(tmp_path: Path) -> None:
    """What a user compares: `wsim estimate --json` and `wsim show --json` of the run."""
    from typer.testing import CliRunner

    from wsim.cli import app

    loaded = calm("fedavg")
    scenario, result = tmp_path / "calm.toml", tmp_path / "calm.h5"
    scenario.write_text(loaded.text)
    overrides = [part for override in loaded.overrides for part in ("--set", override)]
    runner = CliRunner()
    assert runner.invoke(app, ["run", str(scenario), "--quiet", "--out", str(result), *overrides]).exit_code == 0
    shown = json.loads(runner.invoke(app, ["show", str(result), "--json"]).stdout)
    estimated = json.loads(runner.invoke(app, ["estimate", str(scenario), "--json", *overrides]).stdout)
    for key in ("simulated_s", "bits", "energy_j", "messages"):
        assert shown[key] == estimated[key]
    assert shown["accuracy"] is not None
    assert estimated["accuracy"] is None
    assert estimated["exact"]


def test_recording_does_not_change_a_run() -> None:
    """The contract tests look at runs through a recorder; it has to be transparent."""
    loaded = harsh("fedavg")
    plain, (recorded, _) = simulate(loaded), record(loaded)
    assert plain.event_digest == recorded.event_digest
    assert plain.accuracy.tobytes() == recorded.accuracy.tobytes()
