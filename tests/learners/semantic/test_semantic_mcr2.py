"""Algorithm I on digits: what travels, what stays invariant, and where it ends."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from learners.compression.affine import Int4Affine
from learners.compression.float16 import Float16
from learners.compression.float32 import Float32
from learners.compression.uniform import Uniform
from learners.data.partitions import dirichlet
from learners.loopback import Loopback
from learners.models.flat import uniform_layers
from learners.protocol import Node, Payload, Receive, Value
from learners.references.local_only import LocalOnly
from learners.semantic import task_head
from learners.semantic.coding_rate import CodingRateReduction
from learners.semantic.semantic_mcr2 import SemanticMcr2
from learners.semantic.semantic_mcr2_clusters import SemanticMcr2Clusters
from learners.task import Task
from tests.learners.semantic.digits_runs import (
    DIM,
    NUM_CLASSES,
    equal_shares,
    features,
    last_models,
    measured,
    ring_with_chord,
    run,
    tasks,
    with_heads,
)

WORK: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 1000, "local_epochs": 5}


@dataclass(frozen=True)
class Overheard(Float32):
    """Keeps what was sent: (node, values), and the bits."""

    sent: list[tuple[int, Value]] = field(default_factory=list, compare=False)
    bits: list[int] = field(default_factory=list, compare=False)

    def payload(self, x: Value, node: Node) -> Payload:
        payload = super().payload(x, node)
        self.sent.append((len(self.sent), payload.data))
        self.bits.append(payload.num_bits)
        return payload


def learner(rounds: int, codec: Any = None, **keys: Any) -> SemanticMcr2:
    return SemanticMcr2(**({"task": tasks()[0], "codec": codec or Float32(), "num_rounds": rounds} | WORK | keys))


@pytest.mark.parametrize(("matrix", "num_bytes"), [("full", 4 * 10 * 32**2), ("triangle", 2 * 10 * 32 * 33)])
def test_a_share_is_a_matrix_a_class_whatever_the_encoder(matrix: str, num_bytes: int) -> None:
    """One broadcast a node and round: 40,960 bytes of full matrices, 21,120 of triangles."""
    codec = Overheard()
    run(learner(2, codec, matrix=matrix), equal_shares(4), nx.cycle_graph(4))
    assert [bits // 8 for bits in codec.bits] == [num_bytes] * (2 * 4)


@pytest.mark.parametrize(("matrix", "num_bytes"), [("full", 655_360), ("triangle", 330_240)])
def test_sizes_of_the_specification(matrix: str, num_bytes: int) -> None:
    """Ten classes in 128 dimensions."""
    codec = Overheard()
    run(learner(1, codec, matrix=matrix, local_epochs=1), equal_shares(40)[:2], nx.complete_graph(2), feature_dim=128)
    assert [bits // 8 for bits in codec.bits] == [num_bytes] * 2


@pytest.mark.parametrize(
    "codec", [Overheard(), Float16(), Int4Affine(), Uniform(4)], ids=lambda codec: type(codec).__name__
)
def test_invariants_of_each_round(codec: Any) -> None:
    """Over reliable links: the dual variables add up to 0, are symmetric and have trace 0, as everybody takes its own matrices as it
    has sent them; unrounded second moments have trace 1 and no negative eigenvalue."""
    seen = []

    class Watched(SemanticMcr2):
        def train(
            self, node: Node, x: Value, k: int, batches: Any, objective: Any = None, *args: Any, **how: Any
        ) -> Any:
            seen.append((k, node.id, args[0]))
            return (yield from super().train(node, x, k, batches, objective, *args, **how))

    watched = Watched(tasks()[0], codec, 4, **(WORK | {"matrix": "full"}))
    run(watched, equal_shares(6), ring_with_chord(6), "float64")
    for k in range(4):
        duals = torch.stack([y.tensor() for round, _, y in seen if round == k])
        assert len(duals) == 6
        assert float(duals.abs().max()) > 1e-3
        assert float(duals.sum(0).abs().max()) < 1e-13
        assert float((duals - duals.mT).abs().max()) < 1e-15
        assert float(duals.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max()) < 1e-13
    if not isinstance(codec, Overheard):
        return
    for _, values in codec.sent:
        v = values.tensor().view(NUM_CLASSES, DIM, DIM)
        assert torch.allclose(v.diagonal(dim1=-2, dim2=-1).sum(-1), torch.ones(NUM_CLASSES, dtype=torch.float64))
        assert float(torch.linalg.eigvalsh(v).min()) > -1e-14


def test_without_penalty_and_dual_step_everybody_is_alone() -> None:
    """The same models as local training on the coding rates, each on all of its samples at once."""
    parts = equal_shares(4)
    size = {"batch_size": 368, "local_epochs": 2, "learning_rate": 1e-3}
    assert {-(-len(part) // 8) * 8 for part in parts} == {360, 368}
    ours = SemanticMcr2(tasks("float64")[0], Float32(), 3, penalty=0.0, dual_step=0.0, **size)
    alone = LocalOnly(
        tasks("float64")[0],
        Float32(),
        3,
        local_optimizer="adam",
        weight_decay=1e-5,
        **size,  # type: ignore[arg-type]
    )
    both = [last_models(run(one, parts, nx.cycle_graph(4), "float64")[0], 4) for one in (ours, alone)]
    for x, other in zip(*both, strict=True):
        assert float((x - other).abs().max()) < 1e-12
    with_penalty = SemanticMcr2(tasks("float64")[0], Float32(), 3, **size)
    together = last_models(run(with_penalty, parts, nx.cycle_graph(4), "float64")[0], 4)
    assert float((together[0] - both[0][0]).abs().max()) > 1e-4


def test_agreed_shares_are_those_of_all_devices() -> None:
    """Of unequal parts: everybody weighs classes by the numbers of all, in every round."""
    parts = dirichlet(tasks()[0].train_labels, 4, np.random.default_rng(1), alpha=3.0)
    seen = []

    class Watched(SemanticMcr2):
        def train(
            self, node: Node, x: Value, k: int, batches: Any, objective: Any = None, *args: Any, **how: Any
        ) -> Any:
            seen.append(args[4:])
            return (yield from super().train(node, x, k, batches, objective, *args, **how))

    keys = WORK | {"local_epochs": 1}
    own, agreed = (
        last_models(
            run(
                Watched(tasks("float64")[0], Float32(), 2, class_shares=shares, **keys),
                parts,
                nx.cycle_graph(4),
                "float64",
            )[0],
            4,
        )
        for shares in ("own", "agreed")
    )
    expected = np.bincount(tasks()[0].train_labels, minlength=NUM_CLASSES)
    assert [len(args) for args in seen] == [0] * 8 + [1] * 8
    assert all(numbers.tolist() == expected.tolist() for (numbers,) in seen[8:])
    assert all(float((a - b).abs().max()) > 1e-5 for a, b in zip(own, agreed, strict=True))


def test_ten_rounds_bring_the_nodes_together() -> None:
    """From strangers (cross accuracy at chance) to neighbors whose subspaces are of use."""
    parts = equal_shares(6)
    bench, of_devices = run(learner(10), parts, ring_with_chord(6))
    start = [task.initial_parameters(np.random.default_rng([0, i])) for i, task in enumerate(of_devices)]
    before, after = measured(start, of_devices, parts), measured(last_models(bench, 6), of_devices, parts)
    assert before["cross"] < 0.3
    assert after["cross"] > 0.5
    assert after["gap"] < before["gap"] / 2
    assert after["pooled"] > before["pooled"] + 1


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_learns_on_the_frozen_encoder(kind: str) -> None:
    """Against a twin in plain torch, step by step; and it says far more than chance on the encoder's own test features."""
    parts = equal_shares(4)
    ours = learner(2, head=kind, head_epochs=15)
    bench, of_devices = run(ours, parts, nx.cycle_graph(4), "float64")
    (value, metric), task = (
        next((r.value, r.metric) for r in bench.reports if (r.node, r.name) == (1, "head")),
        of_devices[1],
    )
    x, h = (part if isinstance(part, torch.Tensor) else part.tensor() for part in value)
    assert torch.equal(x, last_models(bench, 4)[1])
    widths = [DIM, 100, NUM_CLASSES] if kind == "mlp" else [DIM, NUM_CLASSES]
    layers: list[torch.nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [torch.nn.Linear(before, after), torch.nn.LeakyReLU(0.2)]
    twin = torch.nn.Sequential(*layers[:-1]).double()
    shapes = task_head.shapes_of(kind, DIM, NUM_CLASSES)  # type: ignore[arg-type]
    start = uniform_layers(np.random.default_rng([0, 101]), shapes)
    torch.nn.utils.vector_to_parameters(torch.tensor(start), twin.parameters())
    stream = BatchStream(parts[1], np.random.default_rng([0, 201]), torch.float64)
    for _ in range(2):
        stream.draw(ours.size(SimpleNamespace(num_samples=len(parts[1]))), epochs=5)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.01, weight_decay=1e-5)
    for indices, weights in zip(*stream.draw(64, epochs=15).steps, strict=True):
        real = indices[weights > 0]
        z = features(task, x, task.samples.train_inputs[real])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(twin(z), task.samples.train_labels[real]).backward()
        optimizer.step()
    expected = torch.nn.utils.parameters_to_vector(twin.parameters()).detach()
    assert float((h - expected).abs().max()) < 1e-9
    correct, _ = metric((x, h), task.test_inputs, task.test_labels)
    assert float(correct.double().mean()) > 0.5


@pytest.mark.slow
def test_acceptance_on_digits() -> None:
    """150 rounds: the pooled rate near its ceiling of 12.7, consensus, and nodes that can replace each other; alone, none of it, and with the
    cross-entropy one dimension a class instead of 3.2 (1.00 was measured, the table has 1.4)."""
    parts = equal_shares(6)
    bench, of_devices = run(learner(150), parts, ring_with_chord(6))
    together = measured(last_models(bench, 6), of_devices, parts)
    assert together["pooled"] >= 12.2
    assert together["gap"] <= 0.01
    assert together["cross"] >= 0.83
    apart, collapsed = (
        measured(last_models(bench, 6), of_devices, parts)
        for bench, of_devices in (alone(of_architecture, parts) for of_architecture in (tasks(), with_heads()))
    )
    assert apart["pooled"] <= 6
    assert apart["cross"] <= 0.2
    assert apart["rank"] == pytest.approx(3.2, abs=0.1)
    assert collapsed["rank"] <= 2
    assert collapsed["cross"] <= 0.2


def alone(of_architecture: Sequence[Task], parts: Sequence[np.ndarray]) -> tuple[Loopback, list[Task]]:
    """150 rounds of local training on the objective of the tasks."""
    size = WORK | {"batch_size": 248}
    one = LocalOnly(of_architecture[0], Float32(), 150, local_optimizer="adam", weight_decay=1e-5, **size)
    return run(one, parts, ring_with_chord(len(parts)), of_architecture=of_architecture)


class Lossy(SemanticMcr2):
    """Of which every message is lost at every receiver with a probability of .3."""

    def gather_statistics(self, node: Any, sent: Any, links: Any) -> Any:
        program, answer = super().gather_statistics(node, sent, links), None
        while True:
            try:
                request = program.send(answer)
            except StopIteration as end:
                return end.value
            answer = yield request
            if isinstance(request, Receive):
                rng = node.state.setdefault("losses", np.random.default_rng([7, node.id]))
                arrives = rng.random(len(answer.messages)) >= 0.3
                kept = [message for message, here in zip(answer.messages, arrives, strict=True) if here]
                answer = answer._replace(messages=tuple(kept))


@pytest.mark.slow
def test_lost_messages_change_nothing_where_the_last_value_is_used_again() -> None:
    """The table has 12.65 and a gap of .0013 after 150 rounds with 30 % of the messages lost. Measured: 12.578 and .0015 (another seed: 12.570, .0025), and
    without any loss 12.577 and .0020. The table's own seeds lie .07 apart."""
    parts = equal_shares(6)
    lossy = Lossy(**({"task": tasks()[0], "codec": Float32(), "num_rounds": 150} | WORK))
    bench, of_devices = run(lossy, parts, ring_with_chord(6))
    found = measured(last_models(bench, 6), of_devices, parts)
    assert found["pooled"] == pytest.approx(12.65, abs=0.12)
    assert found["gap"] <= 0.004
    assert found["cross"] >= 0.83


@pytest.mark.slow
def test_the_exact_dual_step_diverges_with_few_local_steps() -> None:
    """alpha = rho / 2. The table has .70 and a gap of 2.4 after 300 rounds; measured after 100: 1.00 and 1.6."""
    parts = equal_shares(6)
    bench, of_devices = run(learner(100, dual_step=2.5), parts, ring_with_chord(6))
    found = measured(last_models(bench, 6), of_devices, parts)
    assert found["pooled"] <= 3
    assert found["gap"] >= 0.5


def test_local_work_that_is_not_given_is_the_reference_codes() -> None:
    """One pass a round of Algorithm I, three a turn of Algorithm II."""
    for kind, passes in ((SemanticMcr2, 1), (SemanticMcr2Clusters, 3)):
        found = kind(tasks()[0], Float32(), 1)
        assert (found.local_epochs, found.local_steps) == (passes, None)
        assert (kind(tasks()[0], Float32(), 1, local_steps=2)).local_epochs is None


def test_bad_keys_and_parts_are_named() -> None:
    for keys, says in (
        ({"matrix": "lower"}, "matrix = 'lower': one of triangle, full"),
        ({"projection": "psd"}, "projection = 'psd': one of psd_trace1, none"),
        ({"penalty": -1.0}, "penalty = -1.0"),
        ({"mixing_weights": "uniform"}, "mixing_weights = 'uniform': neighbors are not averaged"),
        ({"momentum": 0.5}, "momentum = 0.5"),
        ({"class_shares": "equal"}, "class_shares = 'equal': one of own, agreed"),
        ({"head": "deep"}, "head = 'deep': one of none, linear, mlp"),
        ({"head": "mlp", "num_rounds": None}, "head = 'mlp': is trained in the last round; stop by rounds"),
    ):
        with pytest.raises(ValueError, match=says):
            learner(1, **keys)
    with pytest.warns(UserWarning, match="a minibatch of device 1 has 2.0 samples of class 2 on average"):
        learner(1).check_parts(np.array([[5, 0, 7], [3, 4, 2]]))
    with pytest.warns(UserWarning, match="batch_size = 100: a minibatch of device 0 has 10.0 samples of class 1"):
        learner(1, batch_size=100).check_parts(np.array([[900, 100], [60, 40]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner(1, batch_size=200).check_parts(np.array([[900, 100], [60, 40], [80, 0]]))
    counts = np.array([[5, 0, 7], [3, 1, 2]])
    with pytest.raises(ValueError, match=r"device 1 holds 1 sample\(s\) of class 1, too few for a second moment"):
        learner(1).check_parts(counts)
    with pytest.raises(ValueError, match="batch_size = 2: device 1 holds 3 classes"):
        learner(1, batch_size=2, least_class_samples=1).check_parts(counts)
    with pytest.warns(UserWarning, match="has 1.0 samples of class 1"):
        learner(1, least_class_samples=1).check_parts(counts)
    with pytest.raises(ValueError, match="distortion = 0.0"):
        CodingRateReduction(0.0)
