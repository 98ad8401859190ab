"""Minibatches of one device: indices drawn from the device's own stream, padded to full batches with zero weights.

An epoch is one reshuffled pass; steps run through reshuffled passes without a gap, so that a device with fewer samples than
a batch repeats them. The shapes, and so times and groups, depend on the number of samples and never on the draw.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from learners.protocol import Batches


class BatchStream:
    """Draws `Batches` over `sample_indices` [num_samples] from `rng`. weights have dtype `dtype`."""

    def __init__(self, sample_indices: np.ndarray, rng: np.random.Generator, dtype: torch.dtype) -> None:
        self.sample_indices = np.asarray(sample_indices, dtype=np.int64)
        self._rng = rng
        self._dtype = dtype
        self._left = np.empty(0, dtype=np.int64)  # the rest of the present pass, for draws by steps
        self._full: dict[tuple[int, int], torch.Tensor] = {}

    def num_steps(self, batch_size: int, steps: int | None, epochs: int | None) -> int:
        """Steps of a draw. Exactly one of steps and epochs is given, positive; else ValueError."""
        if (steps is None) == (epochs is None):
            raise ValueError(f"give either steps or epochs, not steps={steps}, epochs={epochs}")
        if steps is not None:
            return steps
        return math.ceil(len(self.sample_indices) / batch_size) * epochs  # type: ignore[operator]

    def draw(self, batch_size: int, *, steps: int | None = None, epochs: int | None = None) -> Batches:
        num_steps = self.num_steps(batch_size, steps, epochs)
        if steps is not None:
            indices = self._consecutive(num_steps * batch_size).reshape(num_steps, batch_size)
            return Batches(torch.from_numpy(indices), self._ones(num_steps, batch_size), num_steps)
        n = len(self.sample_indices)
        per_epoch = num_steps // epochs  # type: ignore[operator]
        order = np.zeros((num_steps // per_epoch, per_epoch * batch_size), dtype=np.int64)
        for row in order:
            row[:n] = self._rng.permutation(self.sample_indices)
            row[n:] = self.sample_indices[0]  # padding: weight 0, any valid index
        work = n / (per_epoch * batch_size)
        if work == 1.0:
            weights = self._ones(num_steps, batch_size)
        else:
            mask = np.zeros(order.shape)
            mask[:, :n] = 1.0
            weights = torch.from_numpy(mask.reshape(num_steps, batch_size)).to(self._dtype)
        return Batches(torch.from_numpy(order.reshape(num_steps, batch_size)), weights, num_steps, work)

    def shapes(self, batch_size: int, *, steps: int | None = None, epochs: int | None = None) -> Batches:
        """The shapes of a draw, for an estimate: same number of steps and work, nothing drawn."""
        num_steps = self.num_steps(batch_size, steps, epochs)
        work = 1.0 if steps is not None else len(self.sample_indices) * epochs / (num_steps * batch_size)  # type: ignore[operator]
        key = (num_steps, batch_size)
        if key not in self._full:
            self._full[key] = torch.empty(key, dtype=torch.int64)
        return Batches(self._full[key], self._ones(*key), num_steps, work)

    def _consecutive(self, num: int) -> np.ndarray:
        flat = self._left
        missing = num - len(flat)
        if missing > 0:
            passes = -(-missing // len(self.sample_indices))
            ordered = np.broadcast_to(self.sample_indices, (passes, len(self.sample_indices)))
            flat = np.concatenate([flat, self._rng.permuted(ordered, axis=1).ravel()])
        self._left = flat[num:]
        return flat[:num]

    def _ones(self, num_steps: int, batch_size: int) -> torch.Tensor:
        key = (-num_steps, batch_size)
        if key not in self._full:
            self._full[key] = torch.ones(num_steps, batch_size, dtype=self._dtype)
        return self._full[key]
