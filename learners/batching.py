"""Minibatches of one device: indices drawn from the device's own stream, padded to full batches with zero weights.

An epoch is one reshuffled pass; steps run through reshuffled passes without a gap, so that a device with fewer samples than
a batch repeats them. The shapes, and so times and groups, depend on the number of samples and never on the draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from learners.protocol import Batches

AHEAD = 512
"""Samples that are put in order at once for draws by steps: small devices would else pay for a draw more than for its use."""


class BatchStream:
    """Draws `Batches` over `sample_indices` [num_samples].

    rng: of the order of samples; None draws nothing, the batches then have shapes and no numbers (an estimate)
    dtype: of the weights
    augmentation_rng: gives that of crops and flips, asked once if there are any: a stream of its own, so that the order does
        not depend on them
    """

    def __init__(
        self,
        sample_indices: np.ndarray,
        rng: np.random.Generator | None,
        dtype: torch.dtype,
        augmentation_rng: Callable[[], np.random.Generator] | None = None,
    ) -> None:
        self.sample_indices = np.asarray(sample_indices, dtype=np.int64)
        self._rng = rng
        self._make_augmentation_rng = augmentation_rng
        self._augmentation_rng: np.random.Generator | None = None
        self._dtype = dtype
        self._in_order: dict[int, Batches] = {}
        self._left = np.empty(0, dtype=np.int64)  # the next passes, for draws by steps
        self._ordered = self.sample_indices[None]  # several passes, to be permuted
        self._full: dict[tuple[int, int], torch.Tensor] = {}

    def num_steps(self, batch_size: int, steps: int | None, epochs: int | None) -> int:
        """Steps of a draw. Exactly one of steps and epochs is given, positive; else ValueError."""
        if (steps is None) == (epochs is None):
            raise ValueError(f"give either steps or epochs, not steps={steps}, epochs={epochs}")
        if steps is not None:
            return steps
        return math.ceil(len(self.sample_indices) / batch_size) * epochs  # type: ignore[operator]

    def draw(
        self,
        batch_size: int,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        crop_padding: int | None = None,
    ) -> Batches:
        """crop_padding: with offsets of crops in 0 .. 2 crop_padding and flips, see `learners.augmentation`."""
        rng = self._rng
        if rng is None:
            return self._shapes(batch_size, steps, epochs, crop_padding)
        num_steps = self.num_steps(batch_size, steps, epochs)
        augmentation = () if crop_padding is None else self._augmentation(num_steps, batch_size, crop_padding)
        if steps is not None:
            consecutive = self._consecutive(num_steps * batch_size, rng).reshape(num_steps, batch_size)
            ones = self._ones(num_steps, batch_size)
            return Batches(torch.from_numpy(consecutive), ones, num_steps, 1.0, augmentation)
        n = len(self.sample_indices)
        per_epoch = num_steps // epochs  # type: ignore[operator]
        order = np.zeros((num_steps // per_epoch, per_epoch * batch_size), dtype=np.int64)
        for row in order:
            row[:n] = rng.permutation(self.sample_indices)
            row[n:] = self.sample_indices[0]  # padding: weight 0, any valid index
        work = n / (per_epoch * batch_size)
        if work == 1.0:
            weights = self._ones(num_steps, batch_size)
        else:
            mask = np.zeros(order.shape)
            mask[:, :n] = 1.0
            weights = torch.from_numpy(mask.reshape(num_steps, batch_size)).to(self._dtype)
        indices = torch.from_numpy(order.reshape(num_steps, batch_size))
        return Batches(indices, weights, num_steps, work, augmentation)

    def all_samples(self, batch_size: int) -> Batches:
        """All samples once, in order; draws nothing. Kept: asked for again, it is the same object."""
        found = self._in_order.get(batch_size)
        if found is None:
            n = len(self.sample_indices)
            num_steps = math.ceil(n / batch_size)
            indices = np.full(num_steps * batch_size, self.sample_indices[0])
            indices[:n] = self.sample_indices
            weights = torch.zeros(num_steps * batch_size, dtype=self._dtype)
            weights[:n] = 1
            found = self._in_order[batch_size] = Batches(
                torch.from_numpy(indices.reshape(num_steps, batch_size)),
                weights.reshape(num_steps, batch_size),
                num_steps,
                n / len(indices),
            )
        return found

    def _augmentation(self, num_steps: int, batch_size: int, crop_padding: int) -> tuple[torch.Tensor, ...]:
        if self._make_augmentation_rng is None:
            raise ValueError(f"crop_padding = {crop_padding}: this stream has no generator for augmentation")
        if self._augmentation_rng is None:
            self._augmentation_rng = self._make_augmentation_rng()
        rng = self._augmentation_rng
        offsets = rng.integers(0, 2 * crop_padding, (num_steps, batch_size, 2), endpoint=True)
        flips = rng.random((num_steps, batch_size)) < 0.5
        return torch.from_numpy(offsets), torch.from_numpy(flips)

    def _shapes(self, batch_size: int, steps: int | None, epochs: int | None, crop_padding: int | None) -> Batches:
        """The shapes of a draw: same number of steps and work."""
        num_steps = self.num_steps(batch_size, steps, epochs)
        work = 1.0 if steps is not None else len(self.sample_indices) * epochs / (num_steps * batch_size)  # type: ignore[operator]
        key = (num_steps, batch_size)
        if key not in self._full:
            self._full[key] = torch.empty(key, dtype=torch.int64)
        augmentation: tuple[torch.Tensor, ...] = ()
        if crop_padding is not None:
            augmentation = torch.empty(*key, 2, dtype=torch.int64), torch.empty(key, dtype=torch.bool)
        return Batches(self._full[key], self._ones(*key), num_steps, work, augmentation, drawn=False)

    def _consecutive(self, num: int, rng: np.random.Generator) -> np.ndarray:
        flat = self._left
        missing = num - len(flat)
        if missing > 0:
            passes = -(-max(missing, AHEAD) // len(self.sample_indices))
            if len(self._ordered) != passes:
                self._ordered = np.tile(self.sample_indices, (passes, 1))
            flat = np.concatenate([flat, rng.permuted(self._ordered, axis=1).ravel()])
        self._left = flat[num:]
        return flat[:num]

    def _ones(self, num_steps: int, batch_size: int) -> torch.Tensor:
        key = (-num_steps, batch_size)
        if key not in self._full:
            self._full[key] = torch.ones(num_steps, batch_size, dtype=self._dtype)
        return self._full[key]
