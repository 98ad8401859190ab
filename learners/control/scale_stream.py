"""Minibatches of a control problem: samples of one device, cut to the objects that are there at the moment.

How many objects a device has is a function of the seed and the time: constant, or a walk (users join and leave). Of a sample of the
device's part of the pool, the first K objects are there. What travels into ops is one number a sample, see `decoded`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.control.rules import Kind
from learners.protocol import Batches


class ScaleWalk:
    """How many objects a device has: `first`, and after every `every_s` one more or one fewer, within low .. high; for ever `first` where
    every_s is None. rng: gives the walk from its beginning, the same each time; steps against an end are left out."""

    def __init__(
        self, first: int, every_s: float | None, low: int, high: int, rng: Callable[[], np.random.Generator]
    ) -> None:
        self._every_s, self._low, self._high = every_s, low, high
        self._rng = rng() if every_s is not None else None
        self._scales = [first]

    def at(self, time_s: float) -> int:
        if self._every_s is None or self._rng is None:
            return self._scales[0]
        step = int(time_s // self._every_s)
        while len(self._scales) <= step:
            change = 1 if self._rng.random() < 0.5 else -1
            self._scales.append(min(max(self._scales[-1] + change, self._low), self._high))
        return self._scales[step]


class ScaleStream:
    """Draws `Batches` of codes from rows of the pool, as `learners.batching.BatchStream` draws those.

    rows: of all samples that are drawn here. walks: of the devices whose samples they are; walk_of: by row of the pool, an index into
    `walks`. flops_of: of a training step on a sample with so many objects, for the share of real work. rng: None draws no samples (an
    estimate). now_s: the present time.
    """

    def __init__(
        self,
        rows: np.ndarray,
        rng: np.random.Generator | None,
        dtype: torch.dtype,
        walks: Sequence[ScaleWalk],
        walk_of: np.ndarray,
        largest: int,
        flops_of: Callable[[int], int],
        now_s: Callable[[], float],
    ) -> None:
        self._rows = BatchStream(rows, rng, dtype)
        self._walks = walks
        self._walk_of = walk_of
        self._largest = largest
        self._flops_of = flops_of
        self._now_s = now_s

    @property
    def sample_indices(self) -> np.ndarray:
        return self._rows.sample_indices

    def draw(
        self, batch_size: int, *, steps: int | None = None, epochs: int | None = None, crop_padding: int | None = None
    ) -> Batches:
        return self._cut(self._rows.draw(batch_size, steps=steps, epochs=epochs, crop_padding=crop_padding))

    def all_samples(self, batch_size: int) -> Batches:
        return self._cut(self._rows.all_samples(batch_size))

    def _cut(self, rows: Batches) -> Batches:
        now_s = self._now_s()
        scales = np.array([walk.at(now_s) for walk in self._walks])
        costs = np.array([self._flops_of(scale) for scale in scales.tolist()], dtype=np.float64)
        real = float(costs[self._walk_of[self.sample_indices]].mean()) / self._flops_of(self._largest)
        indices = rows.indices
        if rows.drawn:
            found = indices.numpy()
            indices = torch.from_numpy(found + len(self._walk_of) * scales[self._walk_of[found]])
        return rows._replace(indices=indices, work=rows.work * real)


def decoded(codes: Tensor, pool: Tensor, kind: Kind) -> Tensor:
    """Samples [B, largest, width] that codes [B] stand for: row + number of rows * objects that are there. pool: [num_rows, largest,
    width], all objects there."""
    num_rows, largest, _ = pool.shape
    present = (torch.arange(largest) < (codes // num_rows).unsqueeze(-1)).to(pool.dtype)
    samples = pool[codes % num_rows] * present.unsqueeze(-1)
    if kind == "vector":
        return samples
    ones = present.new_ones(present.shape[:-1] + (1,))
    return samples * torch.cat([present, ones], -1).unsqueeze(-2)
