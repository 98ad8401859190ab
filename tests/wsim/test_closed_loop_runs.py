"""The closed loop in the simulator: decisions are heard on the air, estimates know the times of what does not depend on values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.contract.recording import record as record_of
from tests.contract.worlds import calm
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError
from wsim.record import RunRecord

DENSE = [
    "area.side_m=40.0",
    'mac={kind="shared", interference="sinr", capture=true}',
    'channel.path_loss={kind="log_distance", exponent=3.0}',
    "devices.0.radio.tx_power_dbm=0.0",
    "topology.kind=complete",
    "algorithm.deadline_s=0.2",
    "stop.rounds=4",
]


def powers_of(record: RunRecord) -> np.ndarray:
    """[num_devices] at the end, NaN for who is no sender."""
    return np.asarray(record.measure_value[record.measure_name.index("power")][-1])


def rates_of(record: RunRecord) -> np.ndarray:
    return np.asarray(record.measure_value[record.measure_name.index("link_rate")][-1])


def test_what_a_sender_decides_is_what_its_neighbors_receive() -> None:
    """The best SINR at which a device is heard, while nobody else sends, is its SNR at full power times the share that it has set."""
    loaded = calm("closed_loop", *DENSE, "algorithm.controller=wmmse", "output.sinr=true")
    record = simulate(loaded)
    flows = Run(loaded, "null", None, None, None, None).flows
    powers = powers_of(record)
    assert np.nanmin(powers) < 0.5 < np.nanmax(powers)
    late = record.sinr_time_s > 0.5 * record.simulated_s
    for device, share in enumerate(np.nan_to_num(powers, nan=1.0)):
        steps = late & (record.sinr_tx == device)
        tx, rx = record.sinr_tx[steps], record.sinr_rx[steps]
        heard = 10 ** (record.sinr_db[steps] / 10) / flows.snr(tx, rx, 0.0)
        assert heard.max() == pytest.approx(share, rel=1e-5)


def test_link_rates_are_those_of_the_powers_that_are_set() -> None:
    loaded = calm("closed_loop", *DENSE, "algorithm.controller=wmmse")
    record = simulate(loaded)
    flows = Run(loaded, "null", None, None, None, None).flows
    powers, rates, pairs = powers_of(record), rates_of(record), flows.at(0.0)
    for sender, receiver in pairs:
        tx = pairs[:, 0]
        received = flows.snr(tx, np.full(len(tx), receiver), 0.0) * powers[tx]
        own = tx == sender
        expected = np.log2(1 + received[own] / (1 + received[~own].sum()))
        assert rates[receiver] == pytest.approx(expected[0], rel=1e-5)
    assert rates.size - np.isnan(rates).sum() == len(pairs) == 3
    at_full_power = rates_of(simulate(calm("closed_loop", *DENSE, "algorithm.controller=full")))
    assert np.nansum(rates) > 1.05 * np.nansum(at_full_power)


def test_an_estimate_is_exact_where_nothing_is_decided() -> None:
    loaded = calm("closed_loop", *DENSE, "algorithm.controller=full", "algorithm.trains=true")
    run, estimate = simulate(loaded), simulate(loaded, "null")
    assert estimate.exact
    assert estimate.event_digest == run.event_digest
    assert np.array_equal(estimate.processor_s, run.processor_s)
    assert not simulate(calm("closed_loop", *DENSE, "algorithm.controller=wmmse"), "null").exact  # at full power


def test_accuracy_is_that_of_the_controller() -> None:
    """Where that is no model, too; WMMSE is the reference."""
    for controller, share in (("wmmse", 1.0), ("full", None)):
        record = simulate(calm("closed_loop", *DENSE, f"algorithm.controller={controller}", "stop.rounds=1"))
        assert record.accuracy[-1] == pytest.approx(share, rel=1e-4) if share else record.accuracy[-1] < 0.95


def test_other_data_are_refused_in_one_line() -> None:
    with pytest.raises(ScenarioError, match=r"\[algorithm\] name = .*closed_loop.*data observed_links") as error:
        calm("closed_loop", 'data={name="interference_channel"}')
    assert "\n" not in str(error.value)


def test_learning_goes_on_where_packets_are_lost_and_a_neighbor_dies(tmp_path: Path) -> None:
    """A fifth of all packets, and device 2 after 1.5 s."""
    file = tmp_path / "churn.csv"
    file.write_text("2 1.5 leave")
    keys = [f'devices.0.churn={{kind="schedule", file="{file}"}}', "channel.forced_loss.rate=0.2", "stop.rounds=16"]
    record, recording = record_of(calm("closed_loop", *DENSE, *keys, "transport.reliability=none"))
    assert record.stop_reason == "rounds"
    assert record.messages_lost["forced"] > 0
    assert all(torch.isfinite(model).all() for model in recording.models())
    rounds = [node for node, name, _ in recording.reported if name == "model"]
    assert 1 < rounds.count(2) < 16 == rounds.count(1)
    start, *_, end = recording.models()
    assert float((end - start).abs().max()) > 0.01
