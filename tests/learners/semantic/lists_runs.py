"""The digits in the two set-ups without common classes: who holds what, and what the table of check values measures of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from learners.compression.float32 import Float32
from learners.data.class_lists import class_lists
from learners.semantic.coding_rate import class_sums, moments, rate_reduction
from learners.semantic.semantic_mcr2_clusters import SemanticMcr2Clusters
from learners.task import Task
from tests.learners.semantic.digits_runs import COMPONENTS, NUM_CLASSES, features, last_models, run, tasks

FOUR = ((1, 2, 3, 4, 5), (6, 7, 8, 9, 0), (0, 3, 5, 7, 9), (1, 2, 4, 6, 8))
FIVE = ((3, 6, 5, 0), (5, 0, 8, 7), (9, 3, 8, 1), (2, 4, 6, 7), (1, 9, 2, 4))
ONE_REPLICATED = ((0, 1, 4), (1, 2, 3))
FULL_BATCH = 512


def learner(num_rounds: int, **options: Any) -> SemanticMcr2Clusters:
    """With the constants of the table: 6 full-batch steps a turn, Adam at 0.001."""
    known = {"learning_rate": 1e-3, "batch_size": FULL_BATCH, "local_epochs": 6}
    return SemanticMcr2Clusters(tasks()[0], options.pop("codec", Float32()), num_rounds, **(known | options))


def parts_of(lists: Sequence[Sequence[int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return class_lists(tasks()[0].train_labels, len(lists), rng, classes_of_device=tuple(map(tuple, lists)))


def measured(lists: Sequence[Sequence[int]], algorithm: Any, seed: int = 0) -> dict[str, float]:
    """After a run on the complete graph: every device on the test samples of its classes, against the classes' subspaces of all
    training features ("pool") or of those of the others ("cross")."""
    parts = parts_of(lists)
    bench, of_devices = run(algorithm, parts, nx.complete_graph(len(lists)), seed=seed)
    return _columns(last_models(bench, len(lists)), of_devices, parts, lists)


def _columns(
    models: Sequence[Tensor], of_devices: Sequence[Task], parts: Sequence[np.ndarray], lists: Sequence[Sequence[int]]
) -> dict[str, float]:
    samples = of_devices[0].samples
    train = [
        (features(task, x, samples.train_inputs[part]), samples.train_labels[part])
        for task, x, part in zip(of_devices, models, parts, strict=True)
    ]
    sums = [class_sums(z, labels, torch.ones_like(z[:, 0]), NUM_CLASSES) for z, labels in train]
    z, labels = torch.cat([z for z, _ in train]), torch.cat([labels for _, labels in train])
    total, counts = torch.stack([s for s, _ in sums]).sum(0), torch.stack([c for _, c in sums]).sum(0)
    eigenvalues = torch.linalg.eigvalsh(moments(total, counts)).clamp(min=1e-12)
    entropy = -(eigenvalues * eigenvalues.log()).sum(-1)
    gaps = []
    for k in range(NUM_CLASSES):
        v = torch.stack([s[k] / c[k] for s, c in sums if c[k]])
        if len(v) > 1:
            pairs = [(v[a] - v[b]).square().sum() for a in range(len(v)) for b in range(a)]
            gaps.append(float(torch.stack(pairs).mean()))
    accuracies: dict[str, list[float]] = {"pool": [], "cross": []}
    for i, classes in enumerate(lists):
        mine = torch.isin(samples.test_labels, torch.tensor(classes))
        test, truth = features(of_devices[i], models[i], samples.test_inputs[mine]), samples.test_labels[mine]
        for name, whose in (("pool", total), ("cross", total - sums[i][0])):
            bases = torch.linalg.eigh(whose)[1][:, :, -COMPONENTS:]
            nearest = torch.einsum("nd,kdr->nkr", test, bases).square().sum(-1).argmax(1)
            accuracies[name].append(float((nearest == truth).double().mean()))
    cosines = (z @ z.mT).abs()[labels[:, None] != labels]
    return {
        "pooled": rate_reduction(z, labels, NUM_CLASSES),
        "gap": float(np.mean(gaps)),
        "rank": float(entropy.exp().mean()),
        "cosine": float(cosines.mean()),
        "pool": float(np.mean(accuracies["pool"])),
        "cross": float(np.mean(accuracies["cross"])),
    }
