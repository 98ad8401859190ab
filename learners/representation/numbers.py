"""Numbers that say what devices' representations are like, in nats and squared distances; M is the mean of the V^k by class shares.

    R = 1/2 log det(I + a M),  Rc = sum_k n^k/n R^k,  R^k = 1/2 log det(I + a V^k),  a = d / eps     coding rates; R - Rc is their reduction
    gap_i = sum_k |V_i^k - mean_j V_j^k|_F^2                      over the classes of device i, the mean over their holders
    effective rank of a class = exp(entropy of the eigenvalues of V^k over their sum)

Natural logarithms. "pooled" is of the union of all devices' training features. A device whose model has diverged has NaN and takes no
part in what is pooled.

Coding rates: Yu et al., NeurIPS 2020 (arXiv 2006.08558), whose eps^2 is eps here. Effective rank: Roy and Vetterli, "The effective
rank", EUSIPCO 2007.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from learners.representation.training_features import TrainingFeatures, eigen, moments

MOST_FEATURES = 2000
"""Of which cosines are looked at, pair by pair."""


class Pooled:
    """Training features of all devices together. devices: those that have not diverged, at least one."""

    def __init__(self, devices: Sequence[TrainingFeatures]) -> None:
        self.devices = devices
        self.sums = torch.stack([one.sums for one in devices]).sum(0)
        self.counts = torch.stack([one.counts for one in devices]).sum(0)
        self.eigen = eigen(moments(self.sums, self.counts))


def coding_rate(devices: Mapping[int, TrainingFeatures], pooled: Pooled, distortion: float) -> dict[int, list[float]]:
    """By device: rate reduction of its features, that of all devices', and Rc of its own."""
    whole, classes = _rates(pooled.sums, pooled.counts, pooled.eigen[0], distortion)
    found = {}
    for device, one in devices.items():
        rate, class_rate = _rates(one.sums, one.counts, one.eigen[0], distortion)
        found[device] = [rate - class_rate, whole - classes, class_rate]
    return found


def class_coding_rate(
    devices: Mapping[int, TrainingFeatures], pooled: Pooled, distortion: float
) -> dict[int, list[float]]:
    """By device: R^k of every class, NaN of those that it does not hold."""
    return {
        device: torch.where(one.held, _log_det(one.eigen[0], distortion) / 2, torch.nan).tolist()
        for device, one in devices.items()
    }


def consensus_gap(devices: Mapping[int, TrainingFeatures], pooled: Pooled, distortion: float) -> dict[int, list[float]]:
    """By device: gap_i, and gap_i over the number of its classes that others hold, too (NaN where there is none)."""
    holders = torch.stack([one.held for one in devices.values()]).sum(0)
    mean = moments(torch.stack([one.second_moments for one in devices.values()]).sum(0), holders)
    found = {}
    for device, one in devices.items():
        total = float((one.second_moments - mean)[one.held].square().sum())
        shared = int((one.held & (holders > 1)).sum())
        found[device] = [total, total / shared if shared else np.nan]
    return found


def effective_rank(
    devices: Mapping[int, TrainingFeatures], pooled: Pooled, distortion: float
) -> dict[int, list[float]]:
    """By device: mean effective rank of its classes, and of the classes of all devices' features."""
    whole = _ranks(pooled.eigen[0])[pooled.counts > 0].mean()
    return {device: [float(_ranks(one.eigen[0])[one.held].mean()), float(whole)] for device, one in devices.items()}


def between_classes(
    devices: Mapping[int, TrainingFeatures], pooled: Pooled, distortion: float
) -> dict[int, list[float]]:
    """Mean |cos| of features of different classes, of at most 2000: evenly spaced among all, sorted by class and device."""
    labels = torch.cat([one.labels for one in pooled.devices])
    order = labels.argsort(stable=True)
    rows = order[torch.linspace(0, len(order) - 1, min(len(order), MOST_FEATURES)).round().to(torch.int64)]
    ends = torch.tensor([len(one.labels) for one in pooled.devices]).cumsum(0)
    owners = torch.searchsorted(ends, rows, right=True)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    z = torch.stack(
        [
            pooled.devices[owner].z[row]
            for owner, row in zip(owners.tolist(), (rows - starts[owners]).tolist(), strict=True)
        ]
    ).to(torch.float64)
    differ = labels[rows].unsqueeze(0) != labels[rows].unsqueeze(1)
    mean = float((z @ z.mT).abs()[differ].mean())
    return {device: [mean] for device in devices}


NUMBERS = {
    "coding_rate": coding_rate,
    "class_coding_rate": class_coding_rate,
    "consensus_gap": consensus_gap,
    "effective_rank": effective_rank,
    "between_classes": between_classes,
}


def _rates(sums: Tensor, counts: Tensor, eigenvalues: Tensor, distortion: float) -> tuple[float, float]:
    """R and Rc of S^k [num_classes, d, d], n^k [num_classes] and eigenvalues [num_classes, d] of the V^k."""
    total = eigen(sums.sum(0) / counts.sum())[0]
    class_rate = (counts / counts.sum()) @ _log_det(eigenvalues, distortion) / 2
    return float(_log_det(total, distortion) / 2), float(class_rate)


def _log_det(eigenvalues: Tensor, distortion: float) -> Tensor:
    """log det(I + d/eps V) [...] of V's eigenvalues [..., d]."""
    return torch.log1p(eigenvalues.shape[-1] / distortion * eigenvalues).sum(-1)


def _ranks(eigenvalues: Tensor) -> Tensor:
    """[...] of [..., d]; NaN where all are 0."""
    return torch.exp(-torch.xlogy(shares := eigenvalues / eigenvalues.sum(-1, keepdim=True), shares).sum(-1))
