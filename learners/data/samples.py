"""A data set as tensors of one dtype, shared by the tasks of all architectures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.data.dataset import Dataset


class Samples:
    """test_inputs: [num_samples, *input_shape] of `dtype`; test_labels: int64 [num_samples]."""

    def __init__(self, dataset: Dataset, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._train_inputs = torch.tensor(dataset.train_inputs, dtype=dtype)
        self._train_labels = torch.tensor(dataset.train_labels)
        self.test_inputs = torch.tensor(dataset.test_inputs, dtype=dtype)
        self.test_labels = torch.tensor(dataset.test_labels)

    def train(self, indices: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [B, *input_shape] and labels [B] of training samples `indices` [B]. Called inside ops: what travels into
        them are indices, so that a device's minibatch costs no copy before its turn.

        change: of the inputs as they are stored (augmentation)
        """
        inputs = self._train_inputs[indices]
        return (inputs if change is None else change(inputs)), self._train_labels[indices]
