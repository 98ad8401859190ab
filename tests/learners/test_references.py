"""What protocols are compared with: every device alone, and all samples in one place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from tests.contract.recording import record
from tests.contract.worlds import calm, harsh
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError
from wsim.record import RunRecord
from wsim.scenario import Loaded

KEYS = ["data.partition=dirichlet", "data.alpha=0.5", "algorithm.local_steps=3", "algorithm.batch_size=8"]
CELL = ['topology="star"', "mac.kind=fdma", "server={radio={tx_power_dbm=30.0}, compute={effective_flops=5e6}}"]


def trained(loaded: Loaded, indices: np.ndarray, index: int, architecture: int = 0) -> list[torch.Tensor]:
    """Models after each round of training on these samples, with the streams of a node."""
    run = Run(loaded, "eager", None, None, None, None)
    task, scenario = run.learning.task, loaded.scenario
    stream = BatchStream(indices, run.streams("batches", index), task.dtype)
    x, models = task.initial_parameters(run.streams("initial_parameters", architecture)), []
    for _ in range(scenario.stop.rounds or 0):
        for i, weights in zip(*stream.draw(8, steps=3).steps, strict=True):
            x = task.sgd_step(x, i, weights, 0.1)
        models.append(x)
    return models


def parts(loaded: Loaded) -> list[np.ndarray]:
    return Run(loaded, "eager", None, None, None, None).learning.parts


@pytest.mark.parametrize("cell", [[], CELL])
def test_alone_every_device_trains_on_its_own_samples(cell: list[str]) -> None:
    loaded = calm("local_only", *KEYS, *cell)
    run, recording = record(loaded, "eager")
    for device, part in enumerate(parts(loaded)):
        models = [value for node, _, value in recording.reported if node == device]
        expected = trained(loaded, part, device)
        assert len(models) == len(expected) == 5
        assert all(torch.equal(a, b) for a, b in zip(models, expected))
    assert run.eval_round.tolist() == [1, 2, 3, 4, 5]
    assert_silent(run)


@pytest.mark.parametrize("cell", [[], CELL])
def test_in_one_place_all_samples_are_trained_on_with_one_processor(cell: list[str]) -> None:
    """Device 0, or the server: it alone computes, and the run lasts as long as its FLOPs take."""
    loaded = calm("centralized", *KEYS, *cell)
    run, recording = record(loaded, "eager")
    place = run.num_devices if cell else 0
    models = [value for _, _, value in recording.reported]
    expected = trained(loaded, np.sort(np.concatenate(parts(loaded))), place)
    assert all(torch.equal(a, b) for a, b in zip(models, expected, strict=True))
    assert run.eval_round.tolist() == [1, 2, 3, 4, 5]
    assert_silent(run)
    # 5 rounds of 3 steps of 8 samples: forward and backward of 8-8-4, but for the gradient of the inputs
    flops = 15 * (3 * 2 * 8 * (8 * 8 + 8 * 4) - 2 * 8 * 8 * 8)
    assert run.simulated_s == pytest.approx(flops / run.effective_flops[place], rel=1e-6)
    busy = run.processor_s[:, 0] if run.processor_s.shape[0] > 2 else run.processor_s[0]
    assert np.flatnonzero(busy > 0).tolist() == [place]
    assert any("genie" in note for note in run.notes)


def assert_silent(run: RunRecord) -> None:
    assert run.messages_sent == run.payload_bits == run.on_air_bits == 0
    assert not np.isnan(run.accuracy).any()
    assert run.accuracy[-1] > 0.3  # of 4 classes


def test_a_device_alone_does_not_know_what_others_do() -> None:
    """Half of the classes each: on the test set of all classes a device alone stays near a half, all samples in one place do
    not."""
    keys = ["data.partition=classes_per_device", "data.classes=2", "stop.rounds=40"]
    alone, together = (float(simulate(calm(name, *keys)).accuracy[-1]) for name in ("local_only", "centralized"))
    assert alone < 0.55
    assert together > 0.7


@pytest.mark.parametrize("name", ["local_only", "centralized"])
def test_a_run_that_only_ends_by_bits_on_the_air_is_refused(name: str) -> None:
    with pytest.raises(ScenarioError, match=rf"\[stop\] air_bits = 100000: {name} sends nothing and never gets there"):
        harsh(name, "stop={air_bits=1e5}")
