"""Several architectures in one run: dealt in turn, one task and one batched job for each, evaluated by their own metric."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from learners.executors import BatchedExecutor
from learners.protocol import SERVER
from learners.signature import Signature
from tests.contract.recording import record
from tests.contract.worlds import calm
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

DIGITS = ["data.name=digits", "dtype=float32", "devices.0.count=9", "stop.rounds=3", "algorithm.batch_size=8"]
THREE = 'model.variants=[{name="mlp", hidden=[16]}, {name="mlp", hidden=[24, 16]}, {name="mlp", hidden=[8, 16]}]'


def test_device_i_has_variant_i_modulo_their_number() -> None:
    run = Run(calm("local_only", *DIGITS, "model.hidden=[16]", THREE), "eager", None, None, None, None)
    tasks = [node.task for node in run.driver.nodes]
    assert [task.num_params for task in tasks] == [1210, 2130, 834] * 3  # 64-16-10, 64-24-16-10, 64-8-16-10
    assert len({id(task) for task in tasks}) == 3
    assert tasks[0] is run.learning.task  # the first variant is the architecture of [model] itself
    assert tasks[1].samples is tasks[0].samples


def test_the_normalization_that_was_there_first_leaves_resolved_scenarios_as_they_were() -> None:
    variants = 'model={name="resnet20", variants=["resnet20", {name="resnet20", norm="evonorm"}, {name="vgg11", norm="group"}]}'
    resolved = calm("local_only", *DIGITS, variants).scenario.resolved()["model"]
    assert "norm" not in resolved
    assert [variant.get("norm") for variant in resolved["variants"]] == [None, "evonorm", "group"]


def test_the_server_has_the_architecture_of_the_table_itself() -> None:
    cell = ['topology="star"', "server={radio={tx_power_dbm=30.0}}", "model.hidden=[5]"]
    run = Run(calm("fedproto", *DIGITS, *cell, THREE), "eager", None, None, None, None)
    assert run.learning.task_of(SERVER).num_params == 64 * 5 + 5 + 5 * 10 + 10
    assert {node.task.num_params for node in run.driver.nodes if node.id != SERVER} == {1210, 2130, 834}


def test_devices_of_one_architecture_start_from_the_same_weights_and_others_from_their_own() -> None:
    for same, kinds in (("true", 2), ("false", 9)):
        keys = [
            f"model.same_initial_weights={same}",
            'model.variants=[{name="mlp", hidden=[8]}, {name="mlp", hidden=[4]}]',
        ]
        run = Run(calm("local_only", *DIGITS, "model.hidden=[8]", *keys), "eager", None, None, None, None)
        starts = [node.initial_parameters for node in run.driver.nodes]
        assert len({tuple(x.tolist()) for x in starts}) == kinds
        assert starts[0].shape != starts[1].shape
    plain = Run(calm("local_only", *DIGITS, "model.hidden=[8]"), "eager", None, None, None, None)
    mixed = Run(
        calm("local_only", *DIGITS, "model.hidden=[8]", THREE.replace("[16]", "[8]", 1)),
        "eager",
        None,
        None,
        None,
        None,
    )
    assert torch.equal(mixed.driver.nodes[0].initial_parameters, plain.driver.nodes[0].initial_parameters)


@pytest.mark.parametrize("learner", ["local_only", "fedproto"])
def test_jobs_batch_by_architecture(learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine devices of three architectures, in lockstep: each of the 3 x 4 training steps, and each of the 3 x 5 steps that
    collect prototypes (40 samples in batches of 8), is one call for each architecture."""
    calls: Counter[str] = Counter()
    call = BatchedExecutor._call

    def counted(
        self: BatchedExecutor, signature: Signature, leaves: list[torch.Tensor], **how: bool
    ) -> list[torch.Tensor]:
        calls[signature.op.name] += 1
        return call(self, signature, leaves, **how)

    monkeypatch.setattr(BatchedExecutor, "_call", counted)
    keys = [*DIGITS, "evaluation.every_rounds=100", "algorithm.local_steps=4", "devices.0.compute.spread=none"]
    keys += ["data.partition=classes_per_device", "data.classes=2", "data.samples_per_device=40", "model.hidden=[16]"]
    simulate(calm(learner, *keys, THREE))
    if learner == "local_only":
        assert calls["sgd_step"] == 3 * 3 * 4
    else:  # the first round has no prototypes yet
        assert (calls["sgd_step"], calls["prototype_loss_step"]) == (3 * 1 * 4, 3 * 2 * 4)
        assert calls["prototype_sums"] == 3 * 3 * 5


def test_every_architecture_is_measured_by_its_own_metric() -> None:
    """Convolutions take images, fully connected layers vectors: the same test set in two shapes."""
    variants = 'model.variants=[{name="lenet", hidden=[16]}, {name="mlp", hidden=[16]}]'
    run, recording = record(calm("local_only", *DIGITS, variants, "algorithm.local_steps=30", "devices.0.count=4"))
    assert run.accuracy_by_device.shape[-1] == 4
    assert not np.isnan(run.accuracy_by_device).any()
    tasks = {
        node: Run(calm("local_only", *DIGITS, variants), "eager", None, None, None, None).learning.task_of(node)
        for node in range(4)
    }
    last = {node: value for node, _, value in recording.reported}
    for node, value in last.items():
        x = value.tensor()
        correct, _ = tasks[node].metric(x, tasks[node].test_inputs, tasks[node].test_labels)
        assert run.accuracy_by_device[..., node].ravel()[-1] == pytest.approx(float(correct.double().mean()), abs=1e-6)


@pytest.mark.parametrize("learner", ["fedavg", "dpsgd", "gossip"])
def test_learners_that_mix_models_refuse_variants(learner: str) -> None:
    with pytest.raises(ScenarioError, match=rf"\[model\] variants: {learner} needs one architecture at all nodes"):
        calm(learner, THREE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            'model.variants=[{name="mlp"}, {name="mpl"}]',
            r"\[model.variants.1\] name = \"mpl\": unknown model \(mlp\?\)",
        ),
        ('model.variants=[{name="mlp", hiden=[3]}]', r"\[model.variants.0\] hiden = .*unknown key of mlp \(hidden\?\)"),
        (
            'model.variants=[{name="lenet5"}]',
            r"\[model.variants.0\] name = \"lenet5\": needs images of 28 x 28 or 32 x 32",
        ),
        ("model.variants=[{hidden=[3]}]", r"\[model.variants.0\] name"),
        ("model.variants=3", r"\[model\] variants = 3"),
    ],
)
def test_bad_variants_are_named(change: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        calm("local_only", *DIGITS, change)


def test_prototypes_of_different_size_are_one_clear_line() -> None:
    variants = 'model.variants=[{name="mlp", hidden=[16]}, {name="mlp", hidden=[8]}]'
    with pytest.raises(ScenarioError, match=r"calm \[model\]: variants have representations of 8, 16 numbers"):
        simulate(calm("fedproto", *DIGITS, variants))


def test_a_learner_that_is_handed_in_is_asked_too() -> None:
    """The loader knows the scenario's own learner only."""
    from learners.federated.fedavg import FedAvg

    loaded = calm("fedproto", *DIGITS, THREE, "model.hidden=[16]")
    make = lambda task, codec, num_rounds: FedAvg(task, codec, num_rounds, local_steps=1)  # noqa: E731
    with pytest.raises(ScenarioError, match=r"\[model\] variants: fedproto needs one architecture at all nodes"):
        simulate(loaded, learner=make)
