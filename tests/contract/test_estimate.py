"""`estimate` is the run without the arithmetic: the same events, seconds, bits, joules and messages, bit for bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


CASES = [
    (learner, world) for learner in LEARNERS for world in WORLDS if not WORLDS[world] or fits(learner, WORLDS[world])
]


@pytest.mark.parametrize(("learner", "world"), CASES)
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


@pytest.mark.parametrize("stop", STOPS)
def test_estimate_stops_where_the_run_stops(stop: str) -> None:
    for learner in SENDERS if "air_bits" in stop else LEARNERS:
        loaded = harsh(learner, "stop.rounds=1000", stop)
        run, estimate = simulate(loaded), simulate(loaded, "null")
        assert run.stop_reason == stop.partition("=")[0].partition(".")[2]
        assert_equal_but_for_values(run, estimate)


def assert_equal_but_for_values(run: RunRecord, estimate: RunRecord) -> None:
    for field in dataclasses.fields(RunRecord):
        if field.name in OF_VALUES:
            continue
        ours, theirs = getattr(run, field.name), getattr(estimate, field.name)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype, field.name
            assert ours.tobytes() == theirs.tobytes(), field.name
        else:
            assert ours == theirs, field.name


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
