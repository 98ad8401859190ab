"""Compositional multi-view learning: its loss and bases against plain twins, what travels, and agents that agree on subspaces."""

from __future__ import annotations

from functools import cache
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.data.digits import digits
from learners.data.views import seen, stacked
from learners.executors import BatchedExecutor
from learners.models.bias_mlp import BiasMlp
from learners.models.encoder import Headless
from learners.models.flat import unflatten
from learners.protocol import Node, Payload, Value
from learners.semantic.bases import class_bases, joint_projections, known_bases, taken, top_eigenvectors
from learners.semantic.coding_rate import CodingRateReduction
from learners.semantic.compositional_mcr2 import CompositionalMcr2, SubspaceRate
from learners.task import Task
from tests.learners.semantic.digits_runs import features, last_models, run

K, D, R = 10, 32, 3
CORNERS = ((0, 0), (3, 0), (0, 3), (3, 3))
WORK: dict[str, Any] = {"learning_rate": 2e-3, "batch_size": 1000, "local_epochs": 5, "basis_dim": 3, "joint_dim": 5}


@cache
def task_of_views(feature_dim: int = D) -> Task:
    """All four 5 x 5 corners of all digits."""
    dataset = stacked(digits(np.random.default_rng(0), centered=True), 5, CORNERS)
    model = BiasMlp(dataset.input_shape, K, [128], feature_dim)
    return Task(dataset, Headless(model), objective=CodingRateReduction())


def shares(num_devices: int) -> list[np.ndarray]:
    num_samples = len(task_of_views().train_labels) // len(CORNERS)
    return seen([np.arange(num_samples)] * num_devices, num_samples, len(CORNERS))


def learner(rounds: int, **keys: Any) -> CompositionalMcr2:
    return CompositionalMcr2(task_of_views(), Float32(), rounds, **(WORK | keys))


def plain_loss(z: Tensor, logits: Tensor | None, labels: Tensor, bases: Tensor, weight: float) -> Tensor:
    """As section 12 has it: sample by sample, class by class."""
    if logits is not None:
        loss = torch.nn.functional.cross_entropy(logits, labels)
    else:
        n, d = z.shape
        eye = torch.eye(d, dtype=z.dtype)
        loss = -0.5 * torch.logdet(eye + d / (n * 0.5) * z.T @ z)
        for k in labels.unique():
            of_class = z[labels == k]
            gram = of_class.T @ of_class
            loss = loss + len(of_class) / (2 * n) * torch.logdet(eye + d / (len(of_class) * 0.5) * gram)
    outside = torch.stack(
        [row @ bases[label] @ bases[label].T - row for row, label in zip(z, labels.tolist(), strict=True)]
    )
    return loss + weight * outside.square().mean()


@pytest.mark.parametrize("rate", [CodingRateReduction(), None])
def test_loss_and_gradient_are_those_of_the_formula(rate: CodingRateReduction | None) -> None:
    """Float64, with padding at the end of the batch and classes that it lacks."""
    rng = np.random.default_rng(3)
    model = BiasMlp((1, 5, 5), K, [16], 12)
    start = torch.tensor(model.initial(rng))
    inputs, labels = torch.tensor(rng.standard_normal((30, 25))), torch.from_numpy(rng.integers(0, 8, 30))
    weights = torch.ones(30, dtype=torch.float64)
    weights[26:] = 0
    bases = torch.linalg.qr(torch.tensor(rng.standard_normal((K, 12, 5))))[0]
    grads = []
    for ours in (True, False):
        x = start.clone().requires_grad_()
        parameters = unflatten(x, model.shapes)
        if ours:
            loss = SubspaceRate(rate, 100.0)(model, parameters, inputs, labels, weights, bases @ bases.mT)
        else:
            z = model.representation(parameters, inputs[:26])
            loss = plain_loss(z, model.head(parameters, z) if rate is None else None, labels[:26], bases, 100.0)
        (grad,) = torch.autograd.grad(loss, x)
        grads.append((loss.detach(), grad))
    assert float((grads[0][0] - grads[1][0]).abs()) < 1e-10
    assert float((grads[0][1] - grads[1][1]).abs().max()) < 1e-10


def test_bases_are_singular_vectors() -> None:
    """Against numpy's decomposition of the features themselves and of the bases one beside the other."""
    rng = np.random.default_rng(4)
    bases, expected = [], []
    for _ in range(4):
        z = rng.standard_normal((K, 12, 40))  # d x n of each class
        sums, counts = torch.tensor(z @ z.swapaxes(1, 2)), torch.full((K,), 40.0, dtype=torch.float64)
        bases.append(class_bases(sums, counts, torch.arange(K), R).view(K, 12, R))
        expected.append(np.linalg.svd(z)[0][:, :, :R])
        assert (
            np.abs(bases[-1].numpy() @ bases[-1].mT.numpy() - expected[-1] @ expected[-1].swapaxes(1, 2)).max() < 1e-10
        )
        assert (bases[-1].gather(1, bases[-1].abs().argmax(1, keepdim=True)) > 0).all()
    u = np.linalg.svd(np.concatenate(expected, axis=2))[0][:, :, :5]
    ours = joint_projections(bases[0], bases[1:], 5)
    assert np.abs(ours.numpy() - u @ u.swapaxes(1, 2)).max() < 1e-10
    nothing = torch.zeros((K, 12, R), dtype=torch.float64)
    alone = joint_projections(bases[0], [nothing], 5)  # r directions, and none that is arbitrary
    assert float((alone - bases[0] @ bases[0].mT).abs().max()) < 1e-10


def test_one_sample_has_one_direction_and_numbers_that_are_none_stay_with_their_device() -> None:
    z = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    basis = top_eigenvectors(torch.outer(z, z), 2)
    assert torch.allclose(basis, torch.tensor([[-0.6, 0], [0, 0], [0.8, 0]], dtype=torch.float64))
    executor = BatchedExecutor()
    sums = [torch.eye(3, dtype=torch.float64).expand(2, 3, 3) * (np.nan if i == 1 else 1.0 + i) for i in range(3)]
    counts, held = torch.ones(2, dtype=torch.float64), torch.arange(2)
    found = [class_bases(executor.lift(value), counts, held, 2).tensor() for value in sums]
    assert [bool(value.isfinite().all()) for value in found] == [True, False, True]


def test_a_class_of_which_a_number_is_lost_keeps_its_last_basis() -> None:
    last, values = torch.arange(12.0), -torch.arange(12.0)
    mask = torch.ones(12, dtype=torch.bool)
    mask[5] = False
    new, known = taken(last, torch.tensor([False, False, True]), values, mask)
    assert torch.equal(new, torch.cat([values[:4], last[4:8], values[8:]]))
    assert known.tolist() == [True, False, True]
    table = known_bases(new, known, torch.tensor([0, 2, 3]), torch.zeros((4, 2, 2)))
    assert table.flatten(1).tolist() == [values[:4].tolist(), [0] * 4, [0] * 4, values[8:].tolist()]


def test_a_message_is_a_basis_a_class_whatever_the_encoder() -> None:
    """The letter's size: 25,600 bytes for 10 classes, 64 dimensions, 10 directions."""
    bits = []

    class Counted(Float32):
        def payload(self, x: Value, node: Node) -> Payload:
            payload = super().payload(x, node)
            bits.append(payload.num_bits)
            return payload

    task = task_of_views(64)
    ours = CompositionalMcr2(task, Counted(), 1, local_steps=1)
    run(ours, shares(2), nx.complete_graph(2), of_architecture=[task])
    assert bits == [8 * 25_600] * 2


def test_ten_rounds_on_digits_bring_the_views_together() -> None:
    """Everybody has the same common subspaces, by which each classifies its own view (chance: 0.1) and, which needs agreement, that of
    the others: subspaces of an agent's own training features classify another's test features. With subspace_weight = 0 the best of
    these is 0.2."""
    seen_by: dict[tuple[int, int], Tensor] = {}

    class Watched(CompositionalMcr2):
        def train(self, node: Node, x: Value, k: int, *args: Any, **how: Any) -> Any:
            seen_by[node.id, k] = args[2]
            return (yield from super().train(node, x, k, *args, **how))

    task, parts = task_of_views(), shares(4)
    bench, _ = run(Watched(task, Float32(), 10, **WORK), parts, nx.complete_graph(4), of_architecture=[task])
    common = [seen_by[i, 9].tensor() for i in range(4)]  # type: ignore[attr-defined]
    assert all(float((p - common[0]).abs().max()) < 1e-4 for p in common)
    num_test = len(task.test_labels) // 4
    labels = task.test_labels[:num_test]
    models = last_models(bench, 4)
    tests = [features(task, x, task.samples.test_inputs[i * num_test :][:num_test]) for i, x in enumerate(models)]
    own = []
    for x, part in zip(models, parts, strict=True):
        z, of = features(task, x, task.samples.train_inputs[part]), task.samples.train_labels[part]
        own.append(torch.stack([z[of == k].T @ z[of == k] for k in range(K)]))
    own = [u @ u.mT for u in (top_eigenvectors(sums, R) for sums in own)]

    def accuracy(z: Tensor, projections: Tensor) -> float:
        nearest = torch.einsum("nd,kde,ne->nk", z, projections, z).argmax(1)
        return float((nearest == labels).double().mean())

    by_common = [accuracy(z, common[0]) for z in tests]
    crossed = [accuracy(tests[j], own[i]) for i in range(4) for j in range(4) if i != j]
    assert min(by_common) > 0.7
    assert min(crossed) > 0.4


def test_bad_keys_are_named() -> None:
    for keys, says in (
        ({"basis_dim": 6}, "joint_dim = 5: at least basis_dim = 6"),
        ({"basis_dim": 33, "joint_dim": 40}, "basis_dim = 33: representations have 32 dimensions; at most 32"),
        ({"joint_dim": 33}, "joint_dim = 33: representations have 32 dimensions; at most 32"),
        ({"basis_dim": 0}, "basis_dim = 0"),
        ({"subspace_weight": -1.0}, "subspace_weight = -1.0"),
        ({"mixing_weights": "uniform"}, "mixing_weights = 'uniform': neighbors are not averaged"),
        ({"momentum": 0.5}, "momentum = 0.5"),
    ):
        with pytest.raises(ValueError, match=says):
            learner(1, **keys)
    model = BiasMlp((1, 5, 5), K, [8], 12)
    with pytest.raises(ValueError, match="feature_dim 12, 16: class statistics of one size travel"):
        learner(1).check_models([model, BiasMlp((1, 5, 5), K, [8], 16)])
