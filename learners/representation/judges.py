"""Who classifies test features: one device's training features, those of every other device, or of all together.

    own      training features of device j                      cross    of i, mean over all i != j
    others   subspaces of sum_(i != j) S_i^k                     pooled   of sum_i S_i^k

Classes without a training sample are no candidates. What a model that has diverged classifies counts as wrong, and so do features that
are not finite; in sums it takes no part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from learners.representation.linear_probe import Probes, least_squares
from learners.representation.neighbors import References
from learners.representation.subspaces import bases, nearest, nearest_centered
from learners.representation.support_vectors import machines
from learners.representation.training_features import TrainingFeatures, eigen, moments

Judge = Callable[[Tensor], Tensor]
"""Features [n, d] -> classes [n, M] by M judges, -1 for none."""


class Judges:
    """trained: by device, at least one. metrics: accuracies of `names`, of which only those are prepared that ask for it."""

    def __init__(self, metrics: Sequence[str], subspace_dim: int, trained: Mapping[int, TrainingFeatures]) -> None:
        self._dim = subspace_dim
        self._trained = trained
        self._crossed = {way for whose, way in map(whose_and_way, metrics) if whose == "cross"}
        self._every: dict[str, Judge] = {}

    @property
    def are_alone(self) -> bool:
        """Whether there is one device only."""
        return len(self._trained) == 1

    def of(self, whose: str, way: str, device: int, alike: Sequence[int]) -> tuple[Judge, list[int]]:
        """Who judges the test features of a device, and whose the M columns are. alike: devices with its model, judged with it;
        where a way of classifying crosses devices, all are asked at once."""
        if whose == "others":
            return self._others(device), [device]
        if whose == "pooled":
            return self._pooled, list(alike)
        if way not in self._crossed:
            return self._judge(way, alike), list(alike)
        if way not in self._every:
            self._every[way] = self._judge(way, list(self._trained))
        return self._every[way], list(self._trained)

    def _others(self, device: int) -> Judge:
        sums, counts = self._sums
        own = self._trained[device]
        if own.is_finite:
            sums, counts = sums - own.sums, counts - own.counts
        return self._of_sums(sums, counts)

    @cached_property
    def _pooled(self) -> Judge:
        return self._of_sums(*self._sums)

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor]:
        """S^k [num_classes, d, d] and n^k of all devices that have not diverged."""
        finite = [one for one in self._trained.values() if one.is_finite]
        first = next(iter(self._trained.values()))
        sums, counts = torch.zeros_like(first.sums), torch.zeros_like(first.counts)
        for one in finite:
            sums += one.sums
            counts += one.counts
        return sums, counts

    def _of_sums(self, sums: Tensor, counts: Tensor) -> Judge:
        dtype = next(iter(self._trained.values())).z.dtype
        found = bases(*eigen(moments(sums, counts)), self._dim).to(dtype).unsqueeze(0)
        candidates = (counts > 0).unsqueeze(0)
        return lambda z: nearest(z, found, candidates)

    def _judge(self, way: str, devices: Sequence[int]) -> Judge:
        trained = [self._trained[device] for device in devices]
        if way == "subspace":
            found = torch.stack([bases(*one.eigen, self._dim).to(one.z.dtype) for one in trained])
            candidates = torch.stack([one.candidates for one in trained])
            return lambda z: nearest(z, found, candidates)
        if way == "centered_subspace":
            found = torch.stack([bases(*one.centered_eigen, self._dim).to(one.z.dtype) for one in trained])
            means = torch.stack([one.means.to(one.z.dtype) for one in trained])
            candidates = torch.stack([one.candidates for one in trained])
            return lambda z: nearest_centered(z, means, found, candidates)
        if way == "linear_probe":
            return Probes(trained, least_squares).classify
        if way == "svm":
            return Probes(trained, machines).classify
        references = References(trained)
        return lambda z: references.nearest(z, absolute=way == "abs_knn")


class Answers:
    """What judges say of test features z [n, d] with labels [n], made by the model that the devices `alike` have."""

    def __init__(self, judges: Judges, z: Tensor, labels: Tensor, alike: Sequence[int]) -> None:
        self._judges = judges
        self._z = z
        self._labels = labels.unsqueeze(1)
        self._alike = alike
        self._is_finite = z.isfinite().all(1, keepdim=True)
        self._right: dict[str, tuple[Tensor, list[int]]] = {}  # bool [n, M], whose columns

    def accuracy(self, metric: str, device: int, rows: np.ndarray | None) -> float:
        """Of the test features in these rows (None: all) of one of the devices; NaN where there is no other device to judge."""
        whose, way = whose_and_way(metric)
        if whose in ("cross", "others") and self._judges.are_alone:
            return np.nan
        key = f"others {device}" if whose == "others" else "pooled" if whose == "pooled" else way
        if key not in self._right:
            judge, devices = self._judges.of(whose, way, device, self._alike)
            self._right[key] = (judge(self._z) == self._labels) & self._is_finite, devices
        right, devices = self._right[key]
        shares = (right if rows is None else right[rows]).to(torch.float64).mean(0)
        if whose == "pooled":
            return float(shares[0])
        if whose == "cross":
            return float(shares[[place for place, judge in enumerate(devices) if judge != device]].mean())
        return float(shares[devices.index(device)])


def whose_and_way(metric: str) -> tuple[str, str]:
    """ "cross_abs_knn_accuracy" -> "cross", "abs_knn"."""
    whose, _, way = metric.removesuffix("_accuracy").partition("_")
    return whose, way
