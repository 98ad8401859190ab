"""One algorithm, three ways to run it: on the loopback bench, and in the simulator with the eager and the batched executor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from learners.batching import BatchStream
from learners.loopback import LoopbackNode, loopback
from learners.protocol import SERVER
from tests.contract.equality import assert_equal_records
from tests.contract.recording import Recording, record, tensors_of
from tests.contract.worlds import LEARNERS, OF_LINKS, VARIANTS, calm, harsh, has_key, says
from wsim.engine import Run
from wsim.scenario import Loaded
from wsim.senses import Senses

WINDOWS = (1, 7, 4096)
MORE_WINDOWS = (2, 30, 100, 1000)
TOLERANCE = 1e-9  # eager and batched kernels round differently, 5 rounds of float64


def comparable(learner: str) -> Loaded:
    """A calm world in which a learner without rounds meets the same messages at the bench, where computing and sending take no
    time: a cycle takes milliseconds here, and the cycles of two devices lie further apart than that."""
    own = ["devices.0.compute.effective_flops=1e9"]
    if has_key(learner, "period_s"):
        own.append("algorithm.period_s=1.0")
    return calm(learner, *own)


def run_loopback(loaded: Loaded) -> Recording:
    """The scenario's learner on the bench, with the data, graph, initial models and streams that the simulator gives it."""
    run = Run(loaded, "eager", None, None, None, None)
    learning, streams = run.learning, run.streams
    task = learning.task
    devices = range(loaded.scenario.num_devices)
    samples_of = [len(part) for part in learning.parts]
    served = {} if run.cells is None else {id: run.cells.served(id) for id in run.driver.nodes[0].edges}
    ids = [*devices, *served, SERVER] if learning.learner.uses_server else list(devices)

    def batches(id: int) -> BatchStream | None:
        own = learning.samples_of(id)
        return own and BatchStream(own.sample_indices, streams("batches", id), task.dtype)

    nodes = []
    for id in ids:
        index = run.world.server_index if id == SERVER else id
        nodes.append(
            LoopbackNode(
                id,
                run.topology.neighbors(index),
                learning.initial_parameters(id)(),
                streams("learner", index),
                learning.num_samples(id),
                served.get(id, tuple(devices)),
                samples_of,
                batches(id),
                learning.task_of(id),
                task.dtype,
                streams("codec", index),
                edges=tuple(served),
                class_counts=learning.class_counts,
            )
        )
    recording = Recording(learning.learner)
    senses = Senses(run)
    looks = says(loaded.scenario.algorithm.name, "needs_links", False)  # at a world in which nothing changes
    observe = (lambda id, request: senses.observe(run.driver.nodes[id], request)[0]) if looks else None
    loopback(recording.program, nodes, observe=observe)
    return recording


@pytest.mark.parametrize("learner", [*LEARNERS, *VARIANTS, *OF_LINKS])
def test_loopback_eager_and_batched_give_equal_traces_and_values(learner: str) -> None:
    loaded = comparable(learner)
    bench = run_loopback(loaded)
    in_order: dict[str, list[Any]] = {"eager": [], "batched": []}
    runs = {name: record(loaded, name, trace=trace) for name, trace in in_order.items()}

    assert in_order["eager"] == in_order["batched"]
    assert runs["eager"][0].event_digest == runs["batched"][0].event_digest
    if says(learner, "depends_on_timing", False):
        eager, batched = (recording for _, recording in runs.values())
        assert eager.traces == batched.traces
        assert_values_agree(batched, eager)
    else:
        for _, recording in runs.values():
            assert recording.traces == bench.traces
            assert_values_agree(recording, bench)
    rounds = loaded.scenario.stop.rounds or 0
    assert sum(line == ("report", "model") for line in bench.traces[0]) >= rounds
    assert any(line[0] == "received" for lines in bench.traces.values() for line in lines) or not says(
        learner, "sends", True
    )
    start = bench.models()[0]
    learned = [model for model in bench.models() if model.shape == start.shape]
    assert max(float((model - start).abs().max()) for model in learned) > 0.01, "nothing was learned"


@pytest.mark.parametrize("learner", [*LEARNERS, *VARIANTS, *OF_LINKS])
def test_eager_and_batched_agree_where_models_arrive_in_part(learner: str) -> None:
    """Masks, deadlines, fading: paths that the bench cannot take. No float16 here: rounding is discontinuous. Messages that only
    count as a whole are lost instead."""
    loaded = harsh(learner, "dtype=float64", "codec=float32", "transport.reliability=none", "stop.rounds=5")
    in_order: dict[str, list[Any]] = {"eager": [], "batched": []}
    runs = {name: record(loaded, name, trace=trace) for name, trace in in_order.items()}
    assert in_order["eager"] == in_order["batched"]
    eager, batched = (recording for _, recording in runs.values())
    assert eager.traces == batched.traces
    assert runs["eager"][0].event_digest == runs["batched"][0].event_digest
    if says(learner, "sends", True):
        in_part = any(message.mask is not None for message in eager.received)
        assert in_part == says(learner, "uses_parts", True)
        assert in_part or sum(runs["eager"][0].messages_lost.values()) > 0
    assert_values_agree(batched, eager)


def assert_values_agree(recording: Recording, reference: Recording) -> None:
    """Equal reports of every node in its order, and equal numbers within TOLERANCE."""
    ours, theirs = reports_by_node(recording), reports_by_node(reference)
    assert ours.keys() == theirs.keys()
    for node, expected in theirs.items():
        assert [name for name, _ in ours[node]] == [name for name, _ in expected]
        for k, ((_, values), (_, others)) in enumerate(zip(ours[node], expected)):
            for value, other in zip(values, others, strict=True):
                assert value.dtype == torch.float64
                assert float((value - other).abs().max()) <= TOLERANCE, f"node {node}, report {k}"


def reports_by_node(recording: Recording) -> dict[int, list[tuple[str, list[torch.Tensor]]]]:
    """Name and tensors of every report, in order."""
    reports: dict[int, list[tuple[str, list[torch.Tensor]]]] = {}
    for node, name, value in recording.reported:
        reports.setdefault(node, []).append((name, tensors_of(value)))
    return reports


@pytest.mark.parametrize("windows", [WINDOWS, pytest.param(MORE_WINDOWS, marks=pytest.mark.slow)], ids=["few", "more"])
@pytest.mark.parametrize("learner", [*LEARNERS, *VARIANTS, *OF_LINKS])
def test_result_and_models_are_bit_equal_whatever_the_window(learner: str, windows: tuple[int, ...]) -> None:
    """The last one twice: the same run again."""
    loaded = harsh(learner)
    runs, models = [], []
    for window in (*windows, windows[-1]):
        run, recording = record(loaded, window=window)
        runs.append(run)
        models.append(recording.models())
    for run in runs[1:]:
        assert_equal_records(runs[0], run)
    for other in models[1:]:
        assert len(other) == len(models[0]) > 0
        assert all(torch.equal(a, b) for a, b in zip(models[0], other))


def test_models_are_bit_equal_whatever_the_window_with_convolutions() -> None:
    loaded = calm(
        "fedavg",
        "data.name=digits",
        "model.name=lenet",
        "model.hidden=[12]",
        "devices.0.count=4",
        "stop.rounds=2",
        "dtype=float32",
    )
    models = [record(loaded, window=window)[1].models() for window in (1, 4096)]
    assert all(torch.equal(a, b) for a, b in zip(*models, strict=True))


@pytest.mark.parametrize("learner", LEARNERS)
def test_models_are_bit_equal_whatever_the_window_with_momentum_schedule_and_augmentation(learner: str) -> None:
    """Two values in a carry, rates that differ between devices and rounds, drawn crops: on digits, where images are."""
    keys = ["data.name=digits", "data.samples_per_device=40", "stop.rounds=3"]
    keys += ["algorithm.momentum=0.9"] if says(learner, "takes_momentum", True) else []
    keys += ["algorithm.learning_rate_schedule=cosine", "algorithm.augmentation=crop_flip", "algorithm.crop_padding=1"]
    models = [record(harsh(learner, *keys), window=window)[1].models() for window in (1, 4096)]
    assert len(models[0]) > 0
    for other in models[1:]:
        assert all(torch.equal(a, b) for a, b in zip(models[0], other, strict=True))
