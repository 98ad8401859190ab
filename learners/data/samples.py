"""A data set as tensors, shared by the tasks of all architectures.

Images that the data set holds as bytes stay bytes and share its memory: only what an op has gathered becomes numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from learners.data.dataset import Dataset


class Samples:
    """train_inputs, test_inputs: [num_samples, *input_shape] as stored, uint8 or `dtype`; train_labels, test_labels: int64
    [num_samples]."""

    def __init__(self, dataset: Dataset, dtype: torch.dtype) -> None:
        self.dtype = dtype
        if dataset.mean is not None and dataset.std is not None:
            per_channel = (-1,) + (1,) * (len(dataset.input_shape) - 1)
            self._center = torch.tensor(255 * dataset.mean, dtype=dtype).reshape(per_channel)
            self._scale = torch.tensor(1 / (255 * dataset.std), dtype=dtype).reshape(per_channel)
        self.train_inputs = self._stored(dataset.train_inputs)
        self.train_labels = torch.tensor(dataset.train_labels)
        self.test_inputs = self._stored(dataset.test_inputs)
        self.test_labels = torch.tensor(dataset.test_labels)

    def _stored(self, inputs: np.ndarray) -> Tensor:
        return torch.from_numpy(inputs) if inputs.dtype == np.uint8 else torch.tensor(inputs, dtype=self.dtype)

    def train(self, indices: Tensor, change: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Prepared inputs [B, *input_shape] and labels [B] of training samples `indices` [B]. Called inside ops: what travels
        into them are indices, so that a device's minibatch costs no copy before its turn.

        change: of the inputs as they are stored (augmentation)
        """
        inputs = self.train_inputs[indices]
        return self.prepared(inputs if change is None else change(inputs)), self.train_labels[indices]

    def prepared(self, inputs: Tensor) -> Tensor:
        """Stored inputs [n, *input_shape] as numbers of `dtype`; prepared ones stay as they are.

        Bytes become (input / 255 - mean) / std by channel, computed as (input - 255 mean) * (1 / (255 std)).
        """
        return (inputs.to(self.dtype) - self._center) * self._scale if inputs.dtype == torch.uint8 else inputs
