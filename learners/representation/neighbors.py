"""k nearest neighbors by cosine: the class that most of the k most similar training features have.

Similarity is z' z_b of unit vectors, or its absolute value: coding rates do not tell z from -z, and devices that agree on subspaces
need not agree on signs. Of classes with equally many votes the first is taken, as in the public code of maximal coding rate reduction
(Yu et al., NeurIPS 2020), and k is 5 as there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from learners.representation.subspaces import chosen
from learners.representation.training_features import TrainingFeatures

NUM_NEIGHBORS = 5
PIECE_BYTES = 32 << 20
"""Memory for similarities at a time."""


class References:
    """Training features of M devices, padded to one length."""

    def __init__(self, devices: Sequence[TrainingFeatures]) -> None:
        longest = max(len(one.labels) for one in devices)
        first = devices[0].z
        self._z = torch.zeros(len(devices), longest, first.shape[1], dtype=first.dtype)
        self._labels = torch.zeros(len(devices), longest, dtype=torch.int64)
        self._is_sample = torch.zeros(len(devices), longest, dtype=torch.bool)
        self._held = torch.stack([one.candidates for one in devices])
        for row, one in enumerate(devices):
            n = len(one.labels)
            if one.is_finite:
                self._z[row, :n] = one.z
                self._labels[row, :n] = one.labels
                self._is_sample[row, :n] = True

    def nearest(self, z: Tensor, absolute: bool) -> Tensor:
        """[n, M] the class of features z [n, d] by each device's training features; -1 where there is none."""
        num_bytes = len(z) * self._labels.numel() * z.element_size()
        pieces = min(max(1, -(-num_bytes // PIECE_BYTES)), max(1, len(z)))
        return torch.cat([self._piece(part, absolute) for part in z.tensor_split(pieces)])

    def _piece(self, z: Tensor, absolute: bool) -> Tensor:
        n, (num_sets, longest) = len(z), self._labels.shape
        found = (z @ self._z.flatten(0, 1).mT).view(n, num_sets, longest)
        found = (found.abs() if absolute else found).masked_fill(~self._is_sample, -torch.inf)
        values, places = found.topk(min(NUM_NEIGHBORS, longest), dim=2)
        labels = self._labels.expand(n, -1, -1).gather(2, places)
        votes = z.new_zeros(n, *self._held.shape).scatter_add_(2, labels, values.isfinite().to(z.dtype))
        return chosen(votes, self._held)
